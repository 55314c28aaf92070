"""Defects of other systems' services, folds and estimators (the optimizers' are beside this file).

Each test names the peer and what was wrong there, and fails on a fold that does the same.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.checkpoint import cut
from ftrl_core.errors import BadExample
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.river import FtrlClassifier as RiverClassifier
from ftrl_core.sklearn import FtrlClassifier
from ftrl_core.snapshot_file import read_snapshot, write_snapshot

L1 = "l1_regularization_strength"
ONE: dict[str, Any] = {"learning_rate": 0.3}


def batch_of(*examples: tuple[int, dict[str, Any], float]) -> ExampleBatch:
    return ExampleBatch.from_examples(
        [{"label": y, "features": f, "weight": w} for y, f, w in examples]
    )


def probability(model: Model, features: dict[str, Any]) -> float:
    return float(model.predict(batch_of((0, features, 1.0)))[0])


def test_river_serves_a_weight_that_lags_one_update() -> None:
    """River refreshes w from z before the new gradient: the first click moves nothing served."""
    model = Model({"table_bits": 10, "optimizer": ONE})
    model.learn(batch_of((1, {"a": "x"}, 1.0)))
    n = 0.25
    w = 0.3 * 0.5 / (1.0 + np.sqrt(n))
    assert probability(model, {"a": "x"}) == pytest.approx(1 / (1 + np.exp(-2 * w)), rel=1e-6)
    river = RiverClassifier(learning_rate=0.3)
    river.learn_one({"a": "x"}, True)
    assert river.predict_proba_one({"a": "x"})[True] == probability(model, {"a": "x"})


def test_river_weights_never_return_to_zero(seed: int) -> None:
    """River skips a coordinate with |z| <= l1 where 0 is to be written: the old weight stays."""
    rng = np.random.default_rng(seed)
    model = Model({"table_bits": 6, "optimizer": {**ONE, L1: 1.0}})
    alive: set[int] = set()
    returned = 0
    for _ in range(400):
        name = str(rng.integers(0, 12))
        model.learn(batch_of((int(rng.random() < 0.5), {"a": name}, 1.0)))
        now = {i for i in range(12) if model.record("a", str(i))["weight"] != 0.0}
        returned += len(alive - now)
        alive = now
    assert returned > 0
    for i in range(12):
        record = model.record("a", str(i))
        assert (record["weight"] == 0.0) is bool(abs(record["z"]) <= np.float32(0.3))


@pytest.mark.parametrize("features", [{"a": "x"}, {"price": 2.0}], ids=["sparse", "dense"])
def test_flink_ml_divides_by_the_weight_or_ignores_it(features: dict[str, Any]) -> None:
    """In Flink ML a weight of 5 makes a sparse step a fifth as long and a dense one no longer."""
    moves = []
    for weight in (1.0, 5.0):
        model = Model({"table_bits": 10, "optimizer": {**ONE, "beta": 100.0}})
        model.learn(batch_of((1, features, weight)))
        moves.append(probability(model, features) - 0.5)
    assert moves[1] == pytest.approx(5.0 * moves[0], rel=0.06)


def test_flink_ml_and_vowpal_wabbit_forget_n_and_z_when_restored() -> None:
    """A restored model must go on as if nothing had happened; the version counter too."""
    model = Model({"table_bits": 10})
    for i in range(20):
        model.learn(batch_of((i % 2, {"a": str(i % 5), "price": float(i)}, 1.0)))
    pieces = write_snapshot(
        cut(model, -1), name="m", incarnation="0", created_ms=0, examples=model.examples
    )
    _, copy = read_snapshot(io.BytesIO(b"".join(pieces)))
    assert copy.position == model.position
    for each in (model, copy):
        each.learn(batch_of((1, {"a": "1", "price": 3.0}, 1.0)))
    assert copy.state_digest() == model.state_digest()


def test_xlearn_regularises_the_bias() -> None:
    """With a great l1 the weights are zero, and the bias must still be the rate of clicks."""
    model = Model({"table_bits": 10, "optimizer": {**ONE, L1: 1e4}})
    for i in range(2_000):
        model.learn(batch_of((int(i % 4 == 0), {"a": "x"}, 1.0)))
    assert model.record("a", "x")["weight"] == 0.0
    assert probability(model, {"a": "x"}) == pytest.approx(0.25, abs=0.06)


def test_xlearn_skips_features_that_it_was_not_told_of() -> None:
    """Features that come after training began are learned like any other."""
    model = Model({"table_bits": 10})
    for _ in range(50):
        model.learn(batch_of((0, {"old": "x"}, 1.0)))
    for _ in range(50):
        model.learn(batch_of((1, {"new": "y"}, 1.0)))
    assert probability(model, {"new": "y"}) > 0.8 > 0.3 > probability(model, {"old": "x"})


def test_alink_forgets_the_prior_at_the_first_touch() -> None:
    """Alink keeps w but sets n = z = 0 on a new base model: here a live change keeps both."""
    model = Model({"table_bits": 10, "optimizer": ONE})
    for _ in range(30):
        model.learn(batch_of((1, {"a": "x"}, 1.0)))
    before = probability(model, {"a": "x"})
    model.coefficients = _rated(model, 0.05)
    assert probability(model, {"a": "x"}) == pytest.approx(before, rel=1e-6)
    model.learn(batch_of((0, {"a": "x"}, 1e-3)))
    assert probability(model, {"a": "x"}) == pytest.approx(before, rel=1e-3)


def _rated(model: Model, rate: float) -> Any:
    from ftrl_core.reconfigure import reconfigured

    changes = {"optimizer": {"learning_rate": rate}}
    return reconfigured(model.coefficients, changes, model.examples, model.position.seq + 1)


def test_alphafm_exports_a_weight_from_before_the_last_gradient() -> None:
    """What a record says is what a prediction uses."""
    model = Model({"table_bits": 12, "optimizer": ONE})
    for label in (1, 1, 0, 1):
        model.learn(batch_of((label, {"a": "x"}, 1.0)))
    bias = -float(model.bias[0]) / (1.0 + np.sqrt(model.bias[1]))
    logit = model.record("a", "x")["weight"] + bias
    assert probability(model, {"a": "x"}) == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-6)


def test_vowpal_wabbit_skips_a_negative_weight_in_silence() -> None:
    """A weight that cannot be learned is refused, with the row, and nothing is learned."""
    with pytest.raises(BadExample, match="weight"):
        batch_of((1, {"a": "x"}, 1.0), (1, {"a": "x"}, -1.0))
    with pytest.raises(ValueError, match="sample_weight"):
        FtrlClassifier().fit(np.eye(4), [0, 1, 0, 1], sample_weight=[1, 1, 1, -1])


def test_tensorflow_gives_nan_where_nothing_was_learned() -> None:
    """n0 = 0, beta = 0 and a gradient of zero: 0 / 0 there, 0 here."""
    model = Model({"table_bits": 8, "optimizer": {"learning_rate": 0.1, "beta": 0.0}})
    model.learn(batch_of((1, {"price": 0.0, "a": "x"}, 0.0)))
    assert probability(model, {"price": 1.0, "a": "x", "new": "y"}) == 0.5
    assert np.isfinite(model.table.cells).all()


def test_metarank_trains_twice_on_an_upload_that_is_repeated() -> None:
    """The same events again change no weight."""
    model = Model({"table_bits": 8})
    rows = [{"id": f"e{i}", "label": i % 2, "features": {"a": str(i)}} for i in range(10)]
    model.learn(ExampleBatch.from_examples(rows))
    digest = model.digest()
    model.learn(ExampleBatch.from_examples(rows))
    assert (model.digest(), model.duplicates, model.position) == (digest, 10, Position(1, 2))
