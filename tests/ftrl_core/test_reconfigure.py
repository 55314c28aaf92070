"""Live changes: predictions stay, every replica agrees, and what cannot be changed is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from ftrl_core.checkpoint import Cut, Manifest, cut
from ftrl_core.config import MIXTURE_SHARE, ModelConfig
from ftrl_core.coordinate import weight
from ftrl_core.entry import encode_control
from ftrl_core.errors import BadConfig
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.reconfigure import changed_config
from tests.oracle.streams import folded, load, payloads, random_batch

L1, L2 = "l1_regularization_strength", "l2_regularization_strength"
N0 = "initial_accumulator_value"
STARTS: list[dict[str, Any]] = [
    {"table_bits": 9},
    {
        "table_bits": 9,
        "optimizer": {"learning_rate": 0.1, L1: 0.5, L2: 0.3, N0: 0.1},
    },
    {"table_bits": 9, "optimizer": {"learning_rate": 0.1, "beta": 0.0, L1: 1.0}},
    {"table_bits": 9, "bias_regularized": True, "optimizer": {L1: 0.2, L2: 1.0}},
    {"table_bits": 9, "rates_from": "counts", "optimizer": {"learning_rate": 0.1, N0: 0.2}},
    {"table_bits": 9, "optimizer": {"learning_rate": [0.2, 0.05], "learning_rate_power": -0.7}},
]
KEEPING: list[dict[str, Any]] = [
    {"optimizer": {"learning_rate": 0.01}},
    {"optimizer": {"learning_rate": 0.7}},
    {"optimizer": {"beta": 5.0}},
    {"optimizer": {"learning_rate": 0.02, "beta": 0.0}},
    {"table_bits": 10},
    {"table_bits": 15},
    {"table_bits": 13, "optimizer": {"learning_rate": 0.05}},
    {"optimizer": {"learning_rate_power": -0.25}},
    {"table_bits": 10, "optimizer": {"learning_rate_power": 0.0, "beta": 2.0}},
]


def configure(model: Model, changes: dict[str, Any]) -> None:
    position = Position(1, model.position.seq + 1)
    assert model.apply(position, encode_control("configure", {"config": changes})) is None


@pytest.mark.parametrize("changes", KEEPING, ids=str)
@pytest.mark.parametrize("start", STARTS, ids=str)
def test_predictions_stay(start: dict[str, Any], changes: dict[str, Any], seed: int) -> None:
    model = folded(start, payloads(seed, 20))
    probe = random_batch(np.random.default_rng(seed + 1), 300)
    before, n = model.predict(probe), model.bias[model.config.lanes :].copy()
    assert before.std() > 0.005
    zero = weights(model) == 0
    configure(model, changes)
    np.testing.assert_allclose(model.predict(probe), before, rtol=2e-6, atol=1e-9)
    assert (model.bias[model.config.lanes :] == n).all()
    tiled = np.tile(zero, weights(model).size // zero.size)
    assert np.abs(weights(model)[tiled]).max(initial=0.0) < 1e-6, "a zero weight came alive"


def weights(model: Model) -> np.ndarray[Any, np.dtype[np.float64]]:
    lanes = model.config.lanes
    cells = model.table.cells.reshape(-1, 2, lanes)
    slots = [
        [weight(z, n, model.coefficients.constants, lane) for lane, (z, n) in enumerate(record.T)]
        for record in cells
    ]
    return np.array(slots).ravel()


@pytest.mark.parametrize("changes", KEEPING, ids=str)
@pytest.mark.parametrize("start", STARTS[:2], ids=str)
def test_all_replicas_agree(start: dict[str, Any], changes: dict[str, Any], seed: int) -> None:
    """Whoever looked at the digest before, and whoever loads a checkpoint after."""
    looked, unlooked = (folded(start, payloads(seed, 6)) for _ in range(2))
    looked.digest()
    for model in (looked, unlooked):
        configure(model, changes)
    assert looked.digest() == unlooked.digest()
    taken = cut(looked, -1)
    copy = load(Manifest.advance(None, taken, "a", "0" * 16), {"a": taken})
    batch = random_batch(np.random.default_rng(seed), 50)
    for model in (looked, unlooked, copy):
        model.learn(batch)
    assert looked.state_digest() == unlooked.state_digest() == copy.state_digest()


@pytest.mark.parametrize("changes", [*KEEPING, {"optimizer": {L1: 2.0}}], ids=str)
def test_an_increment_over_a_change(changes: dict[str, Any], seed: int) -> None:
    """Checkpoint, change, checkpoint: the second holds every page whose bytes changed."""
    model = folded({"table_bits": 13}, payloads(seed, 3))
    cuts: dict[str, Cut] = {"a": cut(model, -1)}
    first = Manifest.advance(None, cuts["a"], "a", "0" * 16)
    configure(model, changes)
    cuts["b"] = cut(model, first.position.seq)
    second = Manifest.advance(first, cuts["b"], "b", "0" * 16)
    assert load(second, cuts).state_digest() == model.state_digest()


def test_l1_and_l2_act_at_once(seed: int) -> None:
    model = folded({"table_bits": 9}, payloads(seed, 10))
    pairs = model.table.cells.copy()
    alive = np.count_nonzero(weights(model))
    configure(model, {"optimizer": {L1: 1.0}})
    assert (model.table.cells == pairs).all()
    assert 0 < np.count_nonzero(weights(model)) < alive
    small = np.abs(weights(model)).sum()
    configure(model, {"optimizer": {L2: 10.0}})
    assert np.abs(weights(model)).sum() < small
    configure(model, {"optimizer": {L1: 0.0, L2: 0.0}})
    assert np.count_nonzero(weights(model)) == alive


def test_a_change_together_with_l1_and_l2(seed: int) -> None:
    """First what keeps the weights, at the old l1 and l2; then these."""
    together, apart = (folded(STARTS[1], payloads(seed, 10)) for _ in range(2))
    configure(together, {"optimizer": {"learning_rate": 0.03, L1: 0.1, L2: 0.0}})
    configure(apart, {"optimizer": {"learning_rate": 0.03}})
    configure(apart, {"optimizer": {L1: 0.1, L2: 0.0}})
    assert together.digest() == apart.digest()


def test_there_and_back_again(seed: int) -> None:
    model = folded(STARTS[1], payloads(seed, 10))
    probe = random_batch(np.random.default_rng(seed), 100)
    before = model.predict(probe)
    for rate in (1e-6, 1e6, 0.3, 1e-3, 0.1):
        configure(model, {"optimizer": {"learning_rate": rate}})
        assert np.isfinite(model.table.cells).all()
    np.testing.assert_allclose(model.predict(probe), before, rtol=1e-5)


@pytest.mark.parametrize("rate", [5e-324, 1e-310, 1e-44, 1e-30])
def test_from_a_rate_that_is_hardly_one(rate: float) -> None:
    optimizer = {"learning_rate": rate, "beta": 0.0, L1: 1.0}
    model = folded({"table_bits": 6, "optimizer": optimizer}, payloads(1, 3))
    configure(model, {"optimizer": {"learning_rate": 1e6}})
    assert np.isfinite(model.table.cells).all()
    assert np.isfinite(model.bias).all()


def test_copies_of_a_slot_part_ways() -> None:
    model = folded({"table_bits": 4}, payloads(1, 3))
    old = model.table.cells.copy()
    configure(model, {"table_bits": 6})
    assert (model.table.cells.reshape(4, -1) == old).all()
    model.learn(random_batch(np.random.default_rng(2), 3))
    parts = model.table.cells.reshape(4, -1)
    assert any((a != b).any() for a, b in itertools.pairwise(parts))


def test_no_change_changes_nothing() -> None:
    model = folded({"table_bits": 9}, payloads(1, 3))
    digest, seqs = model.digest(), model.table.page_seqs.copy()
    none: list[dict[str, Any]] = [
        {},
        {"optimizer": {}},
        {"table_bits": 9},
        {"optimizer": {"beta": 0.1}},
    ]
    for changes in none:
        configure(model, changes)
    assert model.digest() == digest
    assert (model.table.page_seqs == seqs).all()


@pytest.mark.parametrize("changes", [
    {"table_bits": 8}, {"table_bits": 31}, {"table_bits": "12"}, {"hash_seed": 1},
    {"deduplication_window": 9}, {"bias_regularized": True}, {"fold_version": 1}, {"lanes": 1},
    {"optimizer": 0.1}, {"optimizer": {N0: 0.1}},
    {"optimizer": {"learning_rate_power": 0.5}}, {"optimizer": {"alpha": 0.1}},
    {"optimizer": {"learning_rate": [0.1, 0.2]}}, {"optimizer": {"learning_rate": []}},
    {"optimizer": {"learning_rate": True}}, {"optimizer": {"clipvalue": 1.0}},
    {"numbers": "raw"}, {"admission": None}, {"mixture_share": 0.0},
    {"optimizer": {"learning_rate": 0}}, {"optimizer": {L1: -1}},
    {"optimizer": {"beta": float("nan")}},
])  # fmt: skip
def test_refused(changes: dict[str, Any]) -> None:
    config = ModelConfig.from_dict({"table_bits": 9})
    before = config.to_dict()
    with pytest.raises(BadConfig):
        changed_config(config, changes)
    assert config.to_dict() == before


def test_one_number_is_the_rate_of_every_lane(seed: int) -> None:
    model = folded({"table_bits": 9}, payloads(seed, 10))
    probe = random_batch(np.random.default_rng(seed), 100)
    before = model.predict(probe)
    configure(model, {"optimizer": {"learning_rate": 0.05}})
    assert model.config.rates == (0.05,) * 4
    np.testing.assert_allclose(model.predict(probe), before, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("rates", [[0.02, 0.5], [0.1, 0.2, 0.3, 0.4], [0.1] * 8], ids=str)
def test_a_list_starts_every_lane_from_the_one(rates: list[float], seed: int) -> None:
    """A model with one rate becomes a mixture without a jump, and lets its lanes part ways."""
    start = {"table_bits": 9, "optimizer": {"learning_rate": 0.1, L1: 0.1}}
    model = folded(start, payloads(seed, 9))
    probe = random_batch(np.random.default_rng(seed), 100)
    before = model.predict(probe)
    configure(model, {"table_bits": 10, "optimizer": {"learning_rate": rates}})
    assert (model.config.rates, model.config.table_bits) == (tuple(rates), 10)
    assert (model.config.numbers, model.config.mixture_share) == ("raw", MIXTURE_SHARE)
    np.testing.assert_allclose(model.predict(probe), before, rtol=2e-6, atol=1e-9)
    taken = cut(model, -1)
    copy = load(Manifest.advance(None, taken, "a", "0" * 16), {"a": taken})
    for each in (model, copy):
        each.learn(probe)
    assert model.state_digest() == copy.state_digest()
    posterior = model.coefficients.posterior
    assert posterior.sum() == pytest.approx(1.0)
    assert bool(np.ptp(posterior) > 0) is (len(set(rates)) > 1)


def test_a_schedule_is_changed_where_it_is_by_now(seed: int) -> None:
    schedule: dict[str, Any] = {
        "class_name": "InverseTimeDecay",
        "config": {"initial_learning_rate": 0.5, "decay_steps": 100, "decay_rate": 1.0},
    }
    model = folded({"table_bits": 9, "optimizer": {"learning_rate": schedule}}, payloads(seed, 9))
    probe = random_batch(np.random.default_rng(seed), 100)
    for rate in (0.05, schedule, {**schedule, "config": {**schedule["config"], "decay_rate": 9.0}}):
        before = model.predict(probe)
        configure(model, {"optimizer": {"learning_rate": rate}})
        np.testing.assert_allclose(model.predict(probe), before, rtol=2e-6, atol=1e-9)
