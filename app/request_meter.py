"""Counts requests and their seconds, by route template, method and status.

Plain numbers of one thread, made into metrics at the scrape (app/prometheus.py): the library's own
counters lock at each step, which took longer than a prediction does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from app.connection_guard import ConnectionGuard

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BUCKETS = len(SECONDS_BUCKETS) + 1


class RequestMeter:
    """The counters of one process."""

    def __init__(self) -> None:
        self.guard: ConnectionGuard | None = None  # of the process, where there is one
        self._requests: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[str, list[int]] = {}  # by template: how many fell into each bucket
        self._sums: dict[str, float] = {}
        self._refused_before: Mapping[str, int] = {}

    def count(self, template: str, method: str, status: int, seconds: float) -> None:
        """One request answered; `template` is of the route table, never a path."""
        key = (template, method if method in METHODS else "other", status)
        self._requests[key] = self._requests.get(key, 0) + 1
        counts = self._seconds.get(template)
        if counts is None:
            counts = self._seconds[template] = [0] * BUCKETS
            self._sums[template] = 0.0
        counts[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self._sums[template] += seconds

    def document(self) -> dict[str, Any]:
        """All counters, JSON-able."""
        guard = self.guard
        refused = dict(self._refused_before)
        for reason, count in guard.refused.items() if guard is not None else ():
            refused[reason] = refused.get(reason, 0) + count
        return {
            "requests": [[*key, count] for key, count in self._requests.items()],
            "seconds": {name: list(counts) for name, counts in self._seconds.items()},
            "sums": dict(self._sums),
            "connections": len(guard) if guard is not None else 0,
            "refused": refused,
        }

    def go_on_from(self, document: Mapping[str, Any]) -> None:
        """Begin with the counters of the process before, from its `document`."""
        self._requests = {(row[0], row[1], row[2]): row[3] for row in document["requests"]}
        self._seconds = {name: list(counts) for name, counts in document["seconds"].items()}
        self._sums = dict(document["sums"])
        self._refused_before = dict(document["refused"])
