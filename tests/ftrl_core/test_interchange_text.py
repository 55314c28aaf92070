"""alphaFM's text and arrays, against small learners written here from their descriptions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadWeights
from ftrl_core.hyperparameters import Hyperparameters
from ftrl_core.interchange import (
    Feature,
    LinearWeights,
    feature_of,
    read_alphafm,
    read_arrays,
    text_of,
    write_alphafm,
    write_arrays,
    write_coefficients,
)
from ftrl_core.synthesis import model_of

ALPHA, BETA, L1, L2 = 0.05, 1.0, 0.1, 5.0  # alphaFM's defaults
TRAINED_WITH = Hyperparameters(ALPHA, beta=BETA, l1_regularization_strength=L1,
                               l2_regularization_strength=L2 / 2)  # fmt: skip
PLAIN = {"optimizer": {"learning_rate": 0.1}}


def rows(count: int = 400) -> list[tuple[int, dict[str, float]]]:
    rng = np.random.default_rng(5)
    made = []
    for _ in range(count):
        site, price = str(rng.choice(["a", "b", "c"])), round(float(rng.random()), 3)
        y = int(rng.random() < {"a": 0.8, "b": 0.4, "c": 0.1}[site])
        made.append((y, {f"site={site}": 1.0, "price": price}))
    return made


def alphafm(log: list[tuple[int, dict[str, float]]]) -> dict[str, list[float]]:
    """name -> [w, n, z] as alphaFM leaves them: w is computed when a feature comes, before p."""
    state: dict[str, list[float]] = {"bias": [0.0, 0.0, 0.0]}
    for y, features in log:
        x = {**features, "bias": 1.0}
        for name in x:
            cell = state.setdefault(name, [0.0, 0.0, 0.0])
            cell[0] = weight(cell[1], cell[2])
        p = 1 / (1 + math.exp(-sum(v * state[name][0] for name, v in x.items())))
        for name, v in x.items():
            g, (w, n, _) = (p - y) * v, state[name]
            state[name][2] += g - (math.sqrt(n + g * g) - math.sqrt(n)) / ALPHA * w
            state[name][1] += g * g
    return state


def weight(n: float, z: float) -> float:
    if abs(z) <= L1:
        return 0.0
    return -(z - math.copysign(L1, z)) / (L2 + (BETA + math.sqrt(n)) / ALPHA)


def alphafm_text(state: dict[str, list[float]]) -> list[bytes]:
    lines = [f"{name} {w:.17g} {n:.17g} {z:.17g}\n" for name, (w, n, z) in state.items()]
    return [line.encode() for line in lines]


def batch() -> ExampleBatch:
    examples: list[dict[str, Any]] = [
        {"features": {"site": s, "price": p}} for s in "abcd" for p in (0.0, 0.5, 2.0)
    ]
    return ExampleBatch.from_examples(examples, require_labels=False)


def predicted(w: dict[str, float], bias: float) -> list[float]:
    logits = [
        bias + w.get(f"site={s}", 0.0) + p * w.get("price", 0.0)
        for s in "abcd"
        for p in (0.0, 0.5, 2.0)
    ]
    return [1 / (1 + math.exp(-logit)) for logit in logits]


def test_alphafm_weights_are_computed_anew_when_its_arguments_are_known() -> None:
    state = alphafm(rows())
    fresh = {name: weight(n, z) for name, (_, n, z) in state.items()}
    stale = {name: w for name, (w, _, _) in state.items()}
    assert max(abs(fresh[name] - stale[name]) for name in state) > 1e-4
    read = read_alphafm(alphafm_text(state), TRAINED_WITH)
    assert model_of(read, PLAIN).predict(batch()) == pytest.approx(
        predicted(fresh, fresh["bias"]), abs=2e-7
    )
    read = read_alphafm(alphafm_text(state))
    assert "one gradient older" in read.notes[0]
    assert model_of(read, PLAIN).predict(batch()) == pytest.approx(
        predicted(stale, stale["bias"]), abs=2e-7
    )


def test_a_model_goes_on_where_alphafm_stopped() -> None:
    """The same stream, half of it by alphaFM's rule, equals all of it by alphaFM's rule."""
    log = rows()
    whole = alphafm(log)
    config = {"optimizer": TRAINED_WITH.to_dict(), "bias_regularized": True}
    model = model_of(read_alphafm(alphafm_text(alphafm(log[:200])), TRAINED_WITH), config)
    later = [
        {
            "label": y,
            "features": {k.partition("=")[0]: k.partition("=")[2] or v for k, v in x.items()},
        }
        for y, x in log[200:]
    ]
    model.learn(ExampleBatch.from_examples(later))
    for name, (_, n, z) in whole.items():
        if name == "bias":
            continue
        record = model.record(*feature_of(name))
        assert record["n"] == pytest.approx(n, rel=1e-4)
        assert record["weight"] == pytest.approx(weight(n, z), abs=1e-4)


def test_what_is_written_for_alphafm_is_what_it_computes() -> None:
    weights = LinearWeights(
        [("site", "a"), ("price", None), ("zero", None)],
        np.array([0.5, -1.25, 0.0]),
        np.array([3.0, 0.0, 2.0]),
        np.array([9.0, 9.0, 0.07]),
        bias=0.3,
        bias_n=7.0,
    )
    lines = write_alphafm(weights, TRAINED_WITH).splitlines()
    assert lines[0].startswith(b"bias 0.3 7 ")
    for line, w in zip(lines, [0.3, 0.5, -1.25, 0.0], strict=True):
        _, told, n, z = line.split()
        assert float(told) == pytest.approx(w)
        assert weight(float(n), float(z)) == pytest.approx(w, abs=1e-12)
    assert lines[3].endswith(b" 0.070000000000000007")
    back = read_alphafm(lines, TRAINED_WITH)
    assert back.w == pytest.approx(weights.w)
    assert (list(back.features), back.bias_n) == (list(weights.features), 7.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the model is empty"),
        ("a 1 1 1\n", "line 1: the first line, and it alone"),
        ("bias 0 0 0\nbias 0 0 0\n", "line 2: the first line, and it alone"),
        ("bias 0 0 0\na 1 .1 .2 0 0 0 0 0 0\n", "line 2: the model has 2 factors"),
        ("bias 0 0 0\na 1 1\n", "line 2: a name and w, n, z are expected, 3 fields"),
        ("bias 0 0 0\na 1 1 nan\n", "line 2: a finite number"),
        ("bias 0 0 0\n\na 1 1 1\na 1 1 1\n", "'a' comes twice"),
        ("bias 0 0 0\na 1 -1 1\n", "n of 'a' is below 0"),
        ("bias 0 0 0\na 1e9 1 1\n", "weight of 'a' must be finite and at most"),
        ("bias 0 0 0\n=x 1 1 1\na=" + "v" * 1025 + " 1 1 1\n", "is longer than 256 bytes"),
        ("bias 0 0 0\n" + "v" * 20000 + " 1 1 1\n", "line 2 is longer than"),
    ],
)
def test_a_bad_alphafm_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(BadWeights, match=message):
        read_alphafm(text.encode().splitlines(keepends=True))
    with pytest.raises(ValueError, match="line 1 is not UTF-8"):
        read_alphafm([b"\xff\n"])


def keras(times_rate: bool) -> tuple[dict[str, np.ndarray[Any, Any]], Hyperparameters]:
    """w, n, z of Keras' update after some gradients; `linear` is lr z where asked."""
    o = Hyperparameters(0.3, l1_regularization_strength=0.02, l2_regularization_strength=0.1,
                        beta=0.2, initial_accumulator_value=0.1)  # fmt: skip
    w, n, z = np.zeros(4), np.full(4, 0.1), np.zeros(4)
    w[3] = 0.5  # never touched: its initial value stands
    rng = np.random.default_rng(1)
    for _ in range(30):
        g = rng.normal(0.2, 1.0, 3)
        grown = n[:3] + g * g
        z[:3] += g - (np.sqrt(grown) - np.sqrt(n[:3])) / 0.3 * w[:3]
        n[:3] = grown
        q = np.sqrt(grown) / 0.3 + 2 * (0.1 + 0.2 / (2 * 0.3))
        w[:3] = (np.clip(z[:3], -0.02, 0.02) - z[:3]) / q
    slots = {"w": w, "n": n, "z": z * (0.3 if times_rate else 1.0)}
    arrays = {name: x.astype(np.float32).reshape(-1, 1) for name, x in slots.items()}
    return {**arrays, "bias": np.array([0.25]), "names": np.array(["a", "b", "c=d", "e"])}, o


@pytest.mark.parametrize("times_rate", [False, True])
def test_a_linear_slot_is_checked_and_its_convention_told(times_rate: bool) -> None:
    arrays, o = keras(times_rate)
    read = read_arrays(arrays, None, o)
    assert ("lr * z" in read.notes[0]) == times_rate
    plain = read_arrays(keras(False)[0], None, o)
    assert plain.z is not None
    assert read.z == pytest.approx(plain.z, rel=1e-6)
    model = model_of(read, {"optimizer": o.to_dict()})
    for name, w in zip(("a", "b", "e"), arrays["w"][[0, 1, 3], 0], strict=True):
        assert model.record(name)["weight"] == pytest.approx(float(w), rel=1e-5)
    assert model.record("a")["n"] == pytest.approx(float(arrays["n"][0, 0]) - 0.1, rel=1e-5)


def test_a_linear_slot_that_is_neither_is_refused() -> None:
    arrays, o = keras(False)
    arrays["z"] = arrays["z"] * np.float32(0.7)
    with pytest.raises(BadWeights, match="w of 'a' is neither f"):
        read_arrays(arrays, None, o)
    assert "not looked at" in read_arrays(arrays).notes[0]
    del arrays["n"]
    with pytest.raises(BadWeights, match="there is z but no n"):
        read_arrays(arrays, None, o)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w": None}, "there is no array 'w'"),
        ({"w": np.zeros((2, 2))}, r"shape \(2, 2\)"),
        ({"w": np.array(["a"] * 2)}, "array 'w' is not one of"),
        ({"w": np.array([1.0, np.inf])}, "weight of 'b=c' must be finite"),
        ({"w": np.zeros(3)}, "2 features want as many values of weight"),
        ({"n": np.array([1.0, -1.0])}, "n of 'b=c' must be from 0"),
        ({"names": np.array(["a", "a"])}, "'a' comes twice"),
        ({"names": np.array(["a", ""])}, "empty name"),
        ({"names": np.array([b"a", b"b"])}, "names must be a vector of text"),
        ({"names": None}, "there is no array 'names'"),
        ({"bias": np.zeros(2)}, "array 'bias' must be one number"),
        ({"bias": np.array(np.nan)}, "weight of the bias must be finite"),
        ({"accum": np.zeros(2)}, "array 'accum' is not one of"),
        ({"w": None, "coef_": np.zeros((3, 2))}, "coef_ has 3 rows"),
    ],
)
def test_bad_arrays_are_refused(changes: dict[str, Any], message: str) -> None:
    arrays: dict[str, Any] = {"w": np.array([0.5, 1.0]), "names": np.array(["a", "b=c"]), **changes}
    with pytest.raises(BadWeights, match=message):
        read_arrays({name: x for name, x in arrays.items() if x is not None})


def test_a_classifier_of_scikit_learn_predicts_the_same_here() -> None:
    log = rows()
    examples = [
        {k.partition("=")[0]: k.partition("=")[2] or v for k, v in x.items()} for _, x in log
    ]
    vectorizer = DictVectorizer()
    x = vectorizer.fit_transform(examples)
    fitted = LogisticRegression().fit(x, [y for y, _ in log])
    arrays = {
        "coef_": fitted.coef_,
        "intercept_": fitted.intercept_,
        "feature_names": vectorizer.get_feature_names_out().astype(str),
    }
    model = model_of(read_arrays(arrays), PLAIN)
    batch = ExampleBatch.from_examples([{"features": e} for e in examples], require_labels=False)
    assert model.predict(batch) == pytest.approx(fitted.predict_proba(x)[:, 1], abs=2e-7)


def test_arrays_and_coefficients_are_read_back() -> None:
    features: list[Feature] = [("a", "b=c"), ("d", None), ("ü", "")]
    weights = LinearWeights(
        features, np.array([1.0, -2.0, 0.0]), np.ones(3), np.array([1.0, 2.0, 3.0]), 0.5, 2.0, 0.1
    )
    back = read_arrays(write_arrays(weights))
    assert (list(back.features), back.w.tolist()) == (features, [1.0, -2.0, 0.0])
    assert (back.bias, back.bias_n) == (0.5, 2.0)
    assert set(write_arrays(weights)) == {"names", "w", "n", "z", "bias", "bias_n", "bias_z"}
    arrays = write_coefficients(weights)
    assert arrays["coef_"].shape == (1, 3)
    back = read_arrays(arrays)
    assert (list(back.features), back.w.tolist(), back.bias) == (features, [1.0, -2.0, 0.0], 0.5)
    with pytest.raises(BadWeights, match="cannot be spelled"):
        write_arrays(LinearWeights([("a=b", "c")], np.ones(1)))


def test_features_and_their_texts() -> None:
    assert feature_of("a=b=c") == ("a", "b=c")
    assert feature_of("price") == ("price", None)
    for text in ("a=b=c", "price", "=v", "a="):
        assert text_of(feature_of(text)) == text
    with pytest.raises(BadWeights, match="lone surrogate"):
        LinearWeights([("\ud800", None)], np.ones(1))
