"""Powers of n and their growth: close to the truth in 60 digits, and never less than 0."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest

from ftrl_core.optimizer_kernels import expm1, growth, log1p, raised


def error(computed: float, true: Decimal) -> float:
    """Relative error; 0 where both are 0."""
    return float(abs((Decimal(computed) - true) / true)) if true else abs(computed)


def test_log1p_and_expm1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [*(10 ** rng.uniform(-17, 0, 2_000)), *rng.uniform(0, 1, 500), 0.0, 0.4, 1.0]
    with localcontext() as context:
        context.prec = 60
        worst_log = max(error(log1p(x), (1 + Decimal(x)).ln()) for x in map(float, points))
        worst_exp = max(error(expm1(x), Decimal(x).exp() - 1) for x in map(float, points))
    assert (log1p(1e-300), expm1(1e-300)) == (1e-300, 1e-300)
    print(f"log1p {worst_log:.2e}, expm1 {worst_exp:.2e}")
    assert worst_log < 6e-16
    assert worst_exp < 6e-16


@pytest.mark.parametrize("exponent", [0.5, 1.0, 0.2, 0.9, 1.7, 3.0])
def test_growth_does_not_cancel(exponent: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    worst = 0.0
    with localcontext() as context:
        context.prec = 80
        for _ in range(300):
            n = float(10 ** rng.uniform(-6, 9)) * float(rng.random() < 0.9)
            grown = n + float(10 ** rng.uniform(-12, 8))
            true = Decimal(grown) ** Decimal(exponent) - Decimal(n) ** Decimal(exponent)
            worst = max(worst, error(growth(n, grown, exponent), true))
    print(f"growth: {worst:.2e}")
    assert worst < 3e-14


def test_powers_at_their_ends() -> None:
    assert raised(0.0, 0.0) == raised(7.0, 0.0) == 1.0
    assert raised(0.0, 0.3) == raised(1e-310, 0.3) == 0.0
    assert raised(1e300, 40.0) > 1e303
    for exponent in (0.0, 0.3, 0.5, 1.0, 2.0):
        assert growth(0.0, 0.0, exponent) == growth(3.0, 3.0, exponent) == 0.0
    assert growth(1e-320, 2.0, 0.3) == raised(2.0, 0.3)
