"""State synthesis: a model made of weights predicts as the weights do, and does not forget them.

The oracle is plain float64: a logit is the sum of value times weight, and the paper's Algorithm 1
says what one gradient does to a weight.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftrl_core.batch import ExampleBatch
from ftrl_core.checkpoint import cut
from ftrl_core.errors import BadConfig, BadWeights
from ftrl_core.interchange import Feature, LinearWeights
from ftrl_core.model import Model
from ftrl_core.snapshot_file import read_snapshot, write_snapshot
from ftrl_core.synthesis import model_of, weights_of

FEATURES: list[Feature] = [("site", "a"), ("site", "b"), ("price", None), ("flag", None)]
WEIGHTS = [0.75, -1.5, 0.01, 0.0]
LINEAR = {"numbers": "raw", "scale": "none"}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"optimizer": {"learning_rate": 0.1}},
    "n0": {"optimizer": {"learning_rate": 0.1, "initial_accumulator_value": 0.5, "beta": 0}},
    "regularized": {
        "optimizer": {
            "learning_rate": 0.2,
            "l1_regularization_strength": 2.0,
            "l2_regularization_strength": 3.0,
        },
        "bias_regularized": True,
    },
    "mixture": {**LINEAR, "optimizer": {"l1_regularization_strength": 0.1}},
    "power": {"optimizer": {"learning_rate": 0.1, "learning_rate_power": -0.8}},
    "sgd": {"optimizer": {"learning_rate": 0.1, "learning_rate_power": 0}},
    "schedule": {
        "optimizer": {
            "learning_rate": {
                "class_name": "ExponentialDecay",
                "config": {"initial_learning_rate": 0.3, "decay_steps": 10, "decay_rate": 0.5},
            },
        }
    },
    "bloom": {
        "optimizer": {"learning_rate": 0.1},
        "admission": {"kind": "bloom", "count": 3, "bits": 12},
    },
}
EXAMPLES: list[dict[str, Any]] = [
    {"features": {}},
    {"features": {"site": "a"}},
    {"features": {"site": ["a", "b"], "price": 12.5}},
    {"features": {"price": -3, "flag": True, "site": "unknown"}},
]


def weights(**given: Any) -> LinearWeights:
    return LinearWeights(FEATURES, np.array(WEIGHTS), bias=-0.4, **given)


def batch(labels: bool = False) -> ExampleBatch:
    rows = [{**e, "label": i % 2} for i, e in enumerate(EXAMPLES)]
    return ExampleBatch.from_examples(rows, require_labels=labels)


def expected() -> list[float]:
    logits = [-0.4, 0.75 - 0.4, 0.75 - 1.5 + 12.5 * 0.01 - 0.4, -3 * 0.01 - 0.4]
    return [1.0 / (1.0 + math.exp(-logit)) for logit in logits]


@pytest.mark.parametrize("confidence", [None, 0.01, 1.0, 1e6])
@pytest.mark.parametrize("name", CONFIGS)
def test_predictions_are_those_of_the_weights(name: str, confidence: float | None) -> None:
    model = model_of(weights(), {"table_bits": 14, **CONFIGS[name]}, confidence)
    assert model.predict(batch()) == pytest.approx(expected(), abs=2e-7)
    assert model.examples == 0


@pytest.mark.parametrize("n", [0.0, 1.0, 400.0])
def test_the_first_gradient_moves_a_weight_by_its_step_and_no_more(n: float) -> None:
    """Algorithm 1 on w and n alone: w' = w - alpha g / (beta + sqrt(n + g^2))."""
    model = model_of(weights(), {"table_bits": 14, "optimizer": {"learning_rate": 0.1}}, n)
    row = ExampleBatch.from_examples([{"label": 1, "features": {"site": "b"}}])
    p = float(model.predict(row)[0])
    model.learn(row)
    g = p - 1.0
    moved = -1.5 - 0.1 * g / (1.0 + math.sqrt(n + g * g))
    assert model.record("site", "b")["weight"] == pytest.approx(moved, abs=1e-6)
    assert model.record("site", "a")["weight"] == pytest.approx(0.75, abs=1e-6)


@given(
    w=st.floats(-30, 30),
    n=st.floats(0, 1e9),
    l1=st.sampled_from([0.0, 0.5, 20.0]),
    l2=st.sampled_from([0.0, 4.0]),
    rate=st.floats(1e-3, 5),
)
def test_any_weight_is_kept(w: float, n: float, l1: float, l2: float, rate: float) -> None:
    optimizer = {
        "learning_rate": rate,
        "l1_regularization_strength": l1,
        "l2_regularization_strength": l2,
    }
    given_weights = LinearWeights([("x", None)], np.array([w]), np.array([n]))
    model = model_of(given_weights, {"table_bits": 1, "optimizer": optimizer})
    record = model.record("x")
    # float32 keeps z = w q + alpha l1 to 2^-24 of itself, so a large threshold costs digits of w.
    slack = (rate * l1) * 2.0**-22 / (1.0 + math.sqrt(n) + 2 * rate * l2) + abs(w) * 1e-6
    assert record["weight"] == pytest.approx(w, abs=slack + 1e-30)
    assert record["n"] == pytest.approx(n, rel=1e-6)


def test_a_zero_weight_keeps_its_progress_below_the_threshold() -> None:
    optimizer = {"learning_rate": 0.5, "l1_regularization_strength": 1.0}
    z = np.array([0.9, -0.25])
    kept = LinearWeights([("a", None), ("b", None)], np.zeros(2), np.ones(2), z)
    model = model_of(kept, {"optimizer": optimizer})
    assert [model.record(name)["z"] for name in "ab"] == [pytest.approx(0.45), -0.125]
    less = {**optimizer, "l1_regularization_strength": 0.5}
    model = model_of(kept, {"optimizer": less})
    assert (model.record("a")["z"], model.record("a")["weight"]) == (0.25, 0.0)


@pytest.mark.parametrize("name", ["plain", "n0", "regularized", "mixture"])
def test_a_model_taken_out_and_put_back_learns_on_as_if_nothing_had_been(name: str) -> None:
    config = {"table_bits": 18, **CONFIGS[name]}
    model = Model(config)
    rng = np.random.default_rng(3)
    users = [f"u{i}" for i in range(40)]
    rows = [
        {"label": int(rng.random() < 0.3), "features": {"user": str(rng.choice(users)), "x": i % 7}}
        for i in range(600)
    ]
    model.learn(ExampleBatch.from_examples(rows[:300]))
    features: list[Feature] = [("user", u) for u in users] + [("x", None), ("never", None)]
    lane = None if name != "mixture" else 2
    taken = weights_of(model, features, lane)
    assert ("never", None) not in taken.features
    single = dict(config)
    if lane is not None:
        rate = model.config.rates[lane]
        single["optimizer"] = {**model.config.optimizer.to_dict(), "learning_rate": rate}
        single["mixture_share"] = None
    back = model_of(taken, single)
    later = ExampleBatch.from_examples(rows[300:])
    if lane is None:
        assert back.learn(later) == pytest.approx(model.learn(later), abs=2e-5)
        return
    at = 2 * 4 * model.record("user", "u3")["slot"] + lane
    assert back.record("user", "u3")["z"] == pytest.approx(float(model.table.cells[at]), rel=1e-5)


def test_the_lane_of_the_greatest_posterior_is_taken() -> None:
    model = model_of(weights(), CONFIGS["mixture"])
    model.coefficients.posterior[:] = [0.1, 0.2, 0.6, 0.1]
    assert weights_of(model, FEATURES).notes == ("lane 2: learning rate 1",)
    assert weights_of(model, FEATURES).w == pytest.approx(WEIGHTS, abs=1e-6)
    with pytest.raises(BadConfig, match="lane must be an integer from 0 to 3"):
        weights_of(model, FEATURES, 4)


def test_a_collision_is_refused_by_name_or_averaged_by_n() -> None:
    features: list[Feature] = [("f", str(i)) for i in range(3)]
    given_weights = LinearWeights(features, np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 0.0]))
    config = {"table_bits": 1, "optimizer": {"learning_rate": 0.1}}
    with pytest.raises(BadWeights, match=r"'f=\d' and 'f=\d' share slot \d .*table_bits from 1"):
        model_of(given_weights, config)
    model = model_of(given_weights, config, collisions="mean")
    by_slot: dict[int, list[int]] = {}
    for i in range(3):
        by_slot.setdefault(model.record("f", str(i))["slot"], []).append(i)
    for slot, members in by_slot.items():
        w, n = given_weights.w[members], np.array([1.0, 3.0, 0.0])[members]
        mean = float(w @ n / n.sum()) if n.sum() else float(w.mean())
        record = model.record("f", str(members[0]))
        assert record["slot"] == slot
        assert record["weight"] == pytest.approx(mean, rel=1e-6)
        assert record["n"] == n.max()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "numbers must be raw.*received numbers=auto"),
        ({"numbers": "raw"}, "scale must be none.*received scale=unit"),
        ({"numbers": "log_bins", "optimizer": {"learning_rate": 1}}, "numbers must be raw"),
        ({"rates_from": "counts", "optimizer": {"learning_rate": 1}}, "rates_from must be"),
    ],
)
def test_a_model_that_changes_values_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        model_of(weights(), config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"confidence": -1}, "confidence must be"),
        ({"confidence": math.nan}, "confidence must be"),
        ({"collisions": "sum"}, "collisions must be one of refuse, mean"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        model_of(weights(), CONFIGS["plain"], **arguments)


def test_a_weight_that_no_z_gives_is_refused() -> None:
    config = {"optimizer": {"learning_rate": 0.1, "beta": 0}}
    with pytest.raises(BadWeights, match=r"weight of '\S+' needs a z.*confidence above 0"):
        model_of(weights(), config, 0)
    with pytest.raises(BadWeights, match="weight of the bias needs"):
        model_of(LinearWeights([], np.zeros(0), bias=1.0), config, 0)
    huge = LinearWeights([("a", None)], np.array([1e6]), np.array([1e29]))
    with pytest.raises(BadWeights, match="weight of 'a' needs"):
        model_of(huge, {"optimizer": {"learning_rate": 0.1}})


def test_a_snapshot_of_it_reads_back_with_its_names() -> None:
    model = model_of(weights(), {"table_bits": 14, **CONFIGS["plain"]})
    content = b"".join(
        write_snapshot(cut(model, -1), name="x", incarnation="0", created_ms=0, examples=0)
    )
    header, loaded = read_snapshot(io.BytesIO(content))
    assert (str(header.position), header.examples) == ("1-1", 0)
    assert loaded.digest() == model.digest()
    assert loaded.predict(batch()) == pytest.approx(expected(), abs=2e-7)
    assert loaded.names.in_order() == ["site", "price", "flag"]
