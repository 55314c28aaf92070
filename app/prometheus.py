"""Metrics for Prometheus: requests as they are counted, models as they are at the scrape.

Labels come from fixed sets only: the route's template (never the path), the method (unknown ones
are `other`), the status, and the names of models that exist. A client cannot make a series.

Requests are counted in one registry of the process. Models are read at the scrape from their own
statistics instead of being kept in step, so there is no second copy that could be stale; and a key
that is bound to some models sees only these.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app.route_table import MODEL_PREFIX

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BUCKETS = len(SECONDS_BUCKETS) + 1

# statistic of a model -> (metric, help). Only finite numbers are shown.
GAUGES: Mapping[str, tuple[str, str]] = {
    "log_loss": ("clickfold_log_loss", "Progressive mean log loss since creation or restore"),
    "base_rate_log_loss": ("clickfold_base_rate_log_loss", "Log loss of the running base rate"),
    "auc": ("clickfold_auc", "Progressive area under the ROC curve"),
    "normalized_entropy": (
        "clickfold_normalized_entropy",
        "Log loss over the entropy of the mean label",
    ),
    "calibration": ("clickfold_calibration", "Sum of predictions over sum of labels"),
    "stale_seconds": ("clickfold_stale_seconds", "Seconds since Redis last answered"),
    "log_bytes": ("clickfold_log_bytes", "Bytes of log kept in Redis"),
    "checkpoint_age_seconds": (
        "clickfold_checkpoint_age_seconds",
        "Seconds since the newest checkpoint",
    ),
    "checkpoint_seq": ("clickfold_checkpoint_seq", "Position of the newest checkpoint (its seq)"),
    "deduplication_window_seconds": (
        "clickfold_deduplication_window_seconds",
        "Age of the oldest event id remembered",
    ),
    "memory_bytes": ("clickfold_memory_bytes", "Memory of the model in this process"),
}
COUNTERS: Mapping[str, tuple[str, str]] = {
    "examples": ("clickfold_examples", "Examples folded"),
    "duplicates": ("clickfold_duplicates", "Examples recognised as duplicates"),
    "log_regressions": ("clickfold_log_regressions", "Times the log lost what was folded here"),
    "digest_comparisons": ("clickfold_digest_comparisons", "Comparisons with other replicas"),
    "digest_differences": ("clickfold_digest_differences", "Times this state was not the others'"),
}


class RequestMeter(Collector):
    """Counts requests and their seconds, by route template, method and status.

    Plain numbers of one thread, made into metrics at the scrape: the library's own counters lock
    at each step, which took longer than a prediction does.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[str, list[int]] = {}  # by template: how many fell into each bucket
        self._sums: dict[str, float] = {}
        self.registry.register(self)

    def count(self, template: str, method: str, status: int, seconds: float) -> None:
        """One request answered; `template` is of the route table, never a path."""
        key = (template, method if method in METHODS else "other", status)
        self._requests[key] = self._requests.get(key, 0) + 1
        counts = self._seconds.get(template)
        if counts is None:
            counts = self._seconds[template] = [0] * _BUCKETS
            self._sums[template] = 0.0
        counts[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        self._sums[template] += seconds

    def buckets_of(self, path: str) -> list[int]:
        """How many requests of this path, of any model, fell into each bucket of seconds."""
        both = (self._seconds.get(path), self._seconds.get(MODEL_PREFIX + path))
        counted = [buckets for buckets in both if buckets is not None]
        return [sum(column) for column in zip(*counted, strict=True)] or [0] * _BUCKETS

    def collect(self) -> Iterable[Metric]:
        """The two families."""
        labels = ("route", "method", "status")
        requests = CounterMetricFamily(
            "clickfold_http_requests", "Requests answered", labels=labels
        )
        for (template, method, status), count in self._requests.items():
            requests.add_metric((template, method, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "clickfold_http_request_seconds",
            "Seconds from a request's head to the end of its reply",
            labels=("route",),
        )
        bounds = [*map(floatToGoString, SECONDS_BUCKETS), "+Inf"]
        for template, counts in self._seconds.items():
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            seconds.add_metric((template,), buckets, self._sums[template])
        yield seconds


class _Models(Collector):
    """The statistics of models, as metric families."""

    def __init__(self, stats: Iterable[Mapping[str, Any]]) -> None:
        self._stats = list(stats)

    def collect(self) -> Iterable[Metric]:
        """Every family, also those without a sample, so that the set of names never changes."""
        yield self._positions()
        for statistic, (name, text) in GAUGES.items():
            yield self._filled(GaugeMetricFamily(name, text, labels=["model"]), statistic)
        for statistic, (name, text) in COUNTERS.items():
            yield self._filled(CounterMetricFamily(name, text, labels=["model"]), statistic)

    def _positions(self) -> Metric:
        text = "Position folded (its seq; dense over all epochs)"
        family = GaugeMetricFamily("clickfold_position_seq", text, labels=["model"])
        for stats in self._stats:
            _, _, seq = str(stats.get("position", "")).rpartition("-")
            if seq.isdigit():
                family.add_metric([str(stats["model"])], float(seq))
        return family

    def _filled(
        self, family: GaugeMetricFamily | CounterMetricFamily, statistic: str
    ) -> GaugeMetricFamily | CounterMetricFamily:
        for stats in self._stats:
            value = stats.get(statistic)
            if isinstance(value, int | float) and value == value:
                family.add_metric([str(stats["model"])], float(value))
        return family


def exposition(meter: RequestMeter | None, stats: Iterable[Mapping[str, Any]]) -> bytes:
    """The text of /metrics: requests (unless `meter` is None), then the models given."""
    models = CollectorRegistry()
    models.register(_Models(stats))
    requests = generate_latest(meter.registry) if meter is not None else b""
    return requests + generate_latest(models)
