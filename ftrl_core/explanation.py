"""Why a prediction is what it is: each coordinate's share of the logit.

A lane's logit is its bias plus the sum of x w over what it sees. For one lane these are the
contributions. A mixture serves p = sum_l pi_l p_l, whose logit is no such sum; so contributions are
weighted by the posterior, sum_l pi_l x_l w_l, the bias alike, and what is left is told apart:

    logit = bias + sum of contributions + rest      rest: `mixture`, or where a logit was clamped

A number of which the lanes have two views has two coordinates: its logarithm and its bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ftrl_core import coordinate
from ftrl_core.batch import F32, I64, U8, U32, ExampleBatch
from ftrl_core.constants import ALPHA, F64, THRESHOLD
from ftrl_core.general import scaled_values, scheduled, score_row
from ftrl_core.jit import kernel
from ftrl_core.kernels import ACCUMULATORS, BIN_LANES, LINEAR_LANES, VIEWS, longest_row
from ftrl_core.numeric_features import AUTO, expanded

if TYPE_CHECKING:  # it imports this module
    from ftrl_core.coefficients import Coefficients

_VIEW_NAMES = {LINEAR_LANES: "logarithm", BIN_LANES: "bin"}


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One coordinate of an example; lists have an item for each lane."""

    feature: int  # the feature's index in the batch
    view: str  # of a number: logarithm, bin, or "" for the feature as it is
    slot: int
    x: list[float]  # what the lane sees, scaled; 0 where it does not see this view
    weight: list[float]
    n: list[float]
    learning_rate: list[float]  # that the next update of the coordinate begins from
    held_at_zero: list[bool]  # by l1: it was learned, and its weight is 0
    contribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """bias + contributions + rest = logit, of the probability that is served."""

    logit: float
    bias: float
    coordinates: list[Coordinate]
    rest: float


@kernel
def explain_batch(
    table: F32, bias: F64, constants: F64, schedule: F64, examples: int, row_offsets: I64,
    hashes: U32, values: F32, views: U8, xs: F32, ws: F32, rates: F64, held: U8, biases: F64,
) -> None:  # fmt: skip
    """Of every coordinate and lane (arrays flat, nnz * lanes) x, w, learning rate and whether l1
    holds it at zero; biases float64[lanes]. Changes these five and nothing else."""
    k = scheduled(constants, schedule, examples)
    width = k.shape[1]
    mask = np.uint32(table.size // (2 * width) - 1)
    sums, factors = np.empty(ACCUMULATORS * width, np.float32), np.empty(VIEWS * width, np.float32)
    longest = longest_row(row_offsets) * width
    x, w = np.empty(longest, np.float32), np.empty(longest, np.float32)
    for lane in range(width):
        biases[lane] = coordinate.bias_weight(bias, k, lane)
    for r in range(row_offsets.size - 1):
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        scaled_values(k, values, views, start, count, factors, x)
        score_row(table, k, hashes, x, start, count, sums, w)
        for i in range(count * width):
            j, lane = i // width, i % width
            at = 2 * width * np.int64(hashes[start + j] & mask) + lane
            n = table[at + width]
            to = start * width + i
            xs[to], ws[to] = x[i], w[i]
            rates[to] = k[ALPHA, lane] / np.float64(coordinate.divisor_of(n, k, lane))
            touched = table[at] != np.float32(0.0) or n != np.float32(0.0)
            held[to] = touched and w[i] == np.float32(0.0) and k[THRESHOLD, lane] > 0.0


def explained(
    state: Coefficients, batch: ExampleBatch, examples: int, predictions: F64
) -> list[Explanation]:
    """Of each row, whose probabilities as served are predictions (float64[rows])."""
    width, table = state.config.lanes, state.table
    row_offsets, hashes, values, views = expanded(state.config.numbers, batch)
    size = hashes.size * width
    xs, ws, rates = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size)
    held, biases = np.empty(size, np.uint8), np.empty(width)
    explain_batch(
        table.cells, state.bias, state.constants, state.schedule, examples, row_offsets, hashes,
        values, views, xs, ws, rates, held, biases,
    )  # fmt: skip
    by_lane = [a.reshape(-1, width) for a in (xs, ws, rates, held)]
    shares = by_lane[0].astype(np.float64) * by_lane[1] @ state.posterior
    features = _features_of(state, batch)
    records = table.cells.reshape(-1, 2, width)
    rows = []
    for row in range(batch.rows):
        coordinates = []
        for i in range(int(row_offsets[row]), int(row_offsets[row + 1])):
            slot = int(hashes[i]) & (len(records) - 1)
            x, w, rate, zero = (a[i].tolist() for a in by_lane)
            n, zero = records[slot, 1].tolist(), [bool(one) for one in zero]
            view = _VIEW_NAMES.get(int(views[i]), "")
            share = float(shares[i])
            coordinates.append(Coordinate(int(features[i]), view, slot, x, w, n, rate, zero, share))
        bias = float(biases @ state.posterior)
        logit = float(np.log(predictions[row]) - np.log1p(-predictions[row]))
        rest = logit - (bias + sum(one.contribution for one in coordinates))
        rows.append(Explanation(logit, bias, coordinates, rest))
    return rows


def _features_of(state: Coefficients, batch: ExampleBatch) -> I64:
    """int64[coordinates]: the feature of the batch that each coordinate comes from."""
    counts = np.ones(batch.nnz, np.int64)
    if state.config.numbers == AUTO:
        counts += batch.name_hashes == batch.feature_hashes
    return np.repeat(np.arange(batch.nnz), counts)
