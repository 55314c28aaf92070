"""Schedules: Keras' formulas written again with math.* and exact fractions, edges, and refusals.

The formulas here take the part of the decay that is left as an exact fraction and the powers and
sines from the C library, so they share no arithmetic with ftrl_core/rate_kernels.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ftrl_core.rate_kernels import power, sin_pi
from ftrl_core.schedules import (
    RATE_MAX,
    RATE_MIN,
    CosineDecay,
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
    Schedule,
    deserialize,
    parameters,
    rate_at,
    serialize,
)

EXACTLY = 1e-13


def clamped(rate: float) -> float:
    return min(max(rate, RATE_MIN), RATE_MAX)


def periods(step: int, steps: float, staircase: bool) -> float:
    exact = Fraction(step) / Fraction(steps)
    return float(math.floor(exact)) if staircase else float(exact)


def exponential(s: ExponentialDecay, step: int) -> float:
    p = periods(step, s.decay_steps, s.staircase)
    exponent = p * math.log(s.decay_rate)
    return s.initial_learning_rate * math.exp(min(max(exponent, -600.0), 600.0))


def inverse_time(s: InverseTimeDecay, step: int) -> float:
    p = periods(step, s.decay_steps, s.staircase)
    return s.initial_learning_rate / (1.0 + s.decay_rate * p)


def polynomial(s: PolynomialDecay, step: int) -> float:
    span = Fraction(s.decay_steps)
    if s.cycle:
        span *= max(math.ceil(Fraction(step) / span), 1)
    left = 1 - min(Fraction(step) / span, Fraction(1))
    decayed = math.pow(float(left), s.power)
    return (s.initial_learning_rate - s.end_learning_rate) * decayed + s.end_learning_rate


def cosine(s: CosineDecay, step: int) -> float:
    start = s.initial_learning_rate
    if s.warmup_target is not None:
        if step < s.warmup_steps:
            done = float(Fraction(step) / Fraction(s.warmup_steps))
            return (s.warmup_target - start) * done + start
        start = s.warmup_target
    exact = (Fraction(step) - Fraction(s.warmup_steps)) / Fraction(s.decay_steps)
    left = float(1 - min(exact, Fraction(1)))
    # (1 + cos(pi c)) / 2 without the cancellation at the end of the decay.
    return start * ((1.0 - s.alpha) * math.sin(math.pi / 2 * left) ** 2 + s.alpha)


def piecewise(s: PiecewiseConstantDecay, step: int) -> float:
    return s.values[sum(step > b for b in s.boundaries)]


def expected(s: Schedule, step: int) -> float:
    match s:
        case ExponentialDecay():
            return clamped(exponential(s, step))
        case InverseTimeDecay():
            return clamped(inverse_time(s, step))
        case PolynomialDecay():
            return clamped(polynomial(s, step))
        case CosineDecay():
            return clamped(cosine(s, step))
        case PiecewiseConstantDecay():
            return clamped(piecewise(s, step))


def drawn(rng: np.random.Generator, kind: int) -> Schedule:
    """A random schedule of one of the five kinds."""
    initial = float(10 ** rng.uniform(-4, 1))
    steps = float(rng.choice([1, 3, 10, 1000, 0.75, 12.5]))  # exact in binary
    other = float(rng.choice([0.0, 1e-4, 0.5, 2.0]))
    yes = bool(rng.integers(2))
    if kind == 0:
        rate = float(rng.choice([0.5, 0.96, 0.999999, 1.0, 1.05, 1e-9]))
        return ExponentialDecay(initial, steps, rate, yes)
    if kind == 1:
        return InverseTimeDecay(initial, steps, other, yes)
    if kind == 2:
        return PolynomialDecay(initial, steps, other, float(rng.choice([0, 0.5, 1, 2, 3.7])), yes)
    if kind == 3:
        warmup = {"warmup_target": 0.3, "warmup_steps": float(rng.integers(20))} if yes else {}
        return CosineDecay(initial, steps, other, **warmup)  # type: ignore[arg-type]
    boundaries = np.sort(rng.choice(100, int(rng.integers(1, 65)), replace=False)).tolist()
    return PiecewiseConstantDecay(boundaries, rng.uniform(0.1, 2, len(boundaries) + 1).tolist())


@pytest.mark.parametrize("kind", range(5))
def test_against_independent_formulas(kind: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(400):
        schedule = drawn(rng, kind)
        for step in [0, 1, 2, 3, 10, 11, 999, 1000, 10**9, *rng.integers(0, 3000, 5).tolist()]:
            rate = schedule(step)
            assert rate == pytest.approx(expected(schedule, step), rel=EXACTLY, abs=0), (
                schedule,
                step,
            )
            assert rate == rate_at(parameters(schedule), step)


def test_cosine_as_keras_writes_it() -> None:
    schedule = CosineDecay(0.5, 1000, alpha=0.1)
    for step in range(0, 1001, 7):
        decayed = 0.9 * 0.5 * (1.0 + math.cos(math.pi * step / 1000)) + 0.1
        assert schedule(step) == pytest.approx(0.5 * decayed, rel=1e-15 * 10, abs=0)


def test_sine_is_within_two_ulp(seed: int) -> None:
    """Against a Taylor series in 40 digits."""
    pi = Decimal("3.1415926535897932384626433832795028841971693993751")
    points = [*np.random.default_rng(seed).uniform(0, 0.5, 1_000), 0.25, 0.5, 1e-9, 1e-300]
    with localcontext() as context:
        context.prec = 45
        for x in map(float, points):
            y = term = pi * Decimal(x)
            total = y
            for k in range(1, 25):
                term = -term * y * y / (2 * k * (2 * k + 1))
                total += term
            got = sin_pi(x)
            assert abs(Decimal(got) - total) <= 2 * Decimal(math.ulp(got)), x
    assert (sin_pi(0.0), sin_pi(0.5)) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (ExponentialDecay(1.0, 10, 0.5), {0: 1.0, 10: 0.5, 20: 0.25, 10**12: RATE_MIN}),
        (
            ExponentialDecay(1.0, 10, 0.5, staircase=True),
            {0: 1.0, 9: 1.0, 10: 0.5, 19: 0.5, 20: 0.25},
        ),
        (ExponentialDecay(1.0, 1, 10.0), {0: 1.0, 2: 100.0, 7: RATE_MAX, 10**15: RATE_MAX}),
        (InverseTimeDecay(1.0, 10, 1.0), {0: 1.0, 10: 0.5, 30: 0.25}),
        (InverseTimeDecay(1.0, 10, 1.0, staircase=True), {9: 1.0, 10: 0.5, 19: 0.5}),
        (PolynomialDecay(1.0, 10, 0.5), {0: 1.0, 5: 0.75, 10: 0.5, 11: 0.5, 10**18: 0.5}),
        (PolynomialDecay(1.0, 10, 0.0, 2.0), {0: 1.0, 5: 0.25, 10: RATE_MIN, 99: RATE_MIN}),
        (PolynomialDecay(1.0, 10, 0.5, 0.0), {0: 1.0, 10: 1.0, 99: 1.0}),
        (
            PolynomialDecay(1.0, 10, 0.5, cycle=True),
            {0: 1.0, 5: 0.75, 10: 0.5, 11: 0.725, 15: 0.625, 20: 0.5, 25: 0.5 + 0.5 / 6},
        ),
        (CosineDecay(1.0, 10), {0: 1.0, 5: 0.5, 10: RATE_MIN, 11: RATE_MIN}),
        (CosineDecay(1.0, 10, alpha=0.25), {0: 1.0, 5: 0.625, 10: 0.25, 10**18: 0.25}),
        (
            CosineDecay(0.0, 10, warmup_target=1.0, warmup_steps=4),
            {0: RATE_MIN, 1: 0.25, 3: 0.75, 4: 1.0, 9: 0.5, 14: RATE_MIN, 15: RATE_MIN},
        ),
        (CosineDecay(0.2, 10, warmup_target=1.0), {0: 1.0, 5: 0.5}),
        (
            PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1]),
            {0: 1.0, 10: 1.0, 11: 0.5, 20: 0.5, 21: 0.1, 2**63 - 1: 0.1},
        ),
        (PiecewiseConstantDecay([0], [1.0, 0.5]), {0: 1.0, 1: 0.5}),
        (PolynomialDecay(1.0, 1e-300, 0.5, cycle=True), {10**18: 0.5}),
        (InverseTimeDecay(1.0, 1e-300, 1.0), {10**18: RATE_MIN}),
    ],
)
def test_edges(schedule: Schedule, rates: dict[int, float]) -> None:
    for step, rate in rates.items():
        assert schedule(step) == pytest.approx(rate, rel=EXACTLY, abs=0), step


EXAMPLES: list[Schedule] = [
    ExponentialDecay(0.1, 1000, 0.96, staircase=True),
    InverseTimeDecay(0.1, 1000, 0.5),
    PolynomialDecay(0.1, 1000, power=2.0, cycle=True, name=None),
    CosineDecay(0, 1000, 0.1, warmup_target=0.5, warmup_steps=10),
    PiecewiseConstantDecay([10, 20], [0.3, 0.2, 0.1], name="steps"),
]


@pytest.mark.parametrize("schedule", EXAMPLES)
def test_serialized_and_back(schedule: Schedule) -> None:
    text = json.dumps(serialize(schedule))
    again = deserialize(json.loads(text))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert json.dumps(serialize(again)) == text
    assert type(schedule).from_config(schedule.get_config()) == schedule
    assert parameters(again).tobytes() == parameters(schedule).tobytes()


def test_names_and_defaults_are_those_of_keras() -> None:
    assert serialize(PolynomialDecay(0.1, 10)) == {
        "class_name": "PolynomialDecay",
        "config": {
            "initial_learning_rate": 0.1,
            "decay_steps": 10,
            "end_learning_rate": 0.0001,
            "power": 1.0,
            "cycle": False,
            "name": "PolynomialDecay",
        },
    }
    assert CosineDecay(0.1, 10).get_config() == {
        "initial_learning_rate": 0.1,
        "decay_steps": 10,
        "alpha": 0.0,
        "name": "CosineDecay",
        "warmup_target": None,
        "warmup_steps": 0,
    }
    assert ExponentialDecay(0.1, 10, 0.9).get_config()["staircase"] is False
    assert PiecewiseConstantDecay([1], [1, 2]).name == "PiecewiseConstant"


def test_a_constant_is_its_own_rate() -> None:
    assert parameters(0.3).tolist() == [0.0, 0.3]
    assert rate_at(parameters(1e-20), 10**9) == 1e-20


def test_power_of_extremes() -> None:
    assert power(0.0, 0.0) == 1.0
    assert power(0.0, 2.0) == 0.0
    assert power(1e-320, 2.0) == 0.0
    assert power(0.5, 1e6) < 1e-300


NAN, INF = math.nan, math.inf
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: ExponentialDecay(0.0, 10, 0.5), "initial_learning_rate=0.0"),
    (lambda: ExponentialDecay(NAN, 10, 0.5), "initial_learning_rate=nan"),
    (lambda: ExponentialDecay(0.1, 0, 0.5), "decay_steps=0"),
    (lambda: ExponentialDecay(0.1, -3, 0.5), "decay_steps=-3"),
    (lambda: ExponentialDecay(0.1, 10, 0.0), r"decay_rate=0\.0"),
    (lambda: ExponentialDecay(0.1, 10, -0.5), r"decay_rate=-0\.5"),
    (lambda: ExponentialDecay(0.1, 10, 1e-310), "decay_rate=1e-310"),
    (lambda: ExponentialDecay(0.1, 10, INF), "decay_rate=inf"),
    (lambda: ExponentialDecay(0.1, 10, 0.5, 1), "staircase=1"),  # type: ignore[arg-type]
    (lambda: InverseTimeDecay(0.1, 10, -1.0), r"decay_rate=-1\.0"),
    (lambda: InverseTimeDecay(True, 10, 1.0), "initial_learning_rate=True"),
    (lambda: InverseTimeDecay(1e7, 10, 1.0), "initial_learning_rate=10000000"),
    (lambda: PolynomialDecay(0.1, 10, -1e-9), "end_learning_rate=-1e-09"),
    (lambda: PolynomialDecay(0.1, 10, power=-1.0), r"power=-1\.0"),
    (lambda: PolynomialDecay(0.1, NAN), "decay_steps=nan"),
    (lambda: PolynomialDecay(0.1, 10**400), "decay_steps=an integer beyond 64 bits"),
    (lambda: PolynomialDecay(0.1, 10, name=7), "name=7"),  # type: ignore[arg-type]
    (lambda: CosineDecay(0.1, 10, -0.1), r"alpha=-0\.1"),
    (lambda: CosineDecay(0.0, 10), r"initial_learning_rate=0\.0"),
    (lambda: CosineDecay(0.1, 10, warmup_target=0.0), r"warmup_target=0\.0"),
    (lambda: CosineDecay(0.1, 10, warmup_target=1.0, warmup_steps=-1), "warmup_steps=-1"),
    (lambda: CosineDecay(0.1, 10, warmup_steps=5), r"warmup_steps=5\.0"),
    (lambda: PiecewiseConstantDecay([2, 2], [1, 2, 3]), r"boundaries=2\.0"),
    (lambda: PiecewiseConstantDecay([3, 2], [1, 2, 3]), r"boundaries=2\.0"),
    (lambda: PiecewiseConstantDecay([-1], [1, 2]), "boundaries=-1"),
    (lambda: PiecewiseConstantDecay([1], [1]), "1 values and 1 boundaries"),
    (lambda: PiecewiseConstantDecay([1], [1, 0]), "values=0"),
    (lambda: PiecewiseConstantDecay([1], [1, NAN]), "values=nan"),
    (lambda: PiecewiseConstantDecay([], [1]), "boundaries must have 1 to 64"),
    (lambda: PiecewiseConstantDecay(range(65), range(1, 67)), "boundaries must have 1 to 64"),
    (lambda: PiecewiseConstantDecay("12", [1, 2]), "boundaries="),  # type: ignore[arg-type]
    (lambda: deserialize({"class_name": "Decay", "config": {}}), "class_name='Decay'"),
    (lambda: deserialize({"class_name": "CosineDecay"}), "class_name and config"),
    (lambda: deserialize(3), "learning_rate=3"),  # type: ignore[arg-type]
    (lambda: deserialize({"class_name": "CosineDecay", "config": 3}), "config=3"),
    (lambda: ExponentialDecay.from_config({"rate": 1}), "'rate' is no argument"),
    (lambda: CosineDecay.from_config({"decay_steps": 1}), "initial_learning_rate is missing"),
    (lambda: parameters(0.0), r"learning_rate=0\.0"),
    (lambda: parameters(NAN), "learning_rate=nan"),
    (lambda: EXAMPLES[0](-1), "step=-1"),
    (lambda: EXAMPLES[0](1.5), r"step=1\.5"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_refused_by_name_and_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
