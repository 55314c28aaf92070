"""exp and log of our own, so that every machine computes the same bits.

The C library's differ between releases and between processors with and without fused
multiply-add. These are built from + - * / and bit patterns only, in float64 and in one fixed
order, and so give equal bits wherever IEEE 754 does.

    exp(x) = 2^k * exp(r),  k = floor(x / ln 2 + 1/2),  |r| <= ln 2 / 2: Taylor to r^13
    log(x) = e ln 2 + 2 atanh(s),  s = (m - 1)/(m + 1),  m in [sqrt 1/2, sqrt 2): series to s^23

The truncation errors are below 1e-17 relative, so what is left is the rounding of a few
operations: at most 2 ulp of float64 measured (tests/ftrl_core/test_numbers.py), far inside half
an ulp of float32. ln 2 is split so that k * LN2_HIGH is exact (Cody and Waite).
"""

from __future__ import annotations

import math

import numpy as np

from ftrl_core.bits import bits_of_f64, f64_of_bits
from ftrl_core.jit import inner_kernel

LN2_HIGH = 6.93147180369123816490e-01  # the upper 33 bits of ln 2
LN2_LOW = 1.90821492927058770002e-10  # the rest
INVERSE_LN2 = 1.4426950408889634
SQRT_HALF = 0.7071067811865476

C2, C3, C4, C5, C6, C7 = (1.0 / math.factorial(k) for k in range(2, 8))
C8, C9, C10, C11, C12, C13 = (1.0 / math.factorial(k) for k in range(8, 14))


@inner_kernel
def exp(x: float) -> float:
    """e^x in float64 for |x| <= 700; the caller clamps."""
    k = float(np.floor(x * INVERSE_LN2 + 0.5))
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    p = C12 + r * C13
    p = C10 + r * (C11 + r * p)
    p = C8 + r * (C9 + r * p)
    p = C6 + r * (C7 + r * p)
    p = C4 + r * (C5 + r * p)
    p = C2 + r * (C3 + r * p)
    p = 1.0 + (r + r * r * p)
    scale: float = f64_of_bits(np.uint64(np.int64(k) + 1023) << np.uint64(52))
    return p * scale


@inner_kernel
def log(x: float) -> float:
    """Natural logarithm in float64 of a normal number x > 0."""
    bits = bits_of_f64(x)
    e = np.int64(bits >> np.uint64(52)) - 1023
    m: float = f64_of_bits((bits & np.uint64(0x000FFFFFFFFFFFFF)) | np.uint64(0x3FF0000000000000))
    if m > 2.0 * SQRT_HALF:
        m = m * 0.5
        e += 1
    s = (m - 1.0) / (m + 1.0)
    t = s * s
    p = 1.0 / 21.0 + t * (1.0 / 23.0)
    p = 1.0 / 17.0 + t * (1.0 / 19.0 + t * p)
    p = 1.0 / 13.0 + t * (1.0 / 15.0 + t * p)
    p = 1.0 / 9.0 + t * (1.0 / 11.0 + t * p)
    p = 1.0 / 5.0 + t * (1.0 / 7.0 + t * p)
    p = t * (1.0 / 3.0 + t * p)
    scale = float(e)
    return scale * LN2_HIGH + (2.0 * (s + s * p) + scale * LN2_LOW)


@inner_kernel
def sigmoid(x: float) -> float:
    """1 / (1 + e^-x) in float64 for |x| <= 700."""
    return 1.0 / (1.0 + exp(-x))
