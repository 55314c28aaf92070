"""Live changes: predictions stay, every replica agrees, and what cannot be changed is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from ftrl_core.checkpoint import Cut, Manifest, cut
from ftrl_core.config import ModelConfig
from ftrl_core.entry import encode_control
from ftrl_core.errors import BadConfig
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.reconfigure import changed_config
from tests.oracle.streams import folded, load, payloads, random_batch

L1, L2 = "l1_regularization_strength", "l2_regularization_strength"
STARTS: list[dict[str, Any]] = [
    {"table_bits": 9},
    {"table_bits": 9, "optimizer": {L1: 0.5, L2: 0.3, "initial_accumulator_value": 0.1}},
    {"table_bits": 9, "optimizer": {"beta": 0.0, L1: 1.0}},
    {"table_bits": 9, "bias_regularized": True, "optimizer": {L1: 0.2, L2: 1.0}},
]
KEEPING: list[dict[str, Any]] = [
    {"optimizer": {"learning_rate": 0.01}},
    {"optimizer": {"learning_rate": 0.7}},
    {"optimizer": {"beta": 5.0}},
    {"optimizer": {"learning_rate": 0.02, "beta": 0.0}},
    {"table_bits": 10},
    {"table_bits": 15},
    {"table_bits": 13, "optimizer": {"learning_rate": 0.05}},
]


def configure(model: Model, changes: dict[str, Any]) -> None:
    position = Position(1, model.position.seq + 1)
    assert model.apply(position, encode_control("configure", {"config": changes})) is None


@pytest.mark.parametrize("changes", KEEPING, ids=str)
@pytest.mark.parametrize("start", STARTS, ids=str)
def test_predictions_stay(start: dict[str, Any], changes: dict[str, Any], seed: int) -> None:
    model = folded(start, payloads(seed, 20))
    probe = random_batch(np.random.default_rng(seed + 1), 300)
    before, n = model.predict(probe), model.bias[1]
    assert before.std() > 0.005
    zero = weights(model) == 0
    configure(model, changes)
    np.testing.assert_allclose(model.predict(probe), before, rtol=2e-6, atol=1e-9)
    assert model.bias[1] == n
    tiled = np.tile(zero, weights(model).size // zero.size)
    assert np.abs(weights(model)[tiled]).max(initial=0.0) < 1e-6, "a zero weight came alive"


def weights(model: Model) -> np.ndarray[Any, np.dtype[np.float64]]:
    pairs = model.table.cells.reshape(-1, 2).tolist()
    return np.array([model.weight(z, n) for z, n in pairs])


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
        {"optimizer": {"beta": 1}},
    ]
    for changes in none:
        configure(model, changes)
    assert model.digest() == digest
    assert (model.table.page_seqs == seqs).all()


@pytest.mark.parametrize("changes", [
    {"table_bits": 8}, {"table_bits": 31}, {"table_bits": "12"}, {"hash_seed": 1},
    {"deduplication_window": 9}, {"bias_regularized": True}, {"fold_version": 1}, {"lanes": 1},
    {"optimizer": 0.1}, {"optimizer": {"initial_accumulator_value": 0.1}},
    {"optimizer": {"learning_rate_power": -0.5}}, {"optimizer": {"alpha": 0.1}},
    {"optimizer": {"learning_rate": 0}}, {"optimizer": {L1: -1}},
    {"optimizer": {"beta": float("nan")}},
])  # fmt: skip
def test_refused(changes: dict[str, Any]) -> None:
    config = ModelConfig.from_dict({"table_bits": 9})
    before = config.to_dict()
    with pytest.raises(BadConfig):
        changed_config(config, changes)
    assert config.to_dict() == before
