"""FTRL-Proximal in the paper's order: weights, predict, gradient, update.

McMahan et al. 2013, Algorithm 1, one example at a time. Per coordinate the table keeps z and n in
float32, as in TensorFlow's multiply_linear_by_lr: z here is the paper's z times the learning rate,
so a falling schedule shrinks no untouched weight. With alpha the learning rate:

    N     = n0 + n                               n is the growth over n0, so untouched is zero
    w     = -(z - clip(z, alpha l1)) / (beta + sqrt N + alpha lambda2)
    p     = sigmoid(b + sum x w)                 logit clamped to +-15, so p is inside (0, 1)
    g     = (p - y) weight x
    sigma = sqrt(N + g^2) - sqrt N = g^2 / (sqrt(N + g^2) + sqrt N)      (no cancellation)
    z'    = z + (alpha g - sigma w)
    n'    = n + g^2                              rounded by a deterministic dither (dither.py)

All of this in float32, except the bias b (its own float64 coordinate), the sigmoid and p - y.

Lanes. A model with several learning rates does this once for each, in lanes that share nothing but
the features: the record of a slot is z of every lane, then n of every lane, and one vector of
float32 (vector.py) does all lanes at once. Their probabilities are mixed (mixture.py).

x is the value times a factor of the lane, of the example and of the view of the feature
(numeric_features.py): 0 where the lane does not see that view, and where the model's scale is unit,
1 / sqrt(sum of the squares of what the lane sees); else 1. Then a rate that suits examples of
eight features suits those of eight hundred, and of any scale.

What every kernel, also a later and faster one, must keep to the bit:
  * the sum runs in ACCUMULATORS = 8 partial sums in canonical order (feature j adds to j mod 8),
    joined as ((0+4)+(2+6)) + ((1+5)+(3+7));
  * all weights of an example are read before any of its coordinates is updated; two features that
    share a slot both use that weight, and update (z, n) one after the other in canonical order;
  * no fused multiply-add, no reassociation.

Two kernels do this: `fast.py` for power -1/2 and no shrinkage, clipping, schedule or admission;
`general.py` with every option as a run-time argument. Both give the same bits where both can. Here
is what they are made of.

Finite by construction: |z| <= 1e19, n <= 1e38, the divisor >= 1e-18, so w is finite; a sum that
overflowed is clamped with the logit (not a number becomes 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ftrl_core.batch import F32, I64, U8
from ftrl_core.constants import (
    BETA,
    BIAS_ALPHA,
    BIAS_LAMBDA2,
    BIAS_THRESHOLD,
    F64,
    N0,
    SEES_BINS,
    SEES_LINEAR,
    UNIT_SCALE,
)
from ftrl_core.dither import N_MAX
from ftrl_core.jit import inner_kernel
from ftrl_core.vector import (
    greatest,
    least,
    magnitude,
    neighbour,
    root,
    spread,
    where_greater,
)

ACCUMULATORS = 8
EVERY_LANE, BIN_LANES, LINEAR_LANES = range(3)  # views: which lanes see a feature
VIEWS = 3
AHEAD = 2  # rows between asking for a slot's record and using it
LOGIT_MAX = 15.0
Z_MAX = np.float32(1e19)
DIVISOR_MIN = np.float32(1e-18)
ROOT_MIN = np.float32(1e-30)  # below the root of the least positive float32: only 0/0 meets it
ZERO = np.float32(0.0)

Lanes = tuple[np.float32, ...]  # a tuple whose length says how many lanes there are
Vector = Any  # a float32 for each lane; exists inside kernels only


@inner_kernel
def clip(lanes: Lanes, x: Vector, bound: Vector) -> Vector:
    """x moved into [-bound, bound]."""
    return least(greatest(x, spread(lanes, ZERO) - bound), bound)


@inner_kernel
def weight(
    lanes: Lanes, z: Vector, n: Vector, n0: Vector, beta: Vector, threshold: Vector, lambda2: Vector
) -> Vector:
    """w of a coordinate; threshold is alpha * l1, lambda2 is alpha times the paper's."""
    return weight_from(lanes, z, root(n0 + n), beta, threshold, lambda2)


@inner_kernel
def weight_from(
    lanes: Lanes, z: Vector, root_n: Vector, beta: Vector, threshold: Vector, lambda2: Vector
) -> Vector:
    """The same, with the root of n0 + n already taken."""
    shrunk = z - clip(lanes, z, threshold)
    divisor = (beta + root_n) + lambda2
    return spread(lanes, ZERO) - shrunk / greatest(divisor, spread(lanes, DIVISOR_MIN))


@inner_kernel
def dithered_sum(lanes: Lanes, n: Vector, g2: Vector, u: Vector) -> Vector:
    """n + g2 rounded up or down with the probability of its remainder; u in [0, 1) decides."""
    s = n + g2
    b = s - n
    remainder = (n - (s - b)) + (g2 - b)  # Knuth: exact
    other = neighbour(s, remainder)
    rounded = where_greater(magnitude(remainder), u * magnitude(other - s), other, s)
    return least(rounded, spread(lanes, N_MAX))


@inner_kernel
def stepped(
    lanes: Lanes, z: Vector, n: Vector, g: Vector, w: Vector, u: Vector, n0: Vector, alpha: Vector
) -> tuple[Vector, Vector]:
    """(z', n') of a coordinate for the gradients g at the weights w."""
    return stepped_from(lanes, z, n, root(n0 + n), g, w, u, n0, alpha)


@inner_kernel
def stepped_from(
    lanes: Lanes, z: Vector, n: Vector, root_n: Vector, g: Vector, w: Vector, u: Vector, n0: Vector,
    alpha: Vector,
) -> tuple[Vector, Vector]:  # fmt: skip
    """The same, with the root of n0 + n already taken."""
    g2 = g * g
    sigma = g2 / greatest(root((n0 + n) + g2) + root_n, spread(lanes, ROOT_MIN))
    z = z + (alpha * g - sigma * w)
    z = clip(lanes, z, spread(lanes, Z_MAX)) + spread(lanes, ZERO)  # + 0 makes -0.0 into 0.0
    return z, dithered_sum(lanes, n, g2, u)


@inner_kernel
def bias_weight(bias: F64, k: F64, lane: int) -> float:
    """The weight of a lane's bias, in float64; bias is z of every lane, then n of every lane."""
    z, n = bias[lane], bias[bias.size // 2 + lane]
    threshold = k[BIAS_THRESHOLD, lane]
    shrunk = z - min(max(z, -threshold), threshold)
    divisor = (k[BETA, lane] + np.sqrt(k[N0, lane] + n)) + k[BIAS_LAMBDA2, lane]
    return float(0.0 - shrunk / max(divisor, 1e-18))


@inner_kernel
def update_bias(bias: F64, g: float, w: float, k: F64, lane: int) -> None:
    """Update a lane's bias in place, in float64."""
    at = bias.size // 2 + lane
    total = k[N0, lane] + bias[at]
    g2 = g * g
    sigma = g2 / max(np.sqrt(total + g2) + np.sqrt(total), 1e-170)
    z = bias[lane] + (k[BIAS_ALPHA, lane] * g - sigma * w)
    bias[lane] = min(max(z, -1e19), 1e19) + 0.0
    bias[at] = bias[at] + g2


@inner_kernel
def joined(sums: F32, lanes: int, lane: int) -> np.float32:
    """The eight partial sums of a lane joined in their one fixed order; sums is [8, lanes] flat."""
    at, half = lane, 4 * lanes
    a, b = sums[at] + sums[at + half], sums[at + lanes] + sums[at + lanes + half]
    at += 2 * lanes
    c, d = sums[at] + sums[at + half], sums[at + lanes] + sums[at + lanes + half]
    return np.float32((a + c) + (b + d))


@inner_kernel
def clamped_logit(total: np.float32, bias: float) -> float:
    """Bias plus sum, clamped; what is not a number becomes 0."""
    logit = bias + np.float64(total)
    if not (logit == logit):
        return 0.0
    return min(max(logit, -LOGIT_MAX), LOGIT_MAX)


@inner_kernel
def narrowed(k: F64) -> F32:
    """The constants in float32, flat: constant c of lane l at c * lanes + l."""
    flat = np.empty(k.size, np.float32)
    for c in range(k.shape[0]):
        for lane in range(k.shape[1]):
            flat[c * k.shape[1] + lane] = np.float32(k[c, lane])
    return flat


@inner_kernel
def view_factors(k: F64, values: F32, views: U8, start: int, count: int, factors: F32) -> None:
    """What values of the features start:start + count are multiplied with, by view and lane.

    factors is float32[VIEWS * lanes], filled in place; the squares are summed in float64.
    """
    width = k.shape[1]
    plain = of_bins = of_linear = 0.0  # sums of squares, by view
    if k[UNIT_SCALE, 0] != 0.0:
        for j in range(start, start + count):
            square = np.float64(values[j]) * np.float64(values[j])
            if views[j] == EVERY_LANE:
                plain += square
            elif views[j] == BIN_LANES:
                of_bins += square
            else:
                of_linear += square
    for lane in range(width):
        bins, linear = k[SEES_BINS, lane], k[SEES_LINEAR, lane]
        square = plain + (bins * of_bins + linear * of_linear)
        factor = 1.0 / np.sqrt(square) if square > 0.0 else 1.0
        factors[lane] = np.float32(factor)
        factors[width + lane] = np.float32(factor * bins)
        factors[2 * width + lane] = np.float32(factor * linear)


@inner_kernel
def longest_row(row_offsets: I64) -> int:
    """The greatest number of features of a row."""
    longest = 0
    for r in range(row_offsets.size - 1):
        longest = max(longest, row_offsets[r + 1] - row_offsets[r])
    return longest
