"""The survey of a table against a plain loop over its records."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ftrl_core import survey as module
from ftrl_core.batch import ExampleBatch
from ftrl_core.model import Model
from ftrl_core.survey import survey
from tests.oracle.streams import ONE_RATE, random_batch

MIXTURE: dict[str, Any] = {"optimizer": {"l1_regularization_strength": 0.05}}


def plain(model: Model) -> dict[int, tuple[float, float]]:
    """(weight, n) of each slot in use, by the model's own records."""
    lanes, posterior = model.config.lanes, model.coefficients.posterior
    found = {}
    for slot, (z, n) in enumerate(model.table.cells.reshape(-1, 2, lanes)):
        if z.any() or n.any():
            pairs = zip(z.tolist(), n.tolist(), strict=True)
            w = [model.weight(*pair, lane) for lane, pair in enumerate(pairs)]
            found[slot] = float(posterior @ w), float(posterior @ n)
    return found


@pytest.mark.parametrize("config", [ONE_RATE, MIXTURE])
def test_against_a_plain_loop(seed: int, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 300)
    monkeypatch.setattr(module, "LARGEST", 40)
    model = Model({**config, "table_bits": 10})
    for _ in range(5):
        model.learn(random_batch(np.random.default_rng(seed), 60))
    found, wanted = survey(model.coefficients, model.examples), plain(model)
    weights = {slot: w for slot, (w, _) in wanted.items() if w}
    assert (found.slots, found.used, found.nonzero) == (1024, len(wanted), len(weights))
    assert found.is_cut is (len(weights) > 40)
    sizes = sorted((abs(w) for w in weights.values()), reverse=True)[:40]
    np.testing.assert_allclose(np.abs(found.weights), sizes, rtol=1e-5)
    for slot, weight, n in zip(found.largest, found.weights, found.ns, strict=True):
        assert (weight, n) == pytest.approx(wanted[int(slot)], rel=1e-5)
    document = found.document()
    for value, (low, high, count) in [
        *((w, bin_) for w in weights.values() for bin_ in _bins(document["weights"])),
    ]:
        if low < value < high and (low > 0 or high < 0):
            assert count > 0
    assert sum(document["weights"]["count"]) == len(wanted)
    assert sum(document["n"]["count"]) == sum(n > 0 for _, n in wanted.values())
    assert document["weights"]["low"] == sorted(document["weights"]["low"])


def _bins(histogram: dict[str, list[float]]) -> list[tuple[float, float, float]]:
    columns = (histogram[name] for name in ("low", "high", "count"))
    return list(zip(*columns, strict=True))


def test_features_are_estimated(seed: int) -> None:
    """1,500 features in 2,048 slots: the estimate is within 10 %, the share as simulated."""
    model = Model({**ONE_RATE, "table_bits": 11})
    examples = [{"label": i % 2, "features": {"id": f"{seed}-{i}"}} for i in range(1500)]
    model.learn(ExampleBatch.from_examples(examples))
    found = survey(model.coefficients, model.examples)
    assert found.features == pytest.approx(1500, rel=0.1)
    slots = np.random.default_rng(seed).integers(0, 2048, 1500)
    alone = np.count_nonzero(np.bincount(slots, minlength=2048) == 1)
    assert found.colliding == pytest.approx(1 - alone / 1500, abs=0.06)


def test_an_empty_and_a_full_table() -> None:
    model = Model({**ONE_RATE, "table_bits": 8})
    empty = survey(model.coefficients, 0)
    assert (empty.used, empty.features, empty.colliding, empty.is_cut) == (0, 0.0, 0.0, False)
    assert empty.document()["sparsity"] is None
    model.table.cells[1::2] = 1.0
    full = survey(model.coefficients, 0)
    assert (full.features, full.colliding) == (None, 1.0)
    assert not math.isnan(full.document()["occupancy"])
