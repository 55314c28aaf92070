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
    n'    = n + g^2                              rounded by a deterministic dither, see below

All of this in float32, except the bias b (its own float64 coordinate), the sigmoid and p - y.

What every kernel, also a later and faster one, must keep to the bit:
  * the sum runs in ACCUMULATORS = 8 partial sums in canonical order (feature j adds to j mod 8),
    joined as ((0+4)+(2+6)) + ((1+5)+(3+7));
  * all weights of an example are read before any of its coordinates is updated; two features that
    share a slot both use that weight, and update (z, n) one after the other in canonical order;
  * no fused multiply-add, no reassociation.

Dither. A hot coordinate's n grows until g^2 is below half its last bit, and then rounding to
nearest would stop it for ever, with the learning rate too high from then on. n' is therefore
rounded up or down with the probability that its remainder asks for (exact in expectation); the
"random" bits are a hash of (hash seed, number of examples folded, slot, place in the example), so
they are the same on every replica.

Finite by construction: |z| <= 1e19, n <= 1e38, the divisor >= 1e-18, so w is finite; a sum that
overflowed is clamped with the logit (not a number becomes 0).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import F32, I64, U8, U32
from ftrl_core.bits import bits_of_f32, f32_of_bits
from ftrl_core.jit import kernel
from ftrl_core.numbers import sigmoid

F64 = npt.NDArray[np.float64]

ACCUMULATORS = 8
LOGIT_MAX = 15.0
Z_MAX = np.float32(1e19)
N_MAX = np.float32(1e38)
DIVISOR_MIN = np.float32(1e-18)
ROOT_MIN = np.float32(1e-30)  # below the root of the least positive float32: only 0/0 meets it
ZERO = np.float32(0.0)
TWO_TO_MINUS_24 = np.float32(2.0**-24)

# Places in the float64 array of constants that `FoldConstants` makes once for a configuration.
ALPHA, BETA, N0, THRESHOLD, LAMBDA2, BIAS_THRESHOLD, BIAS_LAMBDA2 = range(7)
CONSTANTS = 7


@kernel
def weight(
    z: np.float32,
    n: np.float32,
    n0: np.float32,
    beta: np.float32,
    threshold: np.float32,
    lambda2: np.float32,
) -> np.float32:
    """w of a coordinate; threshold is alpha * l1, lambda2 is alpha times the paper's."""
    shrunk = z - min(max(z, -threshold), threshold)
    divisor = (beta + np.sqrt(n0 + n)) + lambda2
    return np.float32(ZERO - shrunk / max(divisor, DIVISOR_MIN))


@kernel
def bias_weight(bias: F64, k: F64) -> float:
    """The same in float64 for the bias (z, n) = (bias[0], bias[1]); k is the constants."""
    shrunk = bias[0] - min(max(bias[0], -k[BIAS_THRESHOLD]), k[BIAS_THRESHOLD])
    divisor = (k[BETA] + np.sqrt(k[N0] + bias[1])) + k[BIAS_LAMBDA2]
    return float(0.0 - shrunk / max(divisor, 1e-18))


@kernel
def joined(sums: F32) -> np.float32:
    """The eight partial sums joined in their one fixed order."""
    even = (sums[0] + sums[4]) + (sums[2] + sums[6])
    odd = (sums[1] + sums[5]) + (sums[3] + sums[7])
    return np.float32(even + odd)


@kernel
def clamped_logit(total: np.float32, bias: float) -> float:
    """Bias plus sum, clamped; what is not a number becomes 0."""
    logit = bias + np.float64(total)
    if not (logit == logit):
        return 0.0
    return min(max(logit, -LOGIT_MAX), LOGIT_MAX)


@kernel
def example_seed(seed: int, examples: int) -> np.uint32:
    """The dither's seed for an example: splitmix64 of the model's seed and its number."""
    x = np.uint64(examples) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint32((x ^ (x >> np.uint64(31))) & np.uint64(0xFFFFFFFF))


@kernel
def dither(seed: np.uint32, slot: int, place: int) -> np.float32:
    """A number in [0, 1) with 24 bits, a hash of its arguments (murmur3's finaliser)."""
    h = np.uint32((seed ^ np.uint32(slot)) + np.uint32(place) * np.uint32(0x9E3779B1))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    h = np.uint32(h ^ (h >> np.uint32(16)))  # each step cut to 32 bits: Numba would widen it
    return np.float32(h >> np.uint32(8)) * TWO_TO_MINUS_24


@kernel
def dithered_sum(n: np.float32, g2: np.float32, u: np.float32) -> np.float32:
    """n + g2 rounded up or down with the probability of its remainder; u in [0, 1) decides."""
    s = np.float32(n + g2)
    b = np.float32(s - n)
    remainder = np.float32(np.float32(n - np.float32(s - b)) + np.float32(g2 - b))  # Knuth: exact
    step = np.uint32(1) if remainder > ZERO else np.uint32(0xFFFFFFFF)
    neighbour = f32_of_bits(np.uint32(bits_of_f32(s) + step))
    moves = abs(remainder) > u * abs(np.float32(neighbour - s))  # never when remainder is 0
    return min(neighbour if moves else s, N_MAX)


@kernel
def update(
    table: F32,
    slot: int,
    g: np.float32,
    w: np.float32,
    u: np.float32,
    n0: np.float32,
    alpha: np.float32,
) -> None:
    """Update (z, n) of a slot in place for the gradient g at the weight w."""
    z = table[2 * slot]
    n = table[2 * slot + 1]
    total = n0 + n
    g2 = np.float32(g * g)
    root = np.sqrt(total + g2) + np.sqrt(total)
    sigma = g2 / max(root, ROOT_MIN)
    z = z + (alpha * g - sigma * w)
    table[2 * slot] = min(max(z, -Z_MAX), Z_MAX) + ZERO  # + 0 makes -0.0 into 0.0
    table[2 * slot + 1] = dithered_sum(n, g2, u)


@kernel
def update_bias(bias: F64, g: float, w: float, k: F64) -> None:
    """Update the bias (z, n) in place, in float64."""
    total = k[N0] + bias[1]
    g2 = g * g
    sigma = g2 / max(np.sqrt(total + g2) + np.sqrt(total), 1e-170)
    z = bias[0] + (k[ALPHA] * g - sigma * w)
    bias[0] = min(max(z, -1e19), 1e19) + 0.0
    bias[1] = bias[1] + g2


@kernel
def score_row(
    table: F32, k: F64, hashes: U32, values: F32, start: int, count: int, sums: F32, ws: F32
) -> np.float32:
    """The dot product of the features start:start + count; their weights are left in ws."""
    n0, beta = np.float32(k[N0]), np.float32(k[BETA])
    threshold, lambda2 = np.float32(k[THRESHOLD]), np.float32(k[LAMBDA2])
    mask = np.uint32(table.size // 2 - 1)
    sums[:] = ZERO
    for j in range(count):
        slot = int(np.int64(hashes[start + j] & mask))
        ws[j] = weight(table[2 * slot], table[2 * slot + 1], n0, beta, threshold, lambda2)
        sums[j & 7] += values[start + j] * ws[j]
    return joined(sums)


@kernel
def update_row(
    table: F32,
    k: F64,
    hashes: U32,
    values: F32,
    start: int,
    count: int,
    residual: np.float32,
    ws: F32,
    noise: np.uint32,
    page_seqs: I64,
    page_shift: int,
    seq: int,
) -> None:
    """Update every slot of the features start:start + count, in canonical order, in place."""
    n0, alpha = np.float32(k[N0]), np.float32(k[ALPHA])
    mask = np.uint32(table.size // 2 - 1)
    for j in range(count):
        slot = int(np.int64(hashes[start + j] & mask))
        g = np.float32(residual * values[start + j])
        update(table, slot, g, ws[j], dither(noise, slot, j), n0, alpha)
        page_seqs[slot >> page_shift] = seq


@kernel
def longest_row(row_offsets: I64) -> int:
    """The greatest number of features of a row."""
    longest = 0
    for r in range(row_offsets.size - 1):
        longest = max(longest, row_offsets[r + 1] - row_offsets[r])
    return longest


@kernel
def predict_batch(
    table: F32, bias: F64, k: F64, row_offsets: I64, hashes: U32, values: F32, out: F64
) -> None:
    """Probabilities of all rows into out (float64[rows]); changes nothing else."""
    sums = np.empty(ACCUMULATORS, np.float32)
    ws = np.empty(longest_row(row_offsets), np.float32)
    b = bias_weight(bias, k)
    for r in range(row_offsets.size - 1):
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        total = score_row(table, k, hashes, values, start, count, sums, ws)
        out[r] = sigmoid(clamped_logit(total, b))


@kernel
def learn_batch(
    table: F32,
    bias: F64,
    k: F64,
    seed: int,
    examples: int,
    row_offsets: I64,
    hashes: U32,
    values: F32,
    labels: U8,
    weights: F32,
    skip: U8,
    page_seqs: I64,
    page_shift: int,
    seq: int,
    logits: F64,
    out: F64,
) -> int:
    """Fold the rows in order; table, bias, page_seqs, logits and out are changed in place.

    Rows with skip[r] != 0 change nothing and get NaN in out (float64[rows], probabilities made
    before learning) and logits (float64[rows], clamped). page_seqs[slot >> page_shift] becomes seq
    for each touched slot. `examples` is the number of examples folded before; returns the new one.
    """
    sums = np.empty(ACCUMULATORS, np.float32)
    ws = np.empty(longest_row(row_offsets), np.float32)
    for r in range(labels.size):
        if skip[r]:
            out[r] = logits[r] = np.nan
            continue
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        b = bias_weight(bias, k)
        total = score_row(table, k, hashes, values, start, count, sums, ws)
        logits[r] = clamped_logit(total, b)
        out[r] = sigmoid(logits[r])
        residual = (out[r] - np.float64(labels[r])) * np.float64(weights[r])
        update_row(
            table, k, hashes, values, start, count, np.float32(residual), ws,
            example_seed(seed, examples), page_seqs, page_shift, seq,
        )  # fmt: skip
        update_bias(bias, residual, b, k)
        examples += 1
    return examples
