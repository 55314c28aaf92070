"""How learning went and how far predictions can be believed: kept by the fold beside `metrics`.

    reliability  of predictions in 128 bins, equal in logit over +-15 (a step of 0.23): examples,
                 weight, clicks, sum of predictions
    history      a point after every `interval` examples: the sums of the whole stream so far and of
                 the examples since the point before, both with their AUC

A full history (512 points) is thinned: each two points become one, and the interval doubles. The
sums of "since" are then exact as before; its AUC is the mean of its parts', weighted by their pairs
of a click and a non-click. AUC is counted in the bins of `metrics`, from the lowest to the highest
that is in use: all 2^14 would take longer than folding the examples between two points.

Both begin with the model, with a restore, or where a checkpoint was loaded that an older version
had written, which has neither. A row's `seq` and `time_ms` are those of the entry that completed
it; all else does not depend on how examples were grouped into entries.

State: two flat arrays, so that a kernel is given few, and the points:

    sums    float64: weight, clicks, predicted, loss, base rate loss since the last point; then
            weight, clicks and predicted by reliability bin; then weights by label and bin of
            `metrics` since the last point
    counts  int64: points, interval, examples since the last point, examples observed, examples of
            the model before the first observed, lowest and highest bin since the last point and
            at all; then examples by reliability bin
    points  float64[512, 14]: the five sums, AUC and pairs of the whole, then since
    marks   int64[512, 3]: examples observed, seq, time_ms
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ftrl_core.batch import I64
from ftrl_core.constants import F64
from ftrl_core.jit import inner_kernel, kernel

BINS = 1 << 14  # of `metrics`
RELIABILITY_BINS = 128
SUMS = 5
RELIABLE = SUMS
SINCE = RELIABLE + 3 * RELIABILITY_BINS
SUMS_SIZE = SINCE + 2 * BINS
POINTS, INTERVAL, WAITING, OBSERVED, BEGAN, LOW, HIGH, LOWEST, HIGHEST, COUNTED = range(10)
COUNTS_SIZE = COUNTED + RELIABILITY_BINS
POINTS_MAX, POINT, MARK = 512, 14, 3
AUC, PAIRS, OF_SINCE = SUMS, SUMS + 1, SUMS + 2
FIRST_INTERVAL = 1000


@inner_kernel
def observe(
    sums: F64, counts: I64, fine: int, label: int, weight: float, p: float, loss: float, base: float
) -> bool:
    """Count one example, whose bin of `metrics` is given; whether a point is due now."""
    coarse = fine // (BINS // RELIABILITY_BINS)
    clicks, predicted = weight * np.float64(label), weight * p
    sums[RELIABLE + coarse] += weight
    sums[RELIABLE + RELIABILITY_BINS + coarse] += clicks
    sums[RELIABLE + 2 * RELIABILITY_BINS + coarse] += predicted
    counts[COUNTED + coarse] += 1
    sums[0] += weight
    sums[1] += clicks
    sums[2] += predicted
    sums[3] += weight * loss
    sums[4] += weight * base
    sums[SINCE + label * BINS + fine] += weight
    counts[LOW] = min(counts[LOW], fine)
    counts[HIGH] = max(counts[HIGH], fine)
    counts[OBSERVED] += 1
    counts[WAITING] += 1
    return bool(counts[WAITING] >= counts[INTERVAL])


@inner_kernel
def _area(negative: F64, positive: F64, low: int, high: int, point: F64, at: int) -> None:
    """AUC and pairs of the bins from low to high, into point[at + AUC] and point[at + PAIRS]."""
    negatives, positives, ordered = 0.0, 0.0, 0.0
    for i in range(low, high + 1):
        ordered += positive[i] * (negatives + 0.5 * negative[i])
        negatives += negative[i]
        positives += positive[i]
    pairs = negatives * positives
    point[at + AUC] = ordered / pairs if pairs > 0.0 else 0.0
    point[at + PAIRS] = pairs


@kernel
def take_point(
    whole: F64, bins: F64, sums: F64, counts: I64, points: F64, marks: I64, seq: int, time_ms: int
) -> None:
    """Add a point; `whole` and `bins` hold the sums and bins of the stream so far."""
    i, low, high = counts[POINTS], counts[LOW], counts[HIGH]
    point = points[i]
    for k in range(SUMS):
        point[k], point[OF_SINCE + k] = whole[k], sums[k]
        sums[k] = 0.0
    counts[LOWEST], counts[HIGHEST] = min(counts[LOWEST], low), max(counts[HIGHEST], high)
    _area(bins[0], bins[1], counts[LOWEST], counts[HIGHEST], point, 0)
    negative, positive = sums[SINCE : SINCE + BINS], sums[SINCE + BINS :]
    _area(negative, positive, low, high, point, OF_SINCE)
    negative[low : high + 1] = 0.0
    positive[low : high + 1] = 0.0
    marks[i, 0], marks[i, 1], marks[i, 2] = counts[OBSERVED], seq, time_ms
    counts[POINTS], counts[WAITING] = i + 1, 0
    counts[LOW], counts[HIGH] = BINS, -1
    if i + 1 == POINTS_MAX:
        _thin(counts, points, marks)


@inner_kernel
def _thin(counts: I64, points: F64, marks: I64) -> None:
    """Make one point of each two, and double the interval."""
    for i in range(POINTS_MAX // 2):
        first, second, into = points[2 * i], points[2 * i + 1], points[i]
        pairs = first[OF_SINCE + PAIRS] + second[OF_SINCE + PAIRS]
        ordered = first[OF_SINCE + AUC] * first[OF_SINCE + PAIRS]
        ordered += second[OF_SINCE + AUC] * second[OF_SINCE + PAIRS]
        for k in range(SUMS):
            into[OF_SINCE + k] = first[OF_SINCE + k] + second[OF_SINCE + k]
        into[OF_SINCE + AUC] = ordered / pairs if pairs > 0.0 else 0.0
        into[OF_SINCE + PAIRS] = pairs
        for k in range(OF_SINCE):
            into[k] = second[k]
        for k in range(MARK):
            marks[i, k] = marks[2 * i + 1, k]
    points[POINTS_MAX // 2 :] = 0.0
    marks[POINTS_MAX // 2 :] = 0
    counts[POINTS] = POINTS_MAX // 2
    counts[INTERVAL] *= 2


class Curves:
    """The arrays above; changed by the fold's kernel only."""

    def __init__(self) -> None:
        self.sums: F64 = np.zeros(SUMS_SIZE)
        self.counts: I64 = np.zeros(COUNTS_SIZE, np.int64)
        self.counts[INTERVAL] = FIRST_INTERVAL
        self.counts[LOW], self.counts[HIGH] = BINS, -1
        self.counts[LOWEST], self.counts[HIGHEST] = BINS, -1
        self.points: F64 = np.zeros((POINTS_MAX, POINT))
        self.marks: I64 = np.zeros((POINTS_MAX, MARK), np.int64)

    def begin(self, examples: int, scored: int) -> None:
        """To be called before a batch: how many examples the model has learned and scored."""
        if not self.counts[OBSERVED]:
            self.counts[BEGAN] = examples
            if scored:  # which bins these are in is not known
                self.counts[LOWEST], self.counts[HIGHEST] = 0, BINS - 1

    def to_bytes(self) -> bytes:
        """counts, sums (of the bins since the last point those in use), points and marks in use;
        nothing before the first example."""
        if not self.counts[OBSERVED]:
            return b""
        used, low, high = (int(self.counts[i]) for i in (POINTS, LOW, HIGH))
        bins = self.sums[SINCE:].reshape(2, BINS)[:, low : high + 1]
        arrays = (self.counts, self.sums[:SINCE], bins, self.points[:used], self.marks[:used])
        return b"".join(array.tobytes() for array in arrays)

    @staticmethod
    def from_bytes(content: bytes) -> Curves:
        """What `to_bytes` gave; ValueError when it is nothing that the fold could have made."""
        curves = Curves()
        if not content:
            return curves
        curves.counts[:] = np.frombuffer(content, np.int64, COUNTS_SIZE)
        used, interval, waiting = (int(x) for x in curves.counts[:OBSERVED])
        low, high, lowest, highest = (int(x) for x in curves.counts[LOW:COUNTED])
        inside = min(low, lowest) >= 0 and low <= BINS and max(high, highest) < BINS
        if not 0 <= used < POINTS_MAX or not 0 <= waiting < interval or not inside:
            raise ValueError("the history is not one")
        width = max(0, high + 1 - low)
        sizes = (SINCE, 2 * width, used * POINT, used * MARK)
        if len(content) != 8 * (COUNTS_SIZE + sum(sizes)):
            raise ValueError("the history has another size")
        at = 8 * (COUNTS_SIZE + np.cumsum([0, *sizes]))
        sums, bins, points = (
            np.frombuffer(content, np.float64, size, int(first))
            for size, first in zip(sizes[:3], at[:3], strict=True)
        )
        if not all(np.isfinite(numbers).all() for numbers in (sums, bins, points)):
            raise ValueError("a sum of the history is not finite")
        curves.sums[:SINCE] = sums
        curves.sums[SINCE:].reshape(2, BINS)[:, low : low + width] = bins.reshape(2, width)
        curves.points[:used] = points.reshape(used, POINT)
        marks = np.frombuffer(content, np.int64, sizes[3], int(at[3]))
        curves.marks[:used] = marks.reshape(used, MARK)
        return curves

    def history(self) -> dict[str, Any]:
        """The points as columns: marks and, of the whole and of "since", the sums by name."""
        used = int(self.counts[POINTS])
        marks, points = self.marks[:used].copy(), self.points[:used].copy()
        began = int(self.counts[BEGAN])
        return {
            "interval": int(self.counts[INTERVAL]),
            "began_at_example": began,
            "examples": marks[:, 0] + began,
            "seq": marks[:, 1],
            "time_ms": marks[:, 2],
            "whole": points[:, :OF_SINCE],
            "since": points[:, OF_SINCE:],
        }
