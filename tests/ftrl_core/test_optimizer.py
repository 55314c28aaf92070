"""`Ftrl`: its interface, what it refuses, that a refusal changes nothing, and its batch modes.

The arithmetic is in test_optimizer_goldens.py and test_optimizer_sweep.py.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ftrl_core import Ftrl, IndexedSlices, schedules
from ftrl_core.gradients import BATCH_MODES

NAN, INF = math.nan, math.inf
Floats = npt.NDArray[Any]


def slices(values: Any, indices: Any) -> IndexedSlices:
    return IndexedSlices(np.array(values, dtype=np.float64), np.array(indices, dtype=np.int64))


def test_the_signature_is_that_of_keras() -> None:
    told = {p.name: p.default for p in inspect.signature(Ftrl).parameters.values()}
    assert list(told) == [
        "learning_rate",
        "learning_rate_power",
        "initial_accumulator_value",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "name",
        "l2_shrinkage_regularization_strength",
        "beta",
        "kwargs",
    ]
    assert list(told.values())[:-1] == [0.001, -0.5, 0.1, 0.0, 0.0, "Ftrl", 0.0, 0.0]


STRENGTHS = [
    "initial_accumulator_value",
    "l1_regularization_strength",
    "l2_regularization_strength",
    "l2_shrinkage_regularization_strength",
    "beta",
]
REFUSED: list[tuple[str, Any]] = [
    *((name, value) for name in STRENGTHS for value in (-0.1, NAN, INF, -INF, "1", None, True)),
    *(("learning_rate", value) for value in (0.0, 0, -0.1, NAN, INF, "0.1", None, [0.1], True)),
    *(("learning_rate_power", value) for value in (0.1, NAN, -INF, None)),
    *((name, v) for name in ("clipvalue", "clipnorm", "global_clipnorm") for v in (-1.0, 0, NAN)),
    ("batch_mode", "mean"),
    ("batch_mode", None),
    ("name", 3),
    ("name", "x" * 300),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_invalid_arguments_are_refused_by_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name) as refusal:
        Ftrl(**{name: value})
    shown = repr(value) if isinstance(value, int | float) else ""
    assert shown in str(refusal.value)


def test_both_norms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"clipnorm=1\.0 and global_clipnorm=2\.0"):
        Ftrl(clipnorm=1.0, global_clipnorm=2.0)


@pytest.mark.parametrize("name", ["lr", "decay", "momentum", "foo"])
def test_unknown_arguments_are_type_errors(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        Ftrl(**{name: 0.1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=name):
        Ftrl.from_config({**Ftrl().get_config(), name: 0.1})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), r"alpha=0\.0"),
        ((NAN,), "alpha=nan"),
        ((0.1, -1.0), r"beta=-1\.0"),
        ((0.1, 1.0, -0.5), r"lambda1=-0\.5"),
        ((0.1, 1.0, 0.0, INF), "lambda2=inf"),
    ],
)
def test_the_papers_arguments_are_refused_under_their_names(
    arguments: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Ftrl.paper(*arguments)


BAD: list[tuple[Callable[[Floats], tuple[Any, Any]], str]] = [
    (lambda w: (np.zeros(3), w), r"gradient must have the shape \(4, 2\), not \(3,\)"),
    (lambda w: (np.zeros((4, 2), dtype=np.int64), w), "gradient must be float32 or float64"),
    (lambda w: (np.zeros((4, 2), dtype=complex), w), "gradient must be float32 or float64"),
    (lambda w: (np.full((4, 2), NAN), w), "gradient must be finite; received nan"),
    (lambda w: (np.full((4, 2), -INF), w), "gradient must be finite; received -inf"),
    (lambda w: (slices([[1, 2]], [4]), w), "indices must be from 0 to 3; received indices=4"),
    (lambda w: (slices([[1, 2]], [-1]), w), "received indices=-1"),
    (lambda w: (slices([[1, 2, 3]], [0]), w), r"values must have the shape \(1, 2\)"),
    (lambda w: (slices([[1, NAN]], [0]), w), "values must be finite; received nan"),
    (lambda w: (slices([1.0], [0]), np.array(1.0)), "at least 1 dimension"),
    (lambda w: (np.zeros(2), [0.0, 0.0]), "a variable must be a NumPy array, not list"),
    (lambda w: (np.zeros(2), np.zeros(2, dtype=np.float16)), "a variable must be float32"),
    (lambda w: (np.zeros(2), np.zeros(2, dtype=np.int64)), "a variable must be float32"),
    (lambda w: (np.zeros(2), np.broadcast_to(np.zeros(1), 2)), "read-only"),
    (lambda w: (np.zeros(2), np.full(2, NAN)), "the variable must be finite"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_bad_gradient_changes_nothing(
    bad: Callable[[Floats], tuple[Any, Any]], message: str
) -> None:
    w, other = np.ones((4, 2)), np.ones(3)
    optimizer = Ftrl(0.5)
    optimizer.apply_gradients([(np.ones((4, 2)), w)])
    before = [w.copy(), other.copy(), *optimizer.get_weights()]
    with pytest.raises(ValueError, match=message):
        optimizer.apply_gradients([(np.ones(3), other), bad(w)])
    after = [w, other, *optimizer.get_weights()]
    assert [a.tobytes() for a in after] == [b.tobytes() for b in before]


@pytest.mark.parametrize(
    ("values", "indices", "message"),
    [
        ([[1.0]], [[0]], "indices must have 1 dimension"),
        ([1.0], [0.5], "indices must be integers"),
        ([1.0, 2.0], [0], "values must have one row for each of 1 indices"),
        (1.0, [0], "values must have one row"),
    ],
)
def test_slices_that_do_not_fit(values: Any, indices: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IndexedSlices(values, indices)


def test_what_is_no_step() -> None:
    optimizer, w = Ftrl(), np.ones(2)
    optimizer.apply_gradients([])
    with pytest.raises(ValueError, match="no variable has a gradient"):
        optimizer.apply_gradients([(None, w)])
    wrong: list[Any] = [0, -1, 1.5]
    for examples in wrong:
        with pytest.raises(ValueError, match="examples"):
            optimizer.apply_gradients([(np.ones(2), w)], examples=examples)
    assert optimizer.iterations == 0
    assert w.tolist() == [1.0, 1.0]
    optimizer.apply_gradients([(None, w), (slices([], []), w)])
    assert optimizer.iterations == 1
    assert w.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [-0.5, -0.2, -1.0, -3.0])
def test_no_accumulator_and_no_gradient_is_zero(power: float, dtype: Any) -> None:
    """Keras 3 and TensorFlow's sparse kernel say NaN: 0 / 0."""
    optimizer = Ftrl(0.1, power, 0.0)
    w, v = np.ones(3, dtype=dtype), np.ones(3, dtype=dtype)
    for _ in range(3):
        optimizer.apply_gradients([(np.zeros(3, dtype=dtype), w), (slices([0.0], [1]), v)])
    assert w.tolist() == [0.0, 0.0, 0.0]
    assert v.tolist() == [1.0, 0.0, 1.0]


def test_a_fixed_rate_is_gradient_descent() -> None:
    """Power 0, nothing regularised, w0 = 0: TensorFlow's equivalence test."""
    w, true, rng = np.zeros(4), np.zeros(4), np.random.default_rng(0)
    optimizer = Ftrl(0.3, learning_rate_power=0.0)
    for _ in range(20):
        g = rng.normal(size=4)
        optimizer.apply_gradients([(g, w)])
        true -= 0.3 * g
    np.testing.assert_allclose(w, true, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [0.0, -0.5, -0.2, -1.0, -40.0])
@pytest.mark.parametrize("rate", [1e-300, 1e-12, 1.0, 1e6, 1e300])
def test_finite_whatever_the_gradients(rate: float, power: float, dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    optimizer = Ftrl(rate, power, 0.0, 1e-3, 0.0, "Ftrl", 1e30)
    w = rng.normal(size=50).astype(dtype)
    top = 38 if dtype is np.float32 else 307
    for _ in range(30):
        g = rng.choice([-1, 1], 50) * 10.0 ** rng.uniform(-top, top, 50)
        optimizer.apply_gradients([(g.astype(dtype), w)])
        for array in (w, *optimizer.get_weights()):
            assert np.isfinite(array).all()


# One coordinate, g = 0.1 then 0.2, learning rate 0.1, n0 = 0.1: what the modes make of it.
TWO = slices([0.1, 0.2], [1, 1])
ONE_STEP = {"batch_sum": 0.3, "batch_mean": 0.15, "batch_coordinate_mean": 0.15}


def test_modes_of_duplicates() -> None:
    for mode in BATCH_MODES:
        w = np.zeros(2)
        optimizer = Ftrl(0.1, batch_mode=mode)
        optimizer.apply_gradients([(TWO, w)])
        _, n, _ = optimizer.get_weights()
        one, reference = np.zeros(2), Ftrl(0.1)
        for g in [ONE_STEP[mode]] if mode in ONE_STEP else [0.1, 0.2]:
            reference.apply_gradients([(np.array([0.0, g]), one)])
        np.testing.assert_allclose(w, one, rtol=1e-14)
        if mode == "sequential":
            assert (w[1], n[1]) == pytest.approx((-0.081790912407, 0.15), rel=1e-11)
        if mode == "batch_sum":
            assert (w[1], n[1]) == pytest.approx((-0.068824720161, 0.19), rel=1e-11)


def test_the_two_means() -> None:
    """Row 0 once and row 1 twice in a batch of 4 examples."""
    gradient = slices([0.8, 0.1, 0.3], [0, 1, 1])
    expected = {"batch_mean": [0.2, 0.1], "batch_coordinate_mean": [0.8, 0.2]}
    for mode, sums in expected.items():
        w, one = np.zeros(3), np.zeros(3)
        Ftrl(0.1, batch_mode=mode).apply_gradients([(gradient, w)], examples=4)
        Ftrl(0.1).apply_gradients([(slices(sums, [0, 1]), one)])
        np.testing.assert_allclose(w, one, rtol=1e-14)
    for mode in expected:
        w, one = np.zeros(2), np.zeros(2)
        dense = np.array([0.8, 0.4])
        Ftrl(0.1, batch_mode=mode).apply_gradients([(dense, w)], examples=4)
        Ftrl(0.1).apply_gradients([(dense / 4, one)])
        np.testing.assert_allclose(w, one, rtol=1e-14)


def test_clips_act_on_the_slices_as_given_in_keras_order() -> None:
    """Values 3 and 4 in one row: the norm is 5, not the 7 of their sum."""
    w, one = np.zeros(1), np.zeros(1)
    optimizer = Ftrl(0.1, clipnorm=1.0, batch_mode="batch_sum")
    optimizer.apply_gradients([(slices([3.0, 4.0], [0, 0]), w)])
    Ftrl(0.1).apply_gradients([(np.array([0.6 + 0.8]), one)])
    np.testing.assert_allclose(w, one, rtol=1e-14)
    first, second = np.zeros(1), np.zeros(1)
    both = Ftrl(0.1, clipvalue=4.0, global_clipnorm=2.5)
    both.apply_gradients([(np.array([3.0]), first), (np.array([99.0]), second)])
    apart = Ftrl(0.1)
    apart_first, apart_second = np.zeros(1), np.zeros(1)
    apart.apply_gradients([(np.array([1.5]), apart_first), (np.array([2.0]), apart_second)])
    np.testing.assert_allclose([first, second], [apart_first, apart_second], rtol=1e-14)


def test_a_variable_is_its_memory(seed: int) -> None:
    """Views of the same elements share one state; strides and transposition are written through."""
    rng = np.random.default_rng(seed)
    plain, whole = np.zeros((3, 4)), np.zeros((4, 6))
    strided = whole.T[::2]
    optimizer, reference = Ftrl(0.5), Ftrl(0.5)
    for _ in range(3):
        g = rng.normal(size=(3, 4))
        reference.apply_gradients([(g, plain)])
        optimizer.apply_gradients([(g, whole.T[::2])])
        sparse = IndexedSlices(g[:2], np.array([2, 0]))
        reference.apply_gradients([(sparse, plain)])
        optimizer.apply_gradients([(sparse, strided)])
    assert len(optimizer.get_weights()) == 3
    assert strided.tobytes() == plain.tobytes()
    assert not whole.T[1::2].any()


def test_a_gradient_may_be_the_variable_itself() -> None:
    w = np.array([[1.0], [2.0]])
    other = w.copy()
    Ftrl(0.5).apply_gradients([(IndexedSlices(w, np.array([1, 1])), w)])
    Ftrl(0.5).apply_gradients([(IndexedSlices(other.copy(), np.array([1, 1])), other)])
    assert w.tobytes() == other.tobytes()


def test_shapes_without_elements_and_without_dimensions() -> None:
    optimizer = Ftrl(0.5)
    scalar, none = np.array(1.0), np.zeros((0, 3))
    optimizer.apply_gradients([(0.5, scalar), (np.zeros((0, 3)), none)])
    z = 0.5 - (math.sqrt(0.35) - math.sqrt(0.1)) / 0.5  # from w = 1, by the formula
    assert scalar == pytest.approx(-z / (math.sqrt(0.35) / 0.5))


def test_the_learning_rate_may_be_set_and_follows_its_schedule() -> None:
    steps = schedules.PiecewiseConstantDecay([0, 1], [1.0, 0.5, 0.25])
    scheduled, by_hand = Ftrl(steps), Ftrl(1.0)
    a, b = np.zeros(3), np.zeros(3)
    for rate in (1.0, 0.5, 0.25, 0.25):
        by_hand.learning_rate = rate
        for optimizer, w in ((scheduled, a), (by_hand, b)):
            optimizer.apply_gradients([(np.array([0.1, -0.5, 2.0]), w)])
    assert a.tobytes() == b.tobytes()
    assert scheduled.learning_rate is steps
    with pytest.raises(ValueError, match=r"learning_rate=-1\.0"):
        by_hand.learning_rate = -1.0
    assert by_hand.learning_rate == 0.25
    assert Ftrl(name="mine").name == "mine"
