"""Figures from what the fold keeps, as columns: what pages, CSV and plots are made of.

A figure is None where there is nothing to divide. Nothing here changes a model; ring and arrays are
copied first (`Looked`), between two entries, so the rest may run in a thread while the fold goes
on.

    history      curves.py: of the whole so far, and since the point before
    reliability  of bins of the prediction: examples, weight, clicks, predicted (sums), means, and
                 the 95 % interval (Wilson 1927) in which the rate of clicks lies
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core import curves
from ftrl_core.batch import F32, U8
from ftrl_core.constants import F64
from ftrl_core.kernels import LOGIT_MAX
from ftrl_core.metrics import Metrics

FIGURES = (
    "log_loss",
    "base_rate_log_loss",
    "normalized_entropy",
    "auc",
    "calibration",
    "mean_label",
    "mean_prediction",
)
Z_95 = 1.959963984540054
Column = list[float | None]


@dataclass(frozen=True, slots=True)
class Looked:
    """Copies of what the reports read, of one position."""

    curves: dict[str, Any]
    reliable: F64
    examples: npt.NDArray[np.int64]
    ring: tuple[F32, F32, U8]

    @staticmethod
    def at(metrics: Metrics) -> Looked:
        """To be taken between two entries."""
        kept = metrics.curves
        return Looked(
            kept.history(),
            kept.sums[curves.RELIABLE : curves.SINCE].copy(),
            kept.counts[curves.COUNTED :].copy(),
            metrics.ring(),
        )


def history(looked: Looked) -> dict[str, Any]:
    """Columns of the points, and the interval between two."""
    kept = looked.curves
    marks = {name: kept[name].tolist() for name in ("examples", "seq", "time_ms")}
    parts = {part: figures(kept[part]) for part in ("whole", "since")}
    return {
        "interval": kept["interval"],
        "began_at_example": kept["began_at_example"],
        **marks,
        **parts,
    }


def figures(rows: F64) -> dict[str, Column]:
    """Columns of FIGURES for rows of sums, AUC and pairs as `curves` has them."""
    weight, clicks, predicted, loss, base, auc, pairs = rows.T
    rate = divided(clicks, weight)
    mean_loss = divided(loss, weight)
    return {
        "log_loss": listed(mean_loss),
        "base_rate_log_loss": listed(divided(base, weight)),
        "normalized_entropy": listed(divided(mean_loss, entropy(rate))),
        "auc": listed(np.where(pairs > 0, auc, np.nan)),
        "calibration": listed(divided(predicted, clicks)),
        "mean_label": listed(rate),
        "mean_prediction": listed(divided(predicted, weight)),
    }


def reliability(looked: Looked) -> dict[str, Any]:
    """Columns of the bins, of the whole stream and of the window."""
    edges = 1.0 / (1.0 + np.exp(-np.linspace(-LOGIT_MAX, LOGIT_MAX, curves.RELIABILITY_BINS + 1)))
    whole = _bins(looked.examples, *looked.reliable.reshape(3, -1))
    return {
        "low": edges[:-1].tolist(),
        "high": edges[1:].tolist(),
        "whole": whole,
        "window": _window_bins(*looked.ring),
    }


def _window_bins(logits: F32, weights: F32, labels: U8) -> dict[str, Any]:
    wide = logits.astype(np.float64)
    fine = ((wide + LOGIT_MAX) * (curves.BINS / (2.0 * LOGIT_MAX))).astype(np.int64)
    bins = np.clip(fine, 0, curves.BINS - 1) // (curves.BINS // curves.RELIABILITY_BINS)
    weight, p = weights.astype(np.float64), 1.0 / (1.0 + np.exp(-wide))

    def summed(values: F64 | None) -> npt.NDArray[Any]:
        return np.bincount(bins, values, curves.RELIABILITY_BINS)

    return _bins(summed(None), summed(weight), summed(weight * labels), summed(weight * p))


def _bins(examples: Any, weight: F64, clicks: F64, predicted: F64) -> dict[str, Any]:
    rate = divided(clicks, weight)
    low, high = wilson(rate, examples)
    return {
        "examples": examples.tolist(),
        "weight": weight.tolist(),
        "clicks": clicks.tolist(),
        "predicted": predicted.tolist(),
        "mean_prediction": listed(divided(predicted, weight)),
        "mean_label": listed(rate),
        "mean_label_low": listed(low),
        "mean_label_high": listed(high),
    }


def wilson(rate: F64, count: Any) -> tuple[F64, F64]:
    """The ends of the 95 % interval of a rate seen in so many examples."""
    n = np.maximum(count, 1).astype(np.float64)
    z2 = Z_95 * Z_95
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * np.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)


def divided(a: F64, b: F64) -> F64:
    """a / b, NaN where b is 0."""
    quotient: F64 = np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
    return quotient


def entropy(rate: F64) -> F64:
    """Of a click at this rate; 0 where it is certain."""
    inside = np.where((rate > 0) & (rate < 1), rate, 0.5)
    bits = -inside * np.log(inside) - (1 - inside) * np.log(1 - inside)
    return np.where((rate > 0) & (rate < 1), bits, 0.0)


def listed(column: npt.NDArray[Any]) -> Column:
    """The column as JSON: None for NaN."""
    return [None if x != x else x for x in column.tolist()]
