"""exp and log: within 2 ulp of the truth everywhere, and the same bits as their plain Python."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from ftrl_core import numbers
from tests.oracle import exact


def ulps(computed: float, true: Decimal) -> float:
    """Distance in units of the last place of the computed number."""
    return abs(float((Decimal(computed) - true) / Decimal(math.ulp(computed))))


def test_exp_is_within_two_ulp(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [*rng.uniform(-15.1, 15.1, 3_000), *rng.uniform(-700, 700, 2_000)]
    points += [0.0, -0.0, 1.0, -1.0, 1e-300, -1e-17, 15.0, -15.0, 700.0, -700.0]
    points += [k * math.log(2) / 2 for k in range(-40, 41)]  # where the reduction changes its k
    with localcontext() as context:
        context.prec = 40
        worst = max(ulps(numbers.exp(float(x)), Decimal(float(x)).exp()) for x in points)
    print(f"exp: at most {worst:.3f} ulp")
    assert worst <= 2.0


def test_log_is_within_two_ulp(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [*rng.uniform(1e-7, 1.0, 2_000), *(10 ** rng.uniform(-300, 300, 2_000))]
    points += [1.0 + k * 2.0**-52 for k in (-3, -2, -1, 1, 2, 3, 1000)]
    points += [math.sqrt(0.5) * (1 + k * 1e-16) for k in range(-5, 6)]
    points += [2.0, 0.5, 2.0**-1022, 1.7976931348623157e308]
    with localcontext() as context:
        context.prec = 60
        worst = max(ulps(numbers.log(float(x)), Decimal(float(x)).ln()) for x in points)
    print(f"log: at most {worst:.3f} ulp")
    assert worst <= 2.0


def test_exact_points() -> None:
    assert numbers.exp(0.0) == 1.0
    assert numbers.log(1.0) == 0.0
    assert numbers.sigmoid(0.0) == 0.5


@pytest.mark.parametrize("x", [-15.0, -3.7, -1e-9, 0.3, 15.0])
def test_sigmoid(x: float) -> None:
    assert numbers.sigmoid(x) == pytest.approx(1 / (1 + math.exp(-x)), rel=1e-15)
    assert 0.0 < numbers.sigmoid(x) < 1.0


def test_sigmoid_never_falls(seed: int) -> None:
    xs = np.sort(np.random.default_rng(seed).uniform(-15, 15, 5_000))
    ps = [numbers.sigmoid(float(x)) for x in xs]
    assert all(a <= b for a, b in itertools.pairwise(ps))


def test_exp_is_the_reference_folds_bit_for_bit(seed: int) -> None:
    for x in np.random.default_rng(seed).uniform(-15, 15, 5_000).tolist():
        assert numbers.exp(x) == exact.exp(x), x.hex()


# Bits that may never change on any machine: (x, exp(x), log(|x|)).
PINNED = [
    ("0x1.0000000000000p+0", "0x1.5bf0a8b14576ap+1", "0x0.0p+0"),
    ("-0x1.e000000000000p+3", "0x1.4875ca227ec38p-22", "0x1.5aa16394d481fp+1"),
    ("0x1.5555555555555p-2", "0x1.6546db1ba2d13p+0", "-0x1.193ea7aad030bp+0"),
    ("0x1.91eb851eb851fp+2", "0x1.0ae4f2efad298p+9", "0x1.d65de108d070bp+0"),
]


@pytest.mark.parametrize(("x", "e", "l"), PINNED)
def test_pinned_bits(x: str, e: str, l: str) -> None:  # noqa: E741 - log
    value = float.fromhex(x)
    assert (numbers.exp(value).hex(), numbers.log(abs(value)).hex()) == (e, l)
