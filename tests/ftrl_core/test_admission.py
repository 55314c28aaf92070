"""Feature admission: counted exactly, never later than asked, remembered long, and fold state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ftrl_core.admission import ROLL, Admission, sighted
from ftrl_core.batch import ExampleBatch
from ftrl_core.checkpoint import Manifest, cut
from ftrl_core.config import ModelConfig
from ftrl_core.model import Model
from tests.oracle.streams import folded, load, payloads

BLOOM: dict[str, Any] = {"kind": "bloom", "count": 2, "bits": 14}


def bloom(bits: int) -> Admission:
    return Admission(
        ModelConfig.from_dict({"admission": {"kind": "bloom", "count": 1, "bits": bits}})
    )


def of_names(*names: str) -> ExampleBatch:
    return ExampleBatch.from_examples([{"label": 1, "features": dict.fromkeys(names, "x")}])


def test_few_features_are_counted_exactly(seed: int) -> None:
    filters = bloom(14)
    rng = np.random.default_rng(seed)
    hashes = rng.choice(2**32, 200, replace=False)
    for times in range(5):
        for hashed in hashes.tolist():
            assert sighted(filters.counters, filters.cursor, hashed, 0) == times


def test_a_count_is_never_too_small_within_what_is_remembered(seed: int) -> None:
    """False positives admit early; nothing seen lately is forgotten, across the rolling."""
    filters = bloom(10)
    remembered = (1 << 10) // ROLL
    rng = np.random.default_rng(seed)
    early, rolled = 0, 0
    for hashed in rng.choice(2**32, 2_000, replace=False).tolist():
        before = int(filters.cursor[0])
        early += sighted(filters.counters, filters.cursor, hashed, seed) > 0
        for other in rng.choice(2**32, remembered // 2).tolist()[:40]:
            sighted(filters.counters, filters.cursor, other, seed)
        assert sighted(filters.counters, filters.cursor, hashed, seed) >= 1
        rolled += before != int(filters.cursor[0])
    assert rolled > 100
    assert early < 0.1 * 2_000


def test_a_feature_is_learned_after_count_sightings() -> None:
    model = Model({"table_bits": 12, "admission": BLOOM})
    for sighting in range(4):
        assert (model.record("a", "x")["n"][0] > 0) is (sighting > 2)
        model.learn(of_names("a"))
    assert model.record("a", "x")["n"][0] > 0
    assert model.record("b", "x")["n"][0] == 0


def test_poisson_admits_at_the_expected_sighting(seed: int) -> None:
    """The mean number of sightings before a feature is learned is 1 / p."""
    model = Model({
        "table_bits": 22,
        "admission": {"kind": "poisson", "probability": 0.2},
    })  # fmt: skip
    names = [f"{seed}-{i}" for i in range(1_500)]
    sightings = np.zeros(len(names))
    for _ in range(40):
        model.learn(of_names(*names))
        sightings += [model.record(name, "x")["n"][0] == 0 for name in names]
    assert sightings.mean() + 1 == pytest.approx(5.0, abs=0.6)


def test_a_feature_not_admitted_contributes_nothing() -> None:
    model = Model({"table_bits": 12, "admission": {"kind": "bloom", "count": 200, "bits": 12}})
    rows = [{"label": 1, "features": {"a": "x"}}, {"label": 0, "features": {"b": "x"}}] * 50
    model.learn(ExampleBatch.from_examples(rows))
    assert not model.table.cells.any()
    a, b = model.predict(ExampleBatch.from_examples(rows[:2]))
    assert a == b


@pytest.mark.parametrize("admission", [
    BLOOM, {"kind": "bloom", "count": 1, "bits": 20}, {"kind": "poisson", "probability": 0.3},
], ids=str)  # fmt: skip
def test_admission_is_part_of_every_checkpoint(admission: dict[str, Any], seed: int) -> None:
    config = {"table_bits": 10, "admission": admission}
    model = folded(config, payloads(seed, 6))
    cuts = {"a": cut(model, -1)}
    first = Manifest.advance(None, cuts["a"], "a", "0" * 16)
    copy = load(first, cuts)
    assert copy.state_digest() == model.state_digest()
    for seq, payload in enumerate(payloads(seed + 1, 4), 7):
        for each in (model, copy):
            each.apply(each.position._replace(epoch=1, seq=seq), payload)
    assert copy.state_digest() == model.state_digest()
    cuts["b"] = cut(model, first.position.seq)
    second = Manifest.advance(first, cuts["b"], "b", "0" * 16)
    assert load(second, cuts).state_digest() == model.state_digest()


def test_how_a_stream_is_cut_changes_no_admission(seed: int) -> None:
    for admission in (BLOOM, {"kind": "poisson", "probability": 0.3}):
        config = {"table_bits": 10, "admission": admission}
        batch = ExampleBatch.from_examples(
            [{"label": i % 2, "features": {"a": str(i % 37), "b": str(i % 11)}} for i in range(200)]
        )
        whole, single = Model(config), Model(config)
        whole.learn(batch)
        for row in range(batch.rows):
            single.learn(batch.slice(row, row + 1))
        assert whole.digest() == single.digest()


@pytest.mark.parametrize("piece", [b"\2" + b"\0" * 15 + b"\0" * (2 << 10), b"\0" * 7], ids=len)
def test_a_state_that_does_not_fit_is_refused(piece: bytes) -> None:
    with pytest.raises(ValueError, match=r"admission|broadcast|multiple"):
        bloom(10).load([piece])
