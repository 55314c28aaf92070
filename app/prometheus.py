"""Metrics for Prometheus: requests as they are counted, models as they are at the scrape.

Labels come from fixed sets only: the route's template (never the path), the method (unknown ones
are `other`), the status, the reason of a refusal, the worker's number, names of models that exist
and of keys that were given. A client cannot make a series. docs/metrics.md has every metric, and a
test compares.

A scrape shows the whole service, whichever worker answers (app/worker_figures.py):

    requests, connections      the sums of all workers
    a model's own figures      the fold's, equal on all replicas: those of the furthest one
    a replica's figures        one sample for each worker, with the label `replica`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app.request_meter import BUCKETS, SECONDS_BUCKETS
from app.worker_figures import Document, is_alive, summed
from ftrl_core.position import Position

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labelled = dict[tuple[str, ...], Document]
Named = Mapping[str, tuple[str, str]]  # statistic -> (metric, help)

# Of a model; only finite numbers are shown.
MODEL_GAUGES: Named = {
    "log_loss": ("clickfold_log_loss", "Progressive mean log loss since creation or restore"),
    "base_rate_log_loss": ("clickfold_base_rate_log_loss", "Log loss of the running base rate"),
    "auc": ("clickfold_auc", "Progressive area under the ROC curve"),
    "normalized_entropy": (
        "clickfold_normalized_entropy",
        "Log loss over the entropy of the mean label",
    ),
    "calibration": ("clickfold_calibration", "Sum of predictions over sum of labels"),
    "mean_label": ("clickfold_mean_label", "Rate of clicks"),
    "mean_prediction": ("clickfold_mean_prediction", "Mean of the predictions before learning"),
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
}
WINDOW_GAUGES: Named = {
    "examples": ("clickfold_window_examples", "Examples in the window: the latest 100,000"),
    "log_loss": ("clickfold_window_log_loss", "Mean log loss in the window"),
    "auc": ("clickfold_window_auc", "Area under the ROC curve in the window"),
    "normalized_entropy": ("clickfold_window_normalized_entropy", "Normalized entropy there"),
    "calibration": ("clickfold_window_calibration", "Sum of predictions over sum of labels there"),
    "mean_label": ("clickfold_window_mean_label", "Rate of clicks in the window"),
    "mean_prediction": ("clickfold_window_mean_prediction", "Mean prediction in the window"),
}
MODEL_COUNTERS: Named = {
    "examples": ("clickfold_examples", "Examples folded"),
    "duplicates": ("clickfold_duplicates", "Examples recognised as duplicates"),
}
REPLICA_GAUGES: Named = {
    "seq": ("clickfold_position_seq", "Position folded (its seq; dense over all epochs)"),
    "live": ("clickfold_replica_live", "1 where the replica serves and follows the log, else 0"),
    "can_learn": ("clickfold_can_learn", "1 where /learn is taken, else 0"),
    "durability_weak": (
        "clickfold_durability_weak",
        "1 where Redis does not keep the durability promised (/learn answers 503), else 0",
    ),
    "stale_seconds": ("clickfold_stale_seconds", "Seconds since Redis last answered"),
    "lag_entries": ("clickfold_log_lag_entries", "Entries of the log not folded yet"),
    "memory_bytes": ("clickfold_memory_bytes", "Memory of the model in this process"),
}
REPLICA_COUNTERS: Named = {
    "log_regressions": ("clickfold_log_regressions", "Times the log lost what was folded here"),
    "digest_comparisons": ("clickfold_digest_comparisons", "Comparisons with other replicas"),
    "digest_differences": ("clickfold_digest_differences", "Times this state was not the others'"),
}


class _Requests(Collector):
    """The requests of all workers."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents

    def collect(self) -> Iterable[Metric]:
        """Every family."""
        counted: Counter[tuple[str, ...]] = Counter()
        refused: Counter[str] = Counter()
        for one in self._documents:
            refused.update(one["refused"])
            for *key, count in one["requests"]:
                counted[tuple(map(str, key))] += count
        labels = ("route", "method", "status")
        yield _counter("clickfold_http_requests", "Requests answered", labels, counted)
        yield self._seconds()
        now = sum(one["connections"] for one in self._documents if is_alive(one))
        yield GaugeMetricFamily("clickfold_http_connections", "Connections that are open", now)
        text = "Refused or ended before the application, by the type of problem"
        reasons: Counter[tuple[str, ...]] = Counter()
        reasons.update({(reason,): count for reason, count in sorted(refused.items())})
        yield _counter("clickfold_http_refused", text, ("reason",), reasons)

    def _seconds(self) -> Metric:
        family = HistogramMetricFamily(
            "clickfold_http_request_seconds",
            "Seconds from a request's head to the end of its reply",
            labels=("route",),
        )
        bounds = [*map(floatToGoString, SECONDS_BUCKETS), "+Inf"]
        templates = dict.fromkeys(name for one in self._documents for name in one["seconds"])
        for template in templates:
            with_it = [one for one in self._documents if template in one["seconds"]]
            counts = summed((one["seconds"][template] for one in with_it), BUCKETS)
            total = sum(one["sums"][template] for one in with_it)
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric((template,), buckets, total)
        return family


class _Models(Collector):
    """The figures of models, by name of the model and worker."""

    def __init__(
        self, figures: Mapping[str, Mapping[int, Document]], windows: Mapping[str, Document]
    ) -> None:
        self._figures = figures
        self._furthest = {name: max(of.values(), key=_place) for name, of in figures.items()}
        self._windows = windows

    def collect(self) -> Iterable[Metric]:
        """Every family, also those without a sample, so that the set of names never changes."""
        by_model: Labelled = {(name,): of for name, of in self._furthest.items()}
        windows: Labelled = {(name,): of for name, of in self._windows.items()}
        by_replica: Labelled = {
            (name, str(number)): one
            for name, of in self._figures.items()
            for number, one in of.items()
        }
        model, replica = ("model",), ("model", "replica")
        yield from _families(GaugeMetricFamily, MODEL_GAUGES, model, by_model)
        yield from _families(GaugeMetricFamily, WINDOW_GAUGES, model, windows)
        yield from _families(CounterMetricFamily, MODEL_COUNTERS, model, by_model)
        yield from _families(GaugeMetricFamily, REPLICA_GAUGES, replica, by_replica)
        yield from _families(CounterMetricFamily, REPLICA_COUNTERS, replica, by_replica)
        keys: dict[tuple[str, ...], float] = {
            (*labels, key): examples
            for labels, one in by_replica.items()
            for key, examples in one.get("key_examples", {}).items()
        }
        text = "Examples learned, by key, since this process loaded the model"
        yield _counter("clickfold_key_examples", text, (*replica, "key"), keys)


def _place(figures: Document) -> tuple[int, int]:
    """How far a replica is; (0, 0) for one that serves no model."""
    position = figures.get("position")
    return Position.parse(position) if position else (0, 0)


def _counter(
    name: str, text: str, labels: Sequence[str], counts: Mapping[tuple[str, ...], float]
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, count in counts.items():
        family.add_metric(key, count)
    return family


def _families(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    names: Named,
    labels: Sequence[str],
    figures: Labelled,
) -> Iterator[Metric]:
    for statistic, (name, text) in names.items():
        family = kind(name, text, labels=labels)
        for key, one in figures.items():
            value = one.get(statistic)
            if isinstance(value, int | float) and value == value:
                family.add_metric(key, float(value))
        yield family


def exposition(
    documents: Sequence[Document],
    models: Iterable[str],
    windows: Mapping[str, Document],
    *,
    with_requests: bool,
) -> bytes:
    """The text of /metrics: requests of all workers, if wanted, and the models named."""
    registry = CollectorRegistry()
    if with_requests:
        registry.register(_Requests(documents))
    alive = [one for one in documents if is_alive(one)]
    figures = {
        name: {one["replica"]: one["models"][name] for one in alive if name in one["models"]}
        for name in models
    }
    registry.register(_Models({name: of for name, of in figures.items() if of}, windows))
    return generate_latest(registry)
