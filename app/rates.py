"""Rates and latencies of the last seconds, from counters that only grow.

A reading is what the counters were at a moment; the rate is the difference of the newest and one
some seconds older, and a percentile is read from the difference of two histograms: the upper bound
of the bucket that it lies in, interpolated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

SPAN_SECONDS = 10.0
PERCENTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
Buckets = Sequence[int]


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at a moment: examples learned, and the seconds histogram of each kind of request."""

    at: float  # monotonic
    examples: int
    seconds: Mapping[str, Buckets]


class Rates:
    """Readings of the last SPAN_SECONDS, and what follows from them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._readings: deque[Reading] = deque()

    def note(self, reading: Reading) -> dict[str, Any]:
        """Rates up to this reading; None where nothing older is known."""
        readings = self._readings
        while readings and reading.at - readings[0].at > SPAN_SECONDS:
            readings.popleft()
        if readings and reading.examples < readings[-1].examples:  # a restore: begin anew
            readings.clear()
        readings.append(reading)
        oldest = readings[0]
        elapsed = reading.at - oldest.at
        told: dict[str, Any] = {"learn_per_second": None, "latency": {}}
        if elapsed > 0:
            told["learn_per_second"] = (reading.examples - oldest.examples) / elapsed
        for kind, buckets in reading.seconds.items():
            before = oldest.seconds.get(kind, [0] * len(buckets))
            recent = [b - a for a, b in zip(before, buckets, strict=True)]
            rate = sum(recent) / elapsed if elapsed > 0 else None
            told[f"{kind}_requests_per_second"] = rate
            told["latency"][kind] = percentiles(self._bounds, recent)
        return told


def percentiles(bounds: Sequence[float], buckets: Buckets) -> dict[str, float | None]:
    """Milliseconds; None without a request, and the last bound for what lies above it."""
    totals = list(accumulate(buckets))
    if not totals or not totals[-1]:
        return dict.fromkeys(PERCENTILES)
    return {name: 1e3 * _at(bounds, totals, share) for name, share in PERCENTILES.items()}


def _at(bounds: Sequence[float], totals: Sequence[int], share: float) -> float:
    wanted = share * totals[-1]
    i = next(i for i, total in enumerate(totals) if total >= wanted)
    if i >= len(bounds):
        return bounds[-1]
    below = totals[i - 1] if i else 0
    low = bounds[i - 1] if i else 0.0
    return low + (bounds[i] - low) * (wanted - below) / (totals[i] - below)
