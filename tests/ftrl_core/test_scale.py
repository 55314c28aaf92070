"""Examples of unit length: a rate that suits few features suits many, and values of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.model import Model

PLAIN: dict[str, Any] = {"table_bits": 10, "optimizer": {"learning_rate": 0.2}}


def learned(config: dict[str, Any], examples: list[dict[str, Any]]) -> list[float]:
    predictions: list[float] = Model(config).learn(ExampleBatch.from_examples(examples)).tolist()
    return predictions


def test_values_are_divided_by_their_length(seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw, divided = [], []
    for _ in range(50):
        x = rng.normal(0.0, 3.0, 4)
        label = int(rng.integers(0, 2))
        raw.append({"label": label, "features": {f"f{i}": float(v) for i, v in enumerate(x)}})
        unit = x / np.linalg.norm(x)
        divided.append(
            {"label": label, "features": {f"f{i}": float(v) for i, v in enumerate(unit)}}
        )
    found = learned({**PLAIN, "scale": "unit"}, raw)
    assert found == pytest.approx(learned(PLAIN, divided), rel=1e-5)


def test_the_size_of_an_example_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = {**PLAIN, "scale": "unit"}
    examples: list[dict[str, Any]] = [
        {"label": int(rng.integers(0, 2)), "features": {"a": rng.normal(), "b": rng.normal()}}
        for _ in range(50)
    ]
    thousandfold = [
        {**e, "features": {name: 1000.0 * x for name, x in e["features"].items()}} for e in examples
    ]
    assert learned(config, examples) == pytest.approx(learned(config, thousandfold), rel=1e-5)


def test_a_step_is_as_long_with_eight_hundred_features_as_with_eight() -> None:
    moves = {}
    for count in (8, 800):
        example = [{"label": 1, "features": {f"f{i}": "x" for i in range(count)}}]
        for scale in ("none", "unit"):
            model = Model({**PLAIN, "table_bits": 20, "scale": scale})
            batch = ExampleBatch.from_examples(example)
            model.learn(batch)
            moves[scale, count] = float(model.predict(batch)[0])
    assert moves["unit", 8] == pytest.approx(moves["unit", 800], rel=0.02)
    assert moves["none", 800] > 0.99 > moves["none", 8]


@pytest.mark.parametrize("features", [{}, {"a": 0.0}, {"a": 1e-30}, {"a": 1e7, "b": -1e7}], ids=str)
def test_examples_of_no_length_and_of_great_length(features: dict[str, float]) -> None:
    for numbers in ("raw", "auto"):
        model = Model({"table_bits": 6, "numbers": numbers})
        batch = ExampleBatch.from_examples([{"label": 1, "features": features}] * 3)
        assert all(0 < p < 1 for p in model.learn(batch).tolist())
        assert np.isfinite(model.table.cells).all()


def test_lanes_of_a_view_see_that_view_alone() -> None:
    """Even lanes learn the bin of a number, odd lanes its logarithm, and nobody both."""
    model = Model({"table_bits": 14})
    model.learn(ExampleBatch.from_examples([{"label": 1, "features": {"price": 12.5}}]))
    record = model.record("price")
    assert [w != 0 for w in record["weight"]] == [False, True, False, True]
    touched = np.flatnonzero(model.table.cells.reshape(-1, 8)[:, 4:].any(axis=1))
    bins = [slot for slot in touched.tolist() if slot != record["slot"]]
    assert len(bins) == 1
    of_bin = model.table.cells.reshape(-1, 8)[bins[0], 4:]
    assert [n > 0 for n in of_bin.tolist()] == [True, False, True, False]


def test_the_bias_may_have_a_rate_of_its_own() -> None:
    batch = ExampleBatch.from_examples([{"label": 1, "features": {}}])
    model = Model({**PLAIN, "bias_learning_rate": 0.05})
    model.learn(batch)
    slow = float(np.log(1 / model.predict(batch)[0] - 1))
    assert slow == pytest.approx(-0.05 * 0.5 / (1 + 0.5), rel=1e-6)
