"""The general kernel: the fast one's bits where options are neutral, and every option's formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.coefficients import is_fast
from ftrl_core.config import ModelConfig
from ftrl_core.model import Model
from ftrl_core.schedules import deserialize
from tests.oracle.every_option import BIAS, Learner, Options
from tests.oracle.streams import random_batch

L1, L2 = "l1_regularization_strength", "l2_regularization_strength"
N0, SHRINKAGE = "initial_accumulator_value", "l2_shrinkage_regularization_strength"
PLAIN: list[dict[str, Any]] = [
    {},
    {"optimizer": {"learning_rate": 0.3, "beta": 0.0, N0: 0.1, L1: 0.05, L2: 0.4}},
    {"optimizer": {L1: 0.05, L2: 0.4}, "bias_regularized": True, "mixture_share": 0.1},
    {"optimizer": {"learning_rate": 0.1}, "numbers": "auto", "scale": "unit"},
    {"sampling_rate": 0.25},
]


def only_general(model: Model) -> Model:
    """The model, folded by the general kernel whatever its options."""
    model.coefficients._fast = False
    return model


@pytest.mark.parametrize("given", PLAIN, ids=str)
def test_neutral_options_give_the_fast_kernels_bits(given: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = {"table_bits": 8, "hash_seed": 7, **given}
    assert is_fast(ModelConfig.from_dict(config))
    fast, general = Model(config), only_general(Model(config))
    for scale in (1.0, 1e-20, 1e7, 3.0):
        batch = random_batch(rng, 200, features=60, numbers=0.4, scale=scale, weights=True, ids=400)
        assert fast.predict(batch).tobytes() == general.predict(batch).tobytes()
        assert fast.learn(batch).tobytes() == general.learn(batch).tobytes()
        assert fast.state_digest() == general.state_digest()


@pytest.mark.parametrize("given", [
    {"optimizer": {"learning_rate": [0.1, 0.2]}}, {"optimizer": {"clipvalue": 1.0}},
    {"optimizer": {"learning_rate_power": -0.4}}, {"optimizer": {SHRINKAGE: 0.1}},
    {"admission": {"kind": "poisson", "probability": 0.5}}, {"rates_from": "counts"},
    {"sampling_rate": 0.5, "sampling_correction": "logit"},
])  # fmt: skip
def test_every_other_option_is_the_general_kernels(given: dict[str, Any]) -> None:
    assert not is_fast(ModelConfig.from_dict(given))


DECAY = {
    "class_name": "ExponentialDecay",
    "config": {"initial_learning_rate": 0.4, "decay_steps": 60, "decay_rate": 0.5},
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "power 0": ({"optimizer": {"learning_rate_power": 0.0}}, {"power": 0.0}),
    "power -.3, l1, l2, n0": (
        {"optimizer": {"learning_rate_power": -0.3, L1: 0.02, L2: 0.1, N0: 0.2, "beta": 0.0}},
        {"power": -0.3, "l1": 0.02, "l2": 0.1, "n0": 0.2, "beta": 0.0},
    ),
    "power -1.5": ({"optimizer": {"learning_rate_power": -1.5}}, {"power": -1.5}),
    "shrinkage": ({"optimizer": {SHRINKAGE: 0.05, N0: 0.1}}, {"shrinkage": 0.05, "n0": 0.1}),
    "shrinkage, bias too": (
        {"optimizer": {SHRINKAGE: 0.05, L1: 0.01, L2: 0.3}, "bias_regularized": True},
        {"shrinkage": 0.05, "l1": 0.01, "l2": 0.3, "bias_regularized": True},
    ),
    "clipvalue": ({"optimizer": {"clipvalue": 0.3}}, {"clipvalue": 0.3}),
    "clipnorm": ({"optimizer": {"clipnorm": 0.4}}, {"clipnorm": 0.4}),
    "value and global norm": (
        {"optimizer": {"clipvalue": 0.5, "global_clipnorm": 0.6}},
        {"clipvalue": 0.5, "global_clipnorm": 0.6},
    ),
    "a schedule": (
        {"optimizer": {"learning_rate": DECAY, L1: 0.01, L2: 0.1}},
        {"l1": 0.01, "l2": 0.1},
    ),
    "logit correction": (
        {"sampling_rate": 0.2, "sampling_correction": "logit"},
        {"logit_offset": math.log(5.0)},
    ),
    "after two sightings": (
        {"admission": {"kind": "bloom", "count": 2, "bits": 16}}, {"admit_after": 2}
    ),
    "rates from counts": ({"rates_from": "counts"}, {"counts": True}),
}  # fmt: skip


def small_stream(seed: int, numbers: bool) -> list[tuple[list[tuple[int, float]], int, float]]:
    """Examples over 40 slots, each slot once in an example; weights and values vary or are 1."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(200):
        slots = sorted(rng.choice(40, rng.integers(1, 6), replace=False).tolist())
        values = rng.normal(0.0, 1.0, len(slots)) if numbers else np.ones(len(slots))
        weight = float(rng.choice([0.5, 1.0, 2.0])) if numbers else 1.0
        pairs = [(s, float(np.float32(v))) for s, v in zip(slots, values, strict=True)]
        examples.append((pairs, int(rng.random() < 0.3), weight))
    return examples


def one(features: list[tuple[int, float]], label: int, weight: float) -> ExampleBatch:
    count = len(features)
    return ExampleBatch(
        np.array([0, count], np.int64),
        np.full(count, 99, np.uint32),
        np.array([slot for slot, _ in features], np.uint32),
        np.array([x for _, x in features], np.float32),
        np.array([label], np.uint8),
        np.array([weight], np.float32),
        np.zeros(1, np.uint64),
    )


def oracle_of(given: Mapping[str, Any], optimizer: Mapping[str, Any]) -> Learner:
    rate = optimizer.get("learning_rate", 0.2)
    options = Options(rate=deserialize(rate) if isinstance(rate, dict) else lambda _: 0.2)
    return Learner(replace(options, **given))


@pytest.mark.parametrize("name", CASES)
def test_an_option_is_what_its_documentation_says(name: str, seed: int) -> None:
    given, options = CASES[name]
    optimizer = {"learning_rate": 0.2, **given.get("optimizer", {})}
    model = Model({**given, "table_bits": 6, "optimizer": optimizer})
    oracle = oracle_of(options, optimizer)
    for features, label, weight in small_stream(seed, numbers=name != "rates from counts"):
        found = model.learn(one(features, label, weight))[0]
        assert found == pytest.approx(oracle.learn(features, label, weight), rel=3e-5)
    for slot in range(40):
        z, n = model.table.cells[2 * slot : 2 * slot + 2]
        if model.config.optimizer.schedule is None:
            assert model.weight(z, n) == pytest.approx(oracle.weight(slot), rel=3e-4, abs=3e-6)
    assert oracle.weight(BIAS) != 0.0


def test_sampling_by_weight_is_importance_weighting(seed: int) -> None:
    """A rate of 1/4 is the same as telling each example without a click to weigh 4."""
    plain = Model({"table_bits": 6})
    sampled = Model({"table_bits": 6, "sampling_rate": 0.25})
    for features, label, weight in small_stream(seed, numbers=True):
        heavier = weight if label else 4.0 * weight
        a = plain.learn(one(features, label, heavier))
        assert sampled.learn(one(features, label, weight)).tobytes() == a.tobytes()
    assert (plain.table.cells == sampled.table.cells).all()
    ours, told = sampled.stats(), plain.stats()
    assert ours["log_loss"] == told["log_loss"]
    assert ours["calibration"] == told["calibration"]


@pytest.mark.parametrize("correction", ["weight", "logit"])
def test_sampled_negatives_give_the_whole_streams_probabilities(correction: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.array([0.02, 0.2])
    config: dict[str, Any] = {"table_bits": 4, "optimizer": {"learning_rate": 0.3}}
    model = Model({**config, "sampling_rate": 0.1, "sampling_correction": correction})
    kind = rng.integers(0, 2, 300_000)
    label = rng.random(kind.size) < truth[kind]
    kept = label | (rng.random(kind.size) < 0.1)
    kind, label = kind[kept], label[kept]
    rows = kind.size
    model.learn(
        ExampleBatch(
            np.arange(rows + 1, dtype=np.int64), np.full(rows, 99, np.uint32),
            kind.astype(np.uint32), np.ones(rows, np.float32), label.astype(np.uint8),
            np.ones(rows, np.float32), np.zeros(rows, np.uint64),
        )
    )  # fmt: skip
    found = model.predict(ExampleBatch.concatenate([one([(k, 1.0)], 0, 1.0) for k in (0, 1)]))
    # the last steps of a rate of .3 leave about 6 %; without the correction it is a factor of 10
    np.testing.assert_allclose(found, truth, rtol=0.3)
    assert model.stats()["calibration"] == pytest.approx(1.0, abs=0.02)


def test_a_schedule_goes_by_examples_not_by_entries(seed: int) -> None:
    config = {"table_bits": 6, "optimizer": {"learning_rate": DECAY}}
    whole, single = Model(config), Model(config)
    batch = random_batch(np.random.default_rng(seed), 100)
    whole.learn(batch)
    for row in range(batch.rows):
        single.learn(batch.slice(row, row + 1))
    assert whole.digest() == single.digest()
    assert whole.predict(batch).tobytes() == single.predict(batch).tobytes()
