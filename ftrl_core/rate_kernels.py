"""The learning rate at a step, from a flat array: one kernel for the fold, optimizer and library.

A schedule becomes a float64 array, its kind first (ftrl_core/schedules.py makes it):

    CONSTANT      0, rate
    EXPONENTIAL   1, initial, decay_steps, log(decay_rate), staircase
    INVERSE_TIME  2, initial, decay_steps, decay_rate, staircase
    POLYNOMIAL    3, initial, decay_steps, end, power, cycle
    COSINE        4, initial, decay_steps, alpha, warmup_steps, decay_from
    PIECEWISE     5, count, count boundaries, count + 1 values

The formulas are those of `keras.optimizers.schedules`, in float64, with exp and log of
ftrl_core/numbers.py and a sine of its own: equal bits on every machine. Two are rewritten without
cancellation, which changes them by rounding only: 1 - step / decay_steps is
(decay_steps - step) / decay_steps, and (1 + cos(pi c)) / 2 is sin(pi (1 - c) / 2) squared.

A rate of zero would divide by zero, and an infinite one has no meaning, yet decays can reach both
(an end rate or alpha of 0; exponents). Every rate of a schedule is therefore clamped to
[RATE_MIN, RATE_MAX]; a constant rate is checked when it is given and not clamped.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ftrl_core.jit import kernel
from ftrl_core.numbers import exp, log

F64 = npt.NDArray[np.float64]

RATE_MIN = 1e-12
RATE_MAX = 1e6
CONSTANT, EXPONENTIAL, INVERSE_TIME, POLYNOMIAL, COSINE, PIECEWISE = range(6)
EXPONENT_MAX = 700.0  # the range of numbers.exp
PERIODS_MAX = 1e18  # keeps step / decay_steps finite for any decay_steps above 0

S3, S5, S7, S9 = (-1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0, 1.0 / 362880.0)
S11, S13, S15, S17 = ((-1) ** (k // 2) / math.factorial(k) for k in (11, 13, 15, 17))
C2, C4, C6, C8 = (-1.0 / 2.0, 1.0 / 24.0, -1.0 / 720.0, 1.0 / 40320.0)
C10, C12, C14, C16 = ((-1) ** (k // 2) / math.factorial(k) for k in (10, 12, 14, 16))


@kernel
def sin_pi(x: float) -> float:
    """sin(pi x) for 0 <= x <= 1/2: the sine's or the cosine's series, whichever argument is less.

    The first left-out terms are below 1e-17 relative.
    """
    if x <= 0.25:
        y = math.pi * x
        t = y * y
        p = S11 + t * (S13 + t * (S15 + t * S17))
        p = S3 + t * (S5 + t * (S7 + t * (S9 + t * p)))
        return float(y + y * (t * p))
    y = math.pi * (0.5 - x)
    t = y * y
    p = C10 + t * (C12 + t * (C14 + t * C16))
    p = C2 + t * (C4 + t * (C6 + t * (C8 + t * p)))
    return float(1.0 + t * p)


@kernel
def power(base: float, exponent: float) -> float:
    """base^exponent for 0 <= base <= 1 and exponent >= 0, with 0^0 = 1."""
    if exponent == 1.0:
        return base
    if exponent == 0.0:
        return 1.0
    if base < 1e-300:
        return 0.0
    return exp(max(exponent * log(base), -EXPONENT_MAX))


@kernel
def _periods(s: F64, step: float) -> float:
    """step / decay_steps, whole periods only for a staircase."""
    p = min(step / s[2], PERIODS_MAX)
    return float(np.floor(p)) if s[4] != 0.0 else p


@kernel
def _exponential(s: F64, step: float) -> float:
    exponent = _periods(s, step) * s[3]
    rate: float = s[1] * exp(min(max(exponent, -EXPONENT_MAX), EXPONENT_MAX))
    return rate


@kernel
def _inverse_time(s: F64, step: float) -> float:
    rate: float = s[1] / (1.0 + s[3] * _periods(s, step))
    return rate


@kernel
def _polynomial(s: F64, step: float) -> float:
    span = s[2]
    if s[5] == 0.0:
        step = min(step, span)
    elif step > 0.0:
        span = span * np.ceil(min(step / span, PERIODS_MAX))
    left = max((span - step) / span, 0.0)
    rate: float = (s[1] - s[3]) * power(left, s[4]) + s[3]
    return rate


@kernel
def _cosine(s: F64, step: float) -> float:
    rate: float
    if step < s[4]:
        rate = (s[5] - s[1]) * (step / s[4]) + s[1]
        return rate
    left = max((s[2] - (step - s[4])) / s[2], 0.0)
    root = sin_pi(0.5 * left)
    rate = s[5] * ((1.0 - s[3]) * (root * root) + s[3])
    return rate


@kernel
def _piecewise(s: F64, step: float) -> float:
    count = int(s[1])
    place = 0
    while place < count and step > s[2 + place]:
        place += 1
    rate: float = s[2 + count + place]
    return rate


@kernel
def rate_at(parameters: F64, step: int) -> float:
    """The learning rate at a step >= 0; a schedule's is inside [RATE_MIN, RATE_MAX]."""
    kind = int(parameters[0])
    at = float(step)
    if kind == CONSTANT:
        constant: float = parameters[1]
        return constant
    if kind == EXPONENTIAL:
        rate = _exponential(parameters, at)
    elif kind == INVERSE_TIME:
        rate = _inverse_time(parameters, at)
    elif kind == POLYNOMIAL:
        rate = _polynomial(parameters, at)
    elif kind == COSINE:
        rate = _cosine(parameters, at)
    else:
        rate = _piecewise(parameters, at)
    return min(max(rate, RATE_MIN), RATE_MAX)
