"""Uncertainty: no update moves a logit by more than was said before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.model import Model
from ftrl_core.numbers import log
from tests.oracle.streams import folded, payloads

L1, L2 = "l1_regularization_strength", "l2_regularization_strength"
CONFIGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one rate": {"optimizer": {"learning_rate": 0.5}},
    "l1, l2, n0": {
        "optimizer": {"learning_rate": 1.0, L1: 0.1, L2: 0.3, "initial_accumulator_value": 0.1}
    },
    "beta 0": {"optimizer": {"learning_rate": 0.1, "beta": 0.0}},
    "power": {"optimizer": {"learning_rate": 0.4, "learning_rate_power": -0.7}},
    "power 0": {"optimizer": {"learning_rate": 0.4, "learning_rate_power": 0.0}},
    "counts": {"rates_from": "counts", "optimizer": {"learning_rate": 0.4}},
    "much sharing": {"mixture_share": 0.2, "optimizer": {"learning_rate": [0.01, 1.0]}},
    "no sharing": {"mixture_share": 0.0},
    "clipped": {"optimizer": {"learning_rate": [0.3, 0.5], "clipvalue": 0.2}},
    "logit correction": {"sampling_rate": 0.1, "sampling_correction": "logit"},
}


def logit(p: float) -> float:
    return float(log(p) - log(1.0 - p))


def row_of(rng: np.random.Generator, slots: int) -> ExampleBatch:
    """One example of distinct slots, values in [-1, 1], weight in (0, 1]."""
    hashes = np.sort(rng.choice(slots, rng.integers(0, 12), replace=False)).astype(np.uint32)
    values = rng.uniform(-1.0, 1.0, hashes.size) * rng.choice([0.01, 1.0])
    return ExampleBatch(
        np.array([0, hashes.size], np.int64),
        np.full(hashes.size, 0xFFFFFFFF, np.uint32),
        hashes,
        np.where(rng.random(hashes.size) < 0.5, 1.0, values).astype(np.float32),
        rng.integers(0, 2, 1).astype(np.uint8),
        np.array([rng.choice([1.0, 0.3, 1e-3])], np.float32),
        np.zeros(1, np.uint64),
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_the_next_update_moves_a_logit_by_no_more(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = Model({"table_bits": 8, **CONFIGS[name]})
    tightest = np.inf
    for _ in range(2_000):
        row = row_of(rng, 256)
        before, allowed = logit(model.predict(row)[0]), model.uncertainty(row)[0]
        model.learn(row)
        moved = abs(logit(model.predict(row)[0]) - before)
        assert moved <= allowed
        if moved > 0:
            tightest = min(tightest, allowed / moved)
    assert tightest < 50.0, "a bound that is never near says nothing"


def test_it_is_the_papers_score(seed: int) -> None:
    """u = alpha sum |x| / (beta + sqrt n) with the bias as a coordinate (section 6)."""
    rng = np.random.default_rng(seed)
    model = Model({"table_bits": 8, "optimizer": {"learning_rate": 0.2}})
    for _ in range(300):
        model.learn(row_of(rng, 256))
    row = row_of(rng, 256)
    n = model.table.cells.reshape(-1, 2)[row.feature_hashes & 255, 1].astype(float)
    expected = 0.2 * (np.abs(row.values) / (1 + np.sqrt(n))).sum()
    expected += 0.2 / (1 + np.sqrt(model.bias[1]))
    assert model.uncertainty(row)[0] == pytest.approx(expected, rel=1e-5)


def test_what_is_new_is_more_uncertain_than_what_is_known() -> None:
    model = folded({"table_bits": 12}, payloads(1, 5))
    rows: list[dict[str, Any]] = [{"label": i % 2, "features": {"a": "known"}} for i in range(500)]
    model.learn(ExampleBatch.from_examples(rows))
    probe = [{"features": {"a": "known"}}, {"features": {"a": "new"}}]
    known, new = model.uncertainty(ExampleBatch.from_examples(probe, require_labels=False))
    assert known < new / 2


def test_it_changes_nothing(seed: int) -> None:
    model = folded({"table_bits": 8}, payloads(seed, 2))
    digest = model.state_digest()
    model.uncertainty(row_of(np.random.default_rng(seed), 256))
    assert model.state_digest() == digest
