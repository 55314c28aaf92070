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

This is the fast kernel: power -1/2, no shrinkage, clipping, schedule or admission. `general.py` has
every option as a run-time argument, and gives the same bits where the options are these.

Finite by construction: |z| <= 1e19, n <= 1e38, the divisor >= 1e-18, so w is finite; a sum that
overflowed is clamped with the logit (not a number becomes 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ftrl_core.batch import F32, I64, U8, U32
from ftrl_core.constants import (
    ALPHA,
    BETA,
    BIAS_ALPHA,
    BIAS_LAMBDA2,
    BIAS_THRESHOLD,
    F64,
    LAMBDA2,
    N0,
    SEES_BINS,
    SEES_LINEAR,
    SHARE,
    THRESHOLD,
    UNIT_SCALE,
)
from ftrl_core.dither import N_MAX, dither, example_seed
from ftrl_core.jit import kernel
from ftrl_core.mixture import logit_of, mixed, update_posterior
from ftrl_core.numbers import sigmoid
from ftrl_core.vector import (
    alternate,
    greatest,
    least,
    load,
    magnitude,
    neighbour,
    prefetch,
    root,
    spread,
    store,
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


@kernel
def clip(lanes: Lanes, x: Vector, bound: Vector) -> Vector:
    """x moved into [-bound, bound]."""
    return least(greatest(x, spread(lanes, ZERO) - bound), bound)


@kernel
def weight(
    lanes: Lanes, z: Vector, n: Vector, n0: Vector, beta: Vector, threshold: Vector, lambda2: Vector
) -> Vector:
    """w of a coordinate; threshold is alpha * l1, lambda2 is alpha times the paper's."""
    shrunk = z - clip(lanes, z, threshold)
    divisor = (beta + root(n0 + n)) + lambda2
    return spread(lanes, ZERO) - shrunk / greatest(divisor, spread(lanes, DIVISOR_MIN))


@kernel
def dithered_sum(lanes: Lanes, n: Vector, g2: Vector, u: Vector) -> Vector:
    """n + g2 rounded up or down with the probability of its remainder; u in [0, 1) decides."""
    s = n + g2
    b = s - n
    remainder = (n - (s - b)) + (g2 - b)  # Knuth: exact
    other = neighbour(s, remainder)
    rounded = where_greater(magnitude(remainder), u * magnitude(other - s), other, s)
    return least(rounded, spread(lanes, N_MAX))


@kernel
def stepped(
    lanes: Lanes, z: Vector, n: Vector, g: Vector, w: Vector, u: Vector, n0: Vector, alpha: Vector
) -> tuple[Vector, Vector]:
    """(z', n') of a coordinate for the gradients g at the weights w."""
    total = n0 + n
    g2 = g * g
    sigma = g2 / greatest(root(total + g2) + root(total), spread(lanes, ROOT_MIN))
    z = z + (alpha * g - sigma * w)
    z = clip(lanes, z, spread(lanes, Z_MAX)) + spread(lanes, ZERO)  # + 0 makes -0.0 into 0.0
    return z, dithered_sum(lanes, n, g2, u)


@kernel
def bias_weight(bias: F64, k: F64, lane: int) -> float:
    """The weight of a lane's bias, in float64; bias is z of every lane, then n of every lane."""
    z, n = bias[lane], bias[bias.size // 2 + lane]
    threshold = k[BIAS_THRESHOLD, lane]
    shrunk = z - min(max(z, -threshold), threshold)
    divisor = (k[BETA, lane] + np.sqrt(k[N0, lane] + n)) + k[BIAS_LAMBDA2, lane]
    return float(0.0 - shrunk / max(divisor, 1e-18))


@kernel
def update_bias(bias: F64, g: float, w: float, k: F64, lane: int) -> None:
    """Update a lane's bias in place, in float64."""
    at = bias.size // 2 + lane
    total = k[N0, lane] + bias[at]
    g2 = g * g
    sigma = g2 / max(np.sqrt(total + g2) + np.sqrt(total), 1e-170)
    z = bias[lane] + (k[BIAS_ALPHA, lane] * g - sigma * w)
    bias[lane] = min(max(z, -1e19), 1e19) + 0.0
    bias[at] = bias[at] + g2


@kernel
def joined(sums: F32, lanes: int, lane: int) -> np.float32:
    """The eight partial sums of a lane joined in their one fixed order; sums is [8, lanes] flat."""
    s = sums[lane::lanes]
    return np.float32(((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])))


@kernel
def clamped_logit(total: np.float32, bias: float) -> float:
    """Bias plus sum, clamped; what is not a number becomes 0."""
    logit = bias + np.float64(total)
    if not (logit == logit):
        return 0.0
    return min(max(logit, -LOGIT_MAX), LOGIT_MAX)


@kernel
def narrowed(k: F64) -> F32:
    """The constants in float32, flat: constant c of lane l at c * lanes + l."""
    flat = np.empty(k.size, np.float32)
    for c in range(k.shape[0]):
        for lane in range(k.shape[1]):
            flat[c * k.shape[1] + lane] = np.float32(k[c, lane])
    return flat


@kernel
def view_factors(k: F64, values: F32, views: U8, start: int, count: int, factors: F32) -> None:
    """What values of the features start:start + count are multiplied with, by view and lane.

    factors is float32[VIEWS * lanes], filled in place; the squares are summed in float64.
    """
    width = k.shape[1]
    squares = np.zeros(VIEWS)
    if k[UNIT_SCALE, 0] != 0.0:
        for j in range(start, start + count):
            wide = np.float64(values[j])
            squares[views[j]] += wide * wide
    for lane in range(width):
        bins, linear = k[SEES_BINS, lane], k[SEES_LINEAR, lane]
        square = squares[0] + (bins * squares[1] + linear * squares[2])
        factor = 1.0 / np.sqrt(square) if square > 0.0 else 1.0
        factors[lane] = np.float32(factor)
        factors[width + lane] = np.float32(factor * bins)
        factors[2 * width + lane] = np.float32(factor * linear)


@kernel
def score_row(
    lanes: Lanes, table: F32, k: F32, hashes: U32, values: F32, views: U8, start: int, count: int,
    factors: F32, sums: F32, ws: F32,
) -> None:  # fmt: skip
    """The eight partial sums of the features start:start + count, and their weights in ws."""
    width = len(lanes)
    n0, beta = load(lanes, k, N0 * width), load(lanes, k, BETA * width)
    threshold, lambda2 = load(lanes, k, THRESHOLD * width), load(lanes, k, LAMBDA2 * width)
    mask = np.uint32(table.size // (2 * width) - 1)
    sums[:] = ZERO
    j = 0
    while j < count:
        at = 2 * width * np.int64(hashes[start + j] & mask)
        z, n = load(lanes, table, at), load(lanes, table, at + width)
        factor = load(lanes, factors, width * np.int64(views[start + j]))
        x, place = spread(lanes, values[start + j]) * factor, (j & 7) * width
        if width > 1 and views[start + j] == LINEAR_LANES:
            at = 2 * width * np.int64(hashes[start + j + 1] & mask)
            z = alternate(load(lanes, table, at), z)
            n = alternate(load(lanes, table, at + width), n)
        w = weight(lanes, z, n, n0, beta, threshold, lambda2)
        store(ws, j * width, w)
        store(sums, place, load(lanes, sums, place) + x * w)
        j += 1
        if width > 1 and views[start + j - 1] == LINEAR_LANES:
            factor = load(lanes, factors, width * np.int64(BIN_LANES))
            x, place = spread(lanes, values[start + j]) * factor, (j & 7) * width
            store(sums, place, load(lanes, sums, place) + x * w)
            j += 1


@kernel
def update_row(
    lanes: Lanes, table: F32, k: F32, hashes: U32, values: F32, views: U8, start: int, count: int,
    factors: F32, residuals: F32, ws: F32, noise: np.uint32, page_seqs: I64, page_shift: int,
    seq: int,
) -> None:  # fmt: skip
    """Update every slot of the features start:start + count, in canonical order, in place."""
    width = len(lanes)
    n0, alpha = load(lanes, k, N0 * width), load(lanes, k, ALPHA * width)
    residual = load(lanes, residuals, 0)
    mask = np.uint32(table.size // (2 * width) - 1)
    j = 0
    while j < count:
        slot = int(hashes[start + j] & mask)
        at = 2 * width * slot
        z, n = load(lanes, table, at), load(lanes, table, at + width)
        factor = load(lanes, factors, width * np.int64(views[start + j]))
        g = residual * (spread(lanes, values[start + j]) * factor)
        u = spread(lanes, dither(noise, slot, j))
        w = load(lanes, ws, j * width)
        page_seqs[slot >> page_shift] = seq
        if width > 1 and views[start + j] == LINEAR_LANES:
            j += 1
            slot = int(hashes[start + j] & mask)
            other = 2 * width * slot
            factor = load(lanes, factors, width * np.int64(BIN_LANES))
            g = alternate(residual * (spread(lanes, values[start + j]) * factor), g)
            u = alternate(spread(lanes, dither(noise, slot, j)), u)
            new_z, new_n = stepped(
                lanes, alternate(load(lanes, table, other), z),
                alternate(load(lanes, table, other + width), n), g, w, u, n0, alpha,
            )  # fmt: skip
            store(table, at, alternate(z, new_z))
            store(table, at + width, alternate(n, new_n))
            # Read again: the two may share a slot, of which each changes its own lanes.
            store(table, other, alternate(new_z, load(lanes, table, other)))
            store(table, other + width, alternate(new_n, load(lanes, table, other + width)))
            page_seqs[slot >> page_shift] = seq
        else:
            z, n = stepped(lanes, z, n, g, w, u, n0, alpha)
            store(table, at, z)
            store(table, at + width, n)
        j += 1


@kernel
def prefetch_row(table: F32, width: int, hashes: U32, row_offsets: I64, row: int) -> None:
    """Have the slot records of a row brought near, if there is such a row."""
    if row + 1 >= row_offsets.size:
        return
    mask = np.uint32(table.size // (2 * width) - 1)
    for i in range(row_offsets[row], row_offsets[row + 1]):
        prefetch(table, 2 * width * np.int64(hashes[i] & mask))


@kernel
def longest_row(row_offsets: I64) -> int:
    """The greatest number of features of a row."""
    longest = 0
    for r in range(row_offsets.size - 1):
        longest = max(longest, row_offsets[r + 1] - row_offsets[r])
    return longest


@kernel
def predict_batch(
    lanes: Lanes, table: F32, bias: F64, posterior: F64, k: F64,
    row_offsets: I64, hashes: U32, values: F32, views: U8, out: F64,
) -> None:  # fmt: skip
    """Probabilities of all rows into out (float64[rows]); changes nothing else."""
    width = len(lanes)
    narrow = narrowed(k)
    sums, ps = np.empty(ACCUMULATORS * width, np.float32), np.empty(width)
    ws = np.empty(longest_row(row_offsets) * width, np.float32)
    bs, factors = np.empty(width), np.empty(VIEWS * width, np.float32)
    for lane in range(width):
        bs[lane] = bias_weight(bias, k, lane)
    for r in range(row_offsets.size - 1):
        prefetch_row(table, width, hashes, row_offsets, r + AHEAD)
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        view_factors(k, values, views, start, count, factors)
        score_row(lanes, table, narrow, hashes, values, views, start, count, factors, sums, ws)
        for lane in range(width):
            ps[lane] = sigmoid(clamped_logit(joined(sums, width, lane), bs[lane]))
        out[r] = mixed(posterior, ps)


@kernel
def learn_batch(
    lanes: Lanes, table: F32, bias: F64, posterior: F64, k: F64, seed: int, examples: int,
    row_offsets: I64, hashes: U32, values: F32, views: U8, labels: U8, weights: F32, skip: U8,
    page_seqs: I64, page_shift: int, seq: int, logits: F64, out: F64,
) -> int:  # fmt: skip
    """Fold the rows in order; table, bias, posterior, page_seqs, logits, out change in place.

    values are float32[nnz] and views uint8[nnz] as `numeric_features.expanded` gives them. Rows
    with skip[r] != 0 change nothing and get NaN in out (float64[rows], probabilities made
    before learning) and logits (float64[rows]). page_seqs[slot >> page_shift] becomes seq for each
    touched slot. `examples` is the number of examples folded before; returns the new one.
    """
    width = len(lanes)
    narrow = narrowed(k)
    sums, residuals = np.empty(ACCUMULATORS * width, np.float32), np.empty(width, np.float32)
    ws = np.empty(longest_row(row_offsets) * width, np.float32)
    ps, bs, factors = np.empty(width), np.empty(width), np.empty(VIEWS * width, np.float32)
    for r in range(labels.size):
        prefetch_row(table, width, hashes, row_offsets, r + AHEAD)
        if skip[r]:
            out[r] = logits[r] = np.nan
            continue
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        view_factors(k, values, views, start, count, factors)
        score_row(lanes, table, narrow, hashes, values, views, start, count, factors, sums, ws)
        for lane in range(width):
            bs[lane] = bias_weight(bias, k, lane)
            logits[r] = clamped_logit(joined(sums, width, lane), bs[lane])
            ps[lane] = sigmoid(logits[r])
            residual = (ps[lane] - np.float64(labels[r])) * np.float64(weights[r])
            residuals[lane] = np.float32(residual)
            update_bias(bias, residual, bs[lane], k, lane)
        out[r] = mixed(posterior, ps)
        if width > 1:
            logits[r] = logit_of(out[r])
            weight_of_row = np.float64(weights[r])
            update_posterior(posterior, ps, labels[r], weight_of_row, k[SHARE, 0])
        update_row(
            lanes, table, narrow, hashes, values, views, start, count, factors, residuals, ws,
            example_seed(seed, examples), page_seqs, page_shift, seq,
        )  # fmt: skip
        examples += 1
    return examples
