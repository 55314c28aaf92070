"""Explanations: they sum to the logit that is served, and each share is the plain product."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ftrl_core import ExampleBatch, Model

CONFIGS: dict[str, dict[str, Any]] = {
    "one rate": {"table_bits": 12, "optimizer": {"learning_rate": 0.3}},
    "l1": {
        "table_bits": 12,
        "optimizer": {"learning_rate": 0.3, "l1_regularization_strength": 3.0},
    },
    "one rate, two views": {
        "table_bits": 12, "numbers": "auto", "scale": "unit", "optimizer": {"learning_rate": 0.3},
    },
    "untuned": {"table_bits": 12},
    "general": {
        "table_bits": 12,
        "optimizer": {"learning_rate": [0.1, 0.2, 0.4], "learning_rate_power": -0.4},
    },
}  # fmt: skip


def stream(rng: np.random.Generator, rows: int) -> list[dict[str, Any]]:
    return [
        {
            "features": {
                "ad": f"a{rng.integers(0, 30)}",
                "tags": [f"t{rng.integers(0, 9)}", f"t{rng.integers(0, 9)}"],
                "price": float(rng.integers(1, 100)) / 8,
                "new": bool(rng.integers(0, 2)),
            },
            "label": int(rng.random() < 0.3),
        }
        for _ in range(rows)
    ]


def taught(name: str, seed: int) -> tuple[Model, ExampleBatch]:
    rng = np.random.default_rng(seed)
    model = Model(CONFIGS[name])
    for _ in range(5):
        model.learn(ExampleBatch.from_examples(stream(rng, 80)))
    return model, ExampleBatch.from_examples(stream(rng, 40))


@pytest.mark.parametrize("name", CONFIGS)
def test_bias_contributions_and_rest_are_the_logit(name: str, seed: int) -> None:
    model, batch = taught(name, seed)
    digest = model.state_digest()
    for found, p in zip(model.explain(batch), model.predict(batch), strict=True):
        assert found.logit == pytest.approx(math.log(p / (1 - p)), abs=1e-9)
        total = found.bias + sum(one.contribution for one in found.coordinates) + found.rest
        assert total == pytest.approx(found.logit, abs=1e-9)
        if model.config.lanes == 1:
            assert abs(found.rest) < 1e-6
    assert model.state_digest() == digest


def test_a_share_is_value_times_weight() -> None:
    model = Model({"table_bits": 16, "optimizer": {"learning_rate": 0.3}})
    model.learn(ExampleBatch.from_examples([{"features": {"ad": "a1", "x": 2.0}, "label": 1}] * 9))
    row = ExampleBatch.from_examples([{"features": {"ad": "a1", "x": 3.0}}], require_labels=False)
    found = model.explain(row)[0]
    records = {r["slot"]: r for r in (model.record("ad", "a1"), model.record("x"))}
    assert {one.slot for one in found.coordinates} == records.keys()
    for one in found.coordinates:
        record, x = records[one.slot], 3.0 if one.slot == model.record("x")["slot"] else 1.0
        assert one.weight == [pytest.approx(record["weight"])]
        assert one.n == [record["n"]]
        assert one.contribution == pytest.approx(x * record["weight"], rel=1e-6)
        assert one.learning_rate == [pytest.approx(0.3 / (1.0 + math.sqrt(record["n"])), rel=1e-6)]
        assert not any(one.held_at_zero)
        assert one.view == ""


def test_what_l1_holds_is_told(seed: int) -> None:
    model, batch = taught("l1", seed)
    coordinates = [one for found in model.explain(batch) for one in found.coordinates]
    held = [one for one in coordinates if any(one.held_at_zero)]
    assert held, "nothing was held"
    assert all(one.weight == [0.0] and one.n != [0.0] for one in held)
    unknown = ExampleBatch.from_examples([{"features": {"never": "seen"}}], require_labels=False)
    assert not any(model.explain(unknown)[0].coordinates[0].held_at_zero)


def test_both_views_of_a_number_are_told() -> None:
    model = Model({"table_bits": 16})
    model.learn(ExampleBatch.from_examples([{"features": {"price": 9.5}, "label": 1}] * 9))
    row = ExampleBatch.from_examples([{"features": {"price": 9.5}}], require_labels=False)
    found = model.explain(row)[0]
    assert [one.view for one in found.coordinates] == ["logarithm", "bin"]
    assert [one.feature for one in found.coordinates] == [0, 0]
    for one, blind in zip(found.coordinates, (0, 1), strict=True):
        assert [bool(x) for x in one.x] == [lane % 2 != blind for lane in range(4)]


def test_a_clamped_logit_leaves_a_rest() -> None:
    model = Model({"table_bits": 8, "optimizer": {"learning_rate": 50.0}})
    model.learn(ExampleBatch.from_examples([{"features": {"x": 100.0}, "label": 1}] * 3))
    row = ExampleBatch.from_examples([{"features": {"x": 1000.0}}], require_labels=False)
    found = model.explain(row)[0]
    assert found.logit == pytest.approx(15.0)
    assert found.rest < -1.0
