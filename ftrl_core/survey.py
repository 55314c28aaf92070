"""A look at the whole table: how full it is, how its weights and n are spread, which are largest.

A slot's weight is the mixture's: each lane's, times the lane's posterior. The table is read piece
by piece, without a copy, so a look may run in a thread while the model is folded: then it is of no
one position, and a record that changes meanwhile may be seen half changed. Nothing is written.

    used       slots with a record: somebody's z or n is not zero
    nonzero    slots whose weight is not zero; l1 holds the others at zero
    features   an estimate by linear counting (Whang et al. 1990): -slots ln(1 - used / slots)
    colliding  share of these features that have a slot with another one: 1 - exp(-features / slots)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core import coordinate
from ftrl_core.batch import F32, I64
from ftrl_core.coefficients import Coefficients
from ftrl_core.constants import COUNTS, F64
from ftrl_core.general import scheduled
from ftrl_core.jit import kernel

LARGEST = 4096  # slots kept of a look, by size of weight
PIECE = 1 << 16  # slots looked at in one go
WEIGHT_LOW, WEIGHT_HIGH = -12, 6  # powers of two between which sizes of weights have bins
N_LOW, N_HIGH = -20, 28


@kernel
def _power(x: float, low: int, high: int) -> int:
    """The bin of x > 0 among powers of two from low to high, the ends taking what lies beyond."""
    exponent = np.int64(np.floor(np.log2(x)))
    return int(min(max(exponent, np.int64(low)), np.int64(high - 1)) - low)


@kernel
def _look(
    cells: F32, k: F64, posterior: F64, first: int, weights: F32, ns: F32, counts: I64,
    negative: I64, positive: I64, sums: I64,
) -> None:  # fmt: skip
    """Fill weights and ns of the slots from `first` on; add to counts (used, nonzero) and bins."""
    width = k.shape[1]
    for i in range(weights.size):
        at = 2 * width * (first + i)
        weight, n, used = 0.0, 0.0, False
        for lane in range(width):
            z, cell = cells[at + lane], cells[at + width + lane]
            used |= z != np.float32(0.0) or cell != np.float32(0.0)
            weight += posterior[lane] * np.float64(coordinate.weight(z, cell, k, lane))
            squares = coordinate.sum_of_squares(cell, k[COUNTS, lane] != 0.0)
            n += posterior[lane] * np.float64(squares)
        weights[i], ns[i] = weight, n
        counts[0] += used
        counts[1] += weight != 0.0
        if weight > 0.0:
            positive[_power(weight, WEIGHT_LOW, WEIGHT_HIGH)] += 1
        elif weight < 0.0:
            negative[_power(-weight, WEIGHT_LOW, WEIGHT_HIGH)] += 1
        if n > 0.0:
            sums[_power(n, N_LOW, N_HIGH)] += 1


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look found."""

    slots: int
    used: int
    nonzero: int
    negative: npt.NDArray[np.int64]  # weights below zero by powers of two of their size
    positive: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int64]  # n by powers of two
    largest: npt.NDArray[np.int64]  # slots with the largest weights, largest first
    weights: F32  # of these
    ns: F32  # of these

    @property
    def is_cut(self) -> bool:
        """Whether there are slots with a weight that are not listed."""
        return self.nonzero > self.largest.size

    @property
    def features(self) -> float | None:
        """How many features the table has met, estimated; None when it is full."""
        free = 1.0 - self.used / self.slots
        return -self.slots * math.log(free) if free > 0 else None

    @property
    def colliding(self) -> float:
        """The share of features that have a slot together with another one, estimated."""
        features = self.features
        return 1.0 if features is None else -math.expm1(-features / self.slots)

    def document(self) -> dict[str, Any]:
        """Counts, estimates and histograms, JSON-able."""
        used, slots = self.used, self.slots
        return {
            "slots": slots,
            "used": used,
            "occupancy": used / slots,
            "nonzero": self.nonzero,
            "sparsity": 1.0 - self.nonzero / used if used else None,
            "estimated": {"features": self.features, "colliding_share": self.colliding},
            "weights": self._weights(),
            "n": _histogram(self.sums, N_LOW),
        }

    def _weights(self) -> dict[str, list[Any]]:
        """Bins from the most negative to the most positive, zero between."""
        below, above = _histogram(self.negative, WEIGHT_LOW), _histogram(self.positive, WEIGHT_LOW)
        return {
            "low": [-x for x in below["high"][::-1]] + [0.0] + above["low"],
            "high": [-x for x in below["low"][::-1]] + [0.0] + above["high"],
            "count": below["count"][::-1] + [self.used - self.nonzero] + above["count"],
        }


def _histogram(counts: npt.NDArray[np.int64], low: int) -> dict[str, list[Any]]:
    powers = [2.0**i for i in range(low, low + counts.size + 1)]
    return {"low": powers[:-1], "high": powers[1:], "count": counts.tolist()}


def survey(state: Coefficients, examples: int) -> Survey:
    """Look at every slot; examples counts those folded so far: where a schedule is by now."""
    cells, posterior = state.table.cells, state.posterior.copy()
    k = scheduled(state.constants, state.schedule, examples)
    slots = cells.size // (2 * state.config.lanes)
    counts = np.zeros(2, np.int64)
    negative, positive = (np.zeros(WEIGHT_HIGH - WEIGHT_LOW, np.int64) for _ in range(2))
    sums = np.zeros(N_HIGH - N_LOW, np.int64)
    kept = _Slots(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))
    for first in range(0, slots, PIECE):
        size = min(PIECE, slots - first)
        weights, ns = np.empty(size, np.float32), np.empty(size, np.float32)
        _look(cells, k, posterior, first, weights, ns, counts, negative, positive, sums)
        some = np.flatnonzero(weights)
        kept = kept.joined(_Slots(some + first, weights[some], ns[some]))
    used, nonzero = (int(x) for x in counts)
    kept = kept.taken(np.argsort(-np.abs(kept.weights), kind="stable"))
    return Survey(slots, used, nonzero, negative, positive, sums, kept.slots, kept.weights, kept.ns)


@dataclass(frozen=True, slots=True)
class _Slots:
    """Some slots with their weights and n."""

    slots: npt.NDArray[np.int64]
    weights: F32
    ns: F32

    def taken(self, places: npt.NDArray[np.int64]) -> _Slots:
        return _Slots(self.slots[places], self.weights[places], self.ns[places])

    def joined(self, other: _Slots) -> _Slots:
        """The largest of both."""
        both = _Slots(
            np.concatenate([self.slots, other.slots]),
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.ns, other.ns]),
        )
        if both.slots.size <= LARGEST:
            return both
        return both.taken(np.argpartition(-np.abs(both.weights), LARGEST)[:LARGEST])
