"""The general kernel: every option of a model as a run-time argument.

One example of one lane after another, in scalar code, so that one compiled function serves every
combination of power, shrinkage, clipping, schedule, admission, rates from counts and any number of
lanes. The order of what is read and written is that of `kernels`, and where the options are neutral
so is every bit.

Clipping follows Keras (value, then norm by variable, then global norm) with the features of one
example as one variable and the bias as the other; norms are taken per lane, in float64.
"""

from __future__ import annotations

import numpy as np

from ftrl_core import coordinate
from ftrl_core.admission import sighted
from ftrl_core.batch import F32, I64, U8, U32
from ftrl_core.constants import (
    ADMISSION,
    ADMISSION_COUNT,
    ADMISSION_PROBABILITY,
    ADMIT_ALL,
    ADMIT_POISSON,
    ALPHA,
    CLIPNORM,
    CLIPVALUE,
    F64,
    GLOBAL_CLIPNORM,
    LOGIT_OFFSET,
    SHARE,
    derive,
)
from ftrl_core.dither import dither, example_seed
from ftrl_core.jit import kernel
from ftrl_core.kernels import (
    ACCUMULATORS,
    VIEWS,
    ZERO,
    clamped_logit,
    joined,
    longest_row,
    view_factors,
)
from ftrl_core.mixture import logit_of, mixed, update_posterior
from ftrl_core.numbers import sigmoid
from ftrl_core.schedules import rate_at

ADMISSION_SALT = np.uint32(0x5BD1E995)  # the dice of admission are not the dither's


@kernel
def scheduled(k: F64, schedule: F64, examples: int) -> F64:
    """A copy of the constants at the learning rate of this step; schedule[0] = 0 is a constant."""
    now = k.copy()
    if schedule[0] != 0.0:
        set_rate(now, rate_at(schedule, examples))
    return now


@kernel
def set_rate(k: F64, rate: float) -> None:
    """Put a learning rate, and what follows from it, into the constants of every lane."""
    for lane in range(k.shape[1]):
        k[ALPHA, lane] = rate
        derive(k, lane)


@kernel
def scaled_values(
    k: F64, values: F32, views: U8, start: int, count: int, factors: F32, xs: F32
) -> None:
    """x of the features start:start + count into xs (flat, feature by feature, lane by lane)."""
    width = k.shape[1]
    view_factors(k, values, views, start, count, factors)
    for j in range(count):
        for lane in range(width):
            factor = factors[width * np.int64(views[start + j]) + lane]
            xs[j * width + lane] = np.float32(values[start + j] * factor)


@kernel
def score_row(
    table: F32, k: F64, hashes: U32, xs: F32, start: int, count: int, sums: F32, ws: F32
) -> None:
    """The eight partial sums of the features start:start + count, and their weights in ws."""
    width = k.shape[1]
    mask = np.uint32(table.size // (2 * width) - 1)
    sums[:] = ZERO
    for j in range(count):
        at = 2 * width * np.int64(hashes[start + j] & mask)
        for lane in range(width):
            w = coordinate.weight(table[at + lane], table[at + width + lane], k, lane)
            ws[j * width + lane] = w
            place = (j & 7) * width + lane
            sums[place] = np.float32(sums[place] + np.float32(xs[j * width + lane] * w))


@kernel
def clipped(residual: np.float32, x: np.float32, k: F64, lane: int) -> np.float32:
    """The gradient of a coordinate, clipped by value."""
    g = np.float32(residual * x)
    bound = np.float32(k[CLIPVALUE, lane])
    return min(max(g, -bound), bound)


@kernel
def norm_factor(norm: float, bound: float) -> float:
    """What a gradient of this norm is multiplied with so that the norm is at most bound."""
    return bound / norm if norm > bound else 1.0


@kernel
def norm_factors(
    residual: np.float32, bias_g: float, xs: F32, count: int, k: F64, lane: int
) -> tuple[float, float]:
    """Factors of the features' gradients and of the bias's, for clipping by norm."""
    bound, overall = k[CLIPNORM, lane], k[GLOBAL_CLIPNORM, lane]
    if np.isinf(bound) and np.isinf(overall):
        return 1.0, 1.0
    square = 0.0
    for j in range(count):
        g = np.float64(clipped(residual, xs[j * k.shape[1] + lane], k, lane))
        square += g * g
    if not np.isinf(bound):
        return norm_factor(np.sqrt(square), bound), norm_factor(abs(bias_g), bound)
    both = norm_factor(np.sqrt(square + bias_g * bias_g), overall)
    return both, both


@kernel
def untouched(table: F32, at: int, width: int) -> bool:
    """Whether a slot's record is all zero."""
    for i in range(2 * width):
        if table[at + i] != ZERO:
            return False
    return True


@kernel
def admitted(
    k: F64, counters: U8, cursor: I64, hashed: int, seed: int, noise: np.uint32, slot: int, j: int
) -> bool:
    """Whether a feature whose slot is untouched is learned now; counts the sighting."""
    if k[ADMISSION, 0] == ADMIT_POISSON:
        dice = dither(np.uint32(noise ^ ADMISSION_SALT), slot, j)
        return bool(dice < np.float32(k[ADMISSION_PROBABILITY, 0]))
    return bool(sighted(counters, cursor, hashed, seed) >= k[ADMISSION_COUNT, 0])


@kernel
def update_row(
    table: F32, k: F64, hashes: U32, xs: F32, start: int, count: int, residuals: F32,
    shrinks: F64, ws: F32, label: int, weight: np.float32, seed: int, noise: np.uint32,
    counters: U8, cursor: I64, page_seqs: I64, page_shift: int, seq: int,
) -> None:  # fmt: skip
    """Update the slots of the features start:start + count, in canonical order, in place."""
    width = k.shape[1]
    mask = np.uint32(table.size // (2 * width) - 1)
    for j in range(count):
        slot, hashed = int(hashes[start + j] & mask), int(hashes[start + j])
        at = 2 * width * slot
        if (
            k[ADMISSION, 0] != ADMIT_ALL
            and untouched(table, at, width)
            and not admitted(k, counters, cursor, hashed, seed, noise, slot, j)
        ):
            continue
        u = dither(noise, slot, j)
        for lane in range(width):
            x, w = xs[j * width + lane], ws[j * width + lane]
            amount = np.float32(weight * x)
            amount = np.float32(amount * amount)
            g = clipped(residuals[lane], x, k, lane)
            if shrinks[lane] != 1.0:
                g = np.float32(np.float64(g) * shrinks[lane])
            coordinate.update(table, at + lane, lane, g, w, u, label, amount, k)
        page_seqs[slot >> page_shift] = seq


@kernel
def predict_batch(
    table: F32, bias: F64, posterior: F64, constants: F64, schedule: F64, examples: int,
    row_offsets: I64, hashes: U32, values: F32, views: U8, out: F64,
) -> None:  # fmt: skip
    """Probabilities of all rows into out (float64[rows]); changes nothing else."""
    k = scheduled(constants, schedule, examples)
    width = k.shape[1]
    sums, ps = np.empty(ACCUMULATORS * width, np.float32), np.empty(width)
    longest, factors = longest_row(row_offsets) * width, np.empty(VIEWS * width, np.float32)
    xs, ws = np.empty(longest, np.float32), np.empty(longest, np.float32)
    for r in range(row_offsets.size - 1):
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        scaled_values(k, values, views, start, count, factors, xs)
        score_row(table, k, hashes, xs, start, count, sums, ws)
        for lane in range(width):
            b = coordinate.bias_weight(bias, k, lane)
            ps[lane] = sigmoid(clamped_logit(joined(sums, width, lane), b))
        out[r] = mixed(posterior, ps)


@kernel
def learn_lane(
    logit: float, b: float, label: int, weight: float, xs: F32, count: int,
    bias: F64, k: F64, lane: int, ps: F64, residuals: F32, shrinks: F64,
) -> None:  # fmt: skip
    """A lane's own prediction under the logit offset, its residual, and its bias updated."""
    offset = k[LOGIT_OFFSET, lane]
    ps[lane] = sigmoid(min(max(logit + offset, -20.0), 20.0) if offset > 0.0 else logit)
    residual = (ps[lane] - np.float64(label)) * weight
    residuals[lane] = np.float32(residual)
    bound = k[CLIPVALUE, lane]
    g = min(max(residual, -bound), bound)
    shrinks[lane], of_bias = norm_factors(residuals[lane], g, xs, count, k, lane)
    coordinate.update_bias(bias, g if of_bias == 1.0 else g * of_bias, b, k, lane)


@kernel
def learn_batch(
    table: F32, bias: F64, posterior: F64, constants: F64, schedule: F64, counters: U8, cursor: I64,
    seed: int, examples: int, row_offsets: I64, hashes: U32, values: F32, views: U8, labels: U8,
    weights: F32, skip: U8, page_seqs: I64, page_shift: int, seq: int, logits: F64, out: F64,
) -> int:  # fmt: skip
    """As `kernels.learn_batch`, and with the state of admission changed in place."""
    k = constants.copy()
    width = k.shape[1]
    sums, residuals = np.empty(ACCUMULATORS * width, np.float32), np.empty(width, np.float32)
    longest, factors = longest_row(row_offsets) * width, np.empty(VIEWS * width, np.float32)
    xs, ws = np.empty(longest, np.float32), np.empty(longest, np.float32)
    served, ps, shrinks = np.empty(width), np.empty(width), np.empty(width)
    for r in range(labels.size):
        if skip[r]:
            out[r] = logits[r] = np.nan
            continue
        if schedule[0] != 0.0:
            set_rate(k, rate_at(schedule, examples))
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        weight = np.float64(weights[r])
        scaled_values(k, values, views, start, count, factors, xs)
        score_row(table, k, hashes, xs, start, count, sums, ws)
        for lane in range(width):
            b = coordinate.bias_weight(bias, k, lane)
            logits[r] = clamped_logit(joined(sums, width, lane), b)
            served[lane] = sigmoid(logits[r])
            learn_lane(
                logits[r], b, labels[r], weight, xs, count, bias, k, lane, ps, residuals, shrinks,
            )  # fmt: skip
        out[r] = mixed(posterior, served)
        if width > 1:
            logits[r] = logit_of(out[r])
            update_posterior(posterior, ps, labels[r], weight, k[SHARE, 0])
        update_row(
            table, k, hashes, xs, start, count, residuals, shrinks, ws, labels[r], weights[r],
            seed, example_seed(seed, examples), counters, cursor, page_seqs, page_shift, seq,
        )  # fmt: skip
        examples += 1
    return examples
