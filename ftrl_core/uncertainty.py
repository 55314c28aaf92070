"""How much a prediction could still move: the paper's uncertainty score (section 6).

With eta_i the learning rate that a coordinate has by now, and residuals below 1, one update changes
the logit of an example by at most

    u(x) = sum_i eta_i |x_i| max(1, |x_i|),   eta_i = alpha / (beta + R(N_i) + alpha lambda2)

with the bias among the coordinates: large where the features are new, small where they are well
known, at the price of one dot product. For |x_i| <= 1 this is the paper's score; the other factor
keeps the bound for larger values. N_i is what the coordinate has before the update, so the update
itself can only make the step smaller.

A mixture's logit moves by no more than the largest move of a lane, and besides by the posterior's
own move, which is greatest for one of: a click, no click, a weight of 0 (fixed share alone).
float32 rounds the sums, so a slack of a few units in their last place belongs to the bound; and no
logit, clamped to +-15, moves by more than 30.

The bound holds for the next example with weight at most 1, distinct slots, and no shrinkage.
"""

from __future__ import annotations

import numpy as np

from ftrl_core import coordinate
from ftrl_core.batch import F32, I64, U8, U32
from ftrl_core.constants import ALPHA, BIAS_ALPHA, F64, LOGIT_OFFSET, SHARE
from ftrl_core.general import scaled_values, scheduled, score_row
from ftrl_core.jit import kernel
from ftrl_core.kernels import (
    ACCUMULATORS,
    LOGIT_MAX,
    VIEWS,
    clamped_logit,
    joined,
    longest_row,
)
from ftrl_core.mixture import logit_of, mixed, update_posterior
from ftrl_core.numbers import sigmoid

SLACK = 2.0**-20  # of the sum of |x w|: roundings of the weights, products and partial sums
FLOOR = 1e-9  # of a logit: the rounding of the float64 part


@kernel
def step_bound(x: np.float32, eta: float) -> float:
    """The most that a coordinate's update moves x w."""
    size = abs(np.float64(x))
    return eta * size * max(1.0, size)


@kernel
def posterior_move(posterior: F64, learning: F64, serving: F64, share: float) -> float:
    """The most that one update of the posterior moves the mixture's logit.

    learning are the lanes' probabilities that the update goes by, serving those that are mixed.
    """
    before = logit_of(mixed(posterior, serving))
    most = 0.0
    for outcome in range(3):
        after = posterior.copy()
        update_posterior(after, learning, outcome & 1, 1.0 if outcome < 2 else 0.0, share)
        if outcome == 2:
            for lane in range(after.size):
                after[lane] = (1.0 - share) * after[lane] + share / after.size
        most = max(most, abs(logit_of(mixed(after, serving)) - before))
    return most


@kernel
def uncertainty_batch(
    table: F32, bias: F64, posterior: F64, constants: F64, schedule: F64, examples: int,
    row_offsets: I64, hashes: U32, values: F32, views: U8, out: F64,
) -> None:  # fmt: skip
    """u of each row into out (float64[rows], in units of the logit); changes nothing else."""
    k = scheduled(constants, schedule, examples)
    width = k.shape[1]
    mask = np.uint32(table.size // (2 * width) - 1)
    sums, serving = np.empty(ACCUMULATORS * width, np.float32), np.empty(width)
    learning = np.empty(width)
    longest, factors = longest_row(row_offsets) * width, np.empty(VIEWS * width, np.float32)
    xs, ws = np.empty(longest, np.float32), np.empty(longest, np.float32)
    for r in range(row_offsets.size - 1):
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        scaled_values(k, values, views, start, count, factors, xs)
        score_row(table, k, hashes, xs, start, count, sums, ws)
        most = 0.0
        for lane in range(width):
            b = coordinate.bias_weight(bias, k, lane)
            logit = clamped_logit(joined(sums, width, lane), b)
            serving[lane] = sigmoid(logit)
            learning[lane] = sigmoid(min(logit + k[LOGIT_OFFSET, lane], 20.0))
            u = k[BIAS_ALPHA, lane] / coordinate.bias_divisor(bias[width + lane], k, lane)
            size = 0.0
            for j in range(count):
                at = 2 * width * np.int64(hashes[start + j] & mask) + width + lane
                divisor = np.float64(coordinate.divisor_of(table[at], k, lane))
                x = xs[j * width + lane]
                u += step_bound(x, k[ALPHA, lane] / divisor)
                size += abs(np.float64(x) * np.float64(ws[j * width + lane]))
            most = max(most, u * (1.0 + SLACK) + SLACK * size + FLOOR)
        if width > 1:
            most += posterior_move(posterior, learning, serving, k[SHARE, 0])
        out[r] = min(most, 2.0 * LOGIT_MAX)
