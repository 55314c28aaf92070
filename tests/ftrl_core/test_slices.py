"""Slices against a count in plain Python from the raw examples and predictions."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from ftrl_core import slices
from ftrl_core.batch import ExampleBatch
from ftrl_core.checkpoint import Manifest, cut
from ftrl_core.entry import ControlEntry
from ftrl_core.errors import BadConfig
from ftrl_core.hashing import feature_hash, name_hash
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.reconfigure import changed_config
from ftrl_core.slice_reports import slices as report
from ftrl_core.slices import VALUES_MAX, Slices
from tests.oracle.streams import load

CONFIG = {"table_bits": 10, "deduplication_window": 0, "slices": ["site", "tags"]}
Counts = dict[str, list[float]]  # examples, weight, clicks, predicted, loss


def examples(rng: np.random.Generator, count: int, sites: int = 12) -> list[dict[str, Any]]:
    """Examples with a skewed site (at times none, at times a number), and a list of tags."""
    made = []
    for _ in range(count):
        features: dict[str, Any] = {f"f{i}": str(rng.integers(5)) for i in range(6)}
        kind = rng.random()
        if kind < 0.8:
            features["site"] = f"s{min(int(rng.zipf(1.3)), sites)}"
        elif kind < 0.9:
            features["site"] = float(rng.integers(1, 4))
        features["tags"] = [f"t{t}" for t in {*rng.integers(0, 4, rng.integers(0, 4)).tolist()}]
        weight = float(rng.choice([0.5, 1.0, 2.0]))
        made.append({"label": int(rng.random() < 0.3), "weight": weight, "features": features})
    return made


def keys_of(example: dict[str, Any], name: str) -> list[str]:
    """The rows of the slice that the example counts under."""
    value = example["features"].get(name)
    given = value if isinstance(value, list) else [] if value is None else [value]
    return ["number" if isinstance(v, float) else v for v in given] or ["missing"]


def counted(given: list[dict[str, Any]], p: list[float], name: str) -> Counts:
    rows: Counts = defaultdict(lambda: [0.0] * 5)
    for example, prediction in zip(given, p, strict=True):
        y, w = example["label"], example["weight"]
        loss = -math.log(prediction if y else 1 - prediction)
        for key in keys_of(example, name):
            for i, more in enumerate((1, w, w * y, w * prediction, w * loss)):
                rows[key][i] += more
    return rows


def learned(model: Model, given: list[dict[str, Any]], size: int) -> list[float]:
    p: list[float] = []
    for first in range(0, len(given), size):
        p += model.learn(ExampleBatch.from_examples(given[first : first + size])).tolist()
    return p


def named(model: Model, name: str, values: set[str]) -> dict[int, str]:
    hashed = name_hash(name, model.config.hash_seed)
    return {feature_hash(value, hashed): value for value in values} | {hashed: "number"}


def assert_rows(found: dict[str, Any], wanted: Counts, part: str | None) -> None:
    rows = {one["value"] or one["kind"]: one[part] if part else one for one in found["values"]}
    assert {key for key, row in rows.items() if row["examples"]} == set(wanted)
    for key, (count, weight, clicks, predicted, loss) in wanted.items():
        row = rows[key]
        assert (row["examples"], row["weight"], row["clicks"]) == (count, weight, clicks), key
        assert row["predicted"] == pytest.approx(predicted, rel=1e-9)
        assert row["log_loss"] == pytest.approx(loss / weight, rel=1e-9)
        assert row["mean_prediction"] == pytest.approx(predicted / weight, rel=1e-9)
        assert row["calibration"] == (pytest.approx(predicted / clicks) if clicks else None)


def test_against_a_plain_count(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = examples(np.random.default_rng(seed), 900)
    model = Model(CONFIG)
    p = learned(model, given, 111)
    for i, name in enumerate(("site", "tags")):
        values = {key for example in given for key in keys_of(example, name)}
        found = report(model.slices.tables(), named(model, name, values).get)["slices"][i]
        assert found["name"] == name
        assert_rows(found, counted(given, p, name), None)
        assert_rows(found, counted(given, p, name), "recent")


def test_recent_is_the_last_two_periods(seed: int) -> None:
    """Periods are counted in examples: 2.5 of them, of a period that is compiled in."""
    rows, period = 0, slices.PERIOD
    model = Model({**CONFIG, "slices": ["site"]})
    for size, site in ((period, "a"), (period, "b"), (period // 2, "c")):
        one = [{"label": 1, "features": {"site": site}}, {"label": 0, "features": {}}]
        batch = ExampleBatch.from_examples(one)
        many = ExampleBatch.concatenate([batch] * 500)
        for _ in range(size // many.rows):
            model.learn(many)
        rows += size
    names = named(model, "site", {"a", "b", "c"})
    values = report(model.slices.tables(), names.get)["slices"][0]["values"]
    recent = {one["value"] or one["kind"]: one["recent"]["examples"] for one in values}
    whole = {one["value"] or one["kind"]: one["examples"] for one in values}
    half = period // 2
    assert whole == {"missing": rows // 2, "a": half, "b": half, "c": half // 2}
    assert recent == {"missing": half + half // 2, "a": 0, "b": half, "c": half // 2}


def test_values_past_the_bound_are_other(seed: int) -> None:
    sites = [f"s{i}" for i in range(VALUES_MAX + 9)]
    given = [{"label": 1, "weight": 1.0, "features": {"site": site}} for site in sites]
    model = Model(CONFIG)
    learned(model, given * 2, 100)
    found = report(model.slices.tables(), lambda _: None)["slices"][0]
    assert found["distinct"] == VALUES_MAX
    rows = {one["kind"]: one["examples"] for one in found["values"] if one["kind"] != "value"}
    assert rows == {"other": 18}
    assert sum(one["examples"] for one in found["values"]) == len(given) * 2


def test_grouping_changes_nothing_and_a_checkpoint_brings_it_back(seed: int) -> None:
    given = examples(np.random.default_rng(seed), 400)
    one, other = Model(CONFIG), Model(CONFIG)
    learned(one, given, 400)
    learned(other, given, 7)
    assert one.slices.to_bytes() == other.slices.to_bytes()
    taken = cut(one, -1)
    copy = load(Manifest.advance(None, taken, "a", "0" * 16), {"a": taken})
    assert copy.config.slices == ("site", "tags")
    for model in (one, copy):
        learned(model, given, 50)
    assert copy.state_digest() == one.state_digest()
    assert copy.slices.to_bytes() == one.slices.to_bytes()


def test_slices_change_no_arithmetic_and_can_be_changed_live(seed: int) -> None:
    given = examples(np.random.default_rng(seed), 300)
    bare, sliced = Model({**CONFIG, "slices": []}), Model(CONFIG)
    for model in (bare, sliced):
        learned(model, given, 100)
    assert bare.digest() == sliced.digest()
    assert "slices" not in bare.config.to_dict(), "so that older versions can follow it"
    kept = sliced.slices.tables()[1]
    change = ControlEntry("configure", {"config": {"slices": ["tags", "f0"]}})
    for model in (bare, sliced):
        model.apply(Position(1, model.position.seq + 1), change)
        assert model.config.slices == ("tags", "f0")
        learned(model, given, 100)
    assert bare.digest() == sliced.digest()
    tags, f0 = sliced.slices.tables()
    assert tags.counts.sum(axis=0)[2] == 2 * kept.counts.sum(axis=0)[2]
    assert f0.counts.sum() == len(given)


@pytest.mark.parametrize(
    "bad", ["site", ["a", "a"], [""], [1], ["\ud800"], ["x" * 257], [str(i) for i in range(9)]]
)
def test_what_cannot_be_slices_is_refused(bad: Any) -> None:
    with pytest.raises(BadConfig, match="slices"):
        changed_config(Model(CONFIG).config, {"slices": bad})


@pytest.mark.parametrize("change", ["names", "short", "used"])
def test_what_the_fold_could_not_have_made_is_refused(seed: int, change: str) -> None:
    model = Model(CONFIG)
    learned(model, examples(np.random.default_rng(seed), 50), 50)
    content = bytearray(model.slices.to_bytes())
    if change == "used":
        content[24:32] = (VALUES_MAX + 1).to_bytes(8, "little")
    names = ("site", "others") if change == "names" else ("site", "tags")
    with pytest.raises(ValueError, match=r"slices|buffer"):
        Slices(names, 0).load(bytes(content[:-8] if change == "short" else content))
