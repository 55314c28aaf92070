"""One coordinate with every option: the scalar arithmetic of the general kernel.

The formulas are those of `kernels`, with what Keras' `Ftrl` adds and two techniques of the paper:

    R(N)  = N^-power                       sqrt N at power -1/2; 1 at power 0, where sigma is 0
    w     = -(z - clip(z, alpha l1)) / (beta + R(N) + alpha lambda2)
    sigma = R(N') - R(N)
    z'    = z + (alpha (g + 2 shrinkage w) - sigma w)          n grows by g^2 alone, as in Keras

Rates from counts (McMahan et al. 2013, section 4.5). Instead of a sum of squares, n's 32 bits hold
two counts, of examples with a click (upper half) and without (lower half), as bfloat16 numbers that
are rounded by the dither; the sum of squares is then taken to be P N / (P + N):

    31            16 15             0
    | P, bfloat16    | N, bfloat16   |      an untouched slot is still all zero

With power -1/2 and all else neutral each operation, and so each bit, is the fast kernel's.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.batch import F32
from ftrl_core.bits import bits_of_f32, f32_of_bits
from ftrl_core.config import ModelConfig
from ftrl_core.constants import (
    ALPHA,
    BETA,
    BIAS_ALPHA,
    BIAS_LAMBDA2,
    BIAS_REGULARIZED,
    BIAS_THRESHOLD,
    COUNTS,
    F64,
    LAMBDA2,
    N0,
    POWER,
    SHRINKAGE,
    THRESHOLD,
    fold_constants,
)
from ftrl_core.dither import dithered_sum
from ftrl_core.jit import inner_kernel
from ftrl_core.kernels import DIVISOR_MIN, ROOT_MIN, Z_MAX, ZERO
from ftrl_core.numbers import exp, log

STEP_MAX = np.float32(1e30)  # far beyond Z_MAX, so what is clipped there would be clipped anyway
COUNT_MAX = np.float32(1e18)  # the product of two counts is finite
LOG_ROOT_MAX = 69.0  # R(N) <= 1e30, inside float32


@inner_kernel
def general_root(total: float, power: float) -> float:
    """R(N) = N^-power in float64, for a power other than -1/2."""
    if power == 0.0:
        return 1.0
    if total <= 0.0:
        return 0.0
    return exp(min(max(-power * log(total), -700.0), LOG_ROOT_MAX))


@inner_kernel
def root_of(total: np.float32, power: float) -> np.float32:
    """R(N) in float32."""
    if power == -0.5:
        return np.float32(np.sqrt(total))
    return np.float32(general_root(np.float64(total), power))


@inner_kernel
def count_of(half: np.uint32) -> np.float32:
    """The count of a bfloat16 pattern in the upper half of 32 bits."""
    return np.float32(f32_of_bits(np.uint32(half & np.uint32(0xFFFF0000))))


@inner_kernel
def sum_of_squares(n: np.float32, counts: bool) -> np.float32:
    """What a cell of n stands for: itself, or P N / (P + N) of the two counts in it."""
    if not counts:
        return n
    bits = bits_of_f32(n)
    p, m = count_of(bits), count_of(np.uint32(bits << np.uint32(16)))
    both = p + m
    return np.float32(p * m / both) if both > ZERO else ZERO


@inner_kernel
def counted(n: np.float32, label: int, amount: np.float32, u: np.float32) -> np.float32:
    """A cell of counts after one more example of `amount`; u in [0, 1) decides the rounding."""
    bits = bits_of_f32(n)
    old = bits if label else np.uint32(bits << np.uint32(16))
    grown = bits_of_f32(np.float32(min(np.float32(count_of(old) + amount), COUNT_MAX)))
    remainder = np.float32(np.uint32(grown & np.uint32(0xFFFF))) * np.float32(2.0**-16)
    up = np.uint32(0x10000) if remainder > u else np.uint32(0)
    half = np.uint32((grown & np.uint32(0xFFFF0000)) + up)
    if label:
        return np.float32(f32_of_bits(np.uint32(half | (bits & np.uint32(0xFFFF)))))
    lower = np.uint32(half >> np.uint32(16))
    return np.float32(f32_of_bits(np.uint32((bits & np.uint32(0xFFFF0000)) | lower)))


@inner_kernel
def divisor_of(n: np.float32, k: F64, lane: int) -> np.float32:
    """beta + R(N) + alpha lambda2 of a coordinate, never zero."""
    total = np.float32(k[N0, lane]) + sum_of_squares(n, k[COUNTS, lane] != 0.0)
    smooth = np.float32(np.float32(k[BETA, lane]) + root_of(total, k[POWER, lane]))
    return max(np.float32(smooth + np.float32(k[LAMBDA2, lane])), DIVISOR_MIN)


@inner_kernel
def weight(z: np.float32, n: np.float32, k: F64, lane: int) -> np.float32:
    """w of a coordinate in a lane."""
    threshold = np.float32(k[THRESHOLD, lane])
    shrunk = np.float32(z - min(max(z, -threshold), threshold))
    return np.float32(ZERO - np.float32(shrunk / divisor_of(n, k, lane)))


@inner_kernel
def growth(total: np.float32, g2: np.float32, power: float) -> np.float32:
    """sigma = R(total + g2) - R(total)."""
    if power == -0.5:
        roots = np.float32(np.sqrt(np.float32(total + g2)) + np.sqrt(total))
        return np.float32(g2 / max(roots, ROOT_MIN))
    wide = np.float64(total)
    difference = general_root(wide + np.float64(g2), power) - general_root(wide, power)
    return np.float32(max(difference, 0.0))


@inner_kernel
def bounded(x: np.float32) -> np.float32:
    """x, or what is left of an overflow: the difference of two infinities is not a number."""
    return min(max(x, -STEP_MAX), STEP_MAX)


@inner_kernel
def update(
    table: F32, at: int, lane: int, g: np.float32, w: np.float32, u: np.float32,
    label: int, amount: np.float32, k: F64,
) -> None:  # fmt: skip
    """Update one lane of the record at table[at:] in place, for the gradient g at the weight w.

    label and amount (the square of weight and value) are what rates from counts go by.
    """
    z, n = table[at], table[at + k.shape[1]]
    counts = k[COUNTS, lane] != 0.0
    total = np.float32(np.float32(k[N0, lane]) + sum_of_squares(n, counts))
    if counts:
        grown = counted(n, label, amount, u)
        more = np.float32(sum_of_squares(grown, True) - sum_of_squares(n, True))
        g2 = max(more, ZERO)
    else:
        g2 = np.float32(g * g)
        grown = dithered_sum(n, g2, u)
    sigma = growth(total, g2, k[POWER, lane])
    shrinkage = np.float32(2.0 * k[SHRINKAGE, lane])
    shrunk = np.float32(g + np.float32(shrinkage * w)) if shrinkage > ZERO else g
    step = bounded(np.float32(np.float32(k[ALPHA, lane]) * shrunk))
    z = np.float32(z + np.float32(step - bounded(np.float32(sigma * w))))
    table[at] = np.float32(min(max(z, -Z_MAX), Z_MAX) + ZERO)
    table[at + k.shape[1]] = grown


@inner_kernel
def bias_weight(bias: F64, k: F64, lane: int) -> float:
    """The weight of a lane's bias."""
    z, n = bias[lane], bias[bias.size // 2 + lane]
    threshold = k[BIAS_THRESHOLD, lane]
    shrunk = z - min(max(z, -threshold), threshold)
    return float(0.0 - shrunk / bias_divisor(n, k, lane))


@inner_kernel
def bias_divisor(n: float, k: F64, lane: int) -> float:
    """beta + R(N) + alpha lambda2 of a lane's bias, never zero."""
    total, power = k[N0, lane] + n, k[POWER, lane]
    root = np.sqrt(total) if power == -0.5 else general_root(total, power)
    return float(max((k[BETA, lane] + root) + k[BIAS_LAMBDA2, lane], 1e-18))


@inner_kernel
def update_bias(bias: F64, g: float, w: float, k: F64, lane: int) -> None:
    """Update a lane's bias in place; shrinkage acts on it only where l1 and l2 do."""
    at = bias.size // 2 + lane
    total, power = k[N0, lane] + bias[at], k[POWER, lane]
    g2 = g * g
    if power == -0.5:
        sigma = g2 / max(np.sqrt(total + g2) + np.sqrt(total), 1e-170)
    else:
        sigma = max(general_root(total + g2, power) - general_root(total, power), 0.0)
    shrinkage = 2.0 * k[SHRINKAGE, lane] * k[BIAS_REGULARIZED, lane]
    shrunk = g + shrinkage * w if shrinkage > 0.0 else g
    z = bias[lane] + (k[BIAS_ALPHA, lane] * shrunk - sigma * w)
    bias[lane] = min(max(z, -1e19), 1e19) + 0.0
    bias[at] = bias[at] + g2


def weight_of(config: ModelConfig, z: float, n: float, lane: int = 0) -> float:
    """The weight that (z, n), as the table stores them, have in a lane; a schedule's first rate."""
    return float(weight(np.float32(z), np.float32(n), fold_constants(config), lane))
