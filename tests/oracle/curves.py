"""History and reliability from raw predictions, with NumPy and scikit-learn: the oracle.

Written from docs/observing.md; nothing of ftrl_core is imported. Points are taken every 1000
examples, and every 2000 once there are 512 of them, and so on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

F64 = npt.NDArray[np.float64]
EDGES = np.linspace(-15.0, 15.0, 129)


@dataclass
class Raw:
    """What was learned, in order."""

    p: F64
    labels: npt.NDArray[np.uint8]
    weights: F64

    def part(self, first: int, last: int) -> Raw:
        cut = slice(first, last)
        return Raw(self.p[cut], self.labels[cut], self.weights[cut])


def interval_of(examples: int) -> int:
    """Examples between two points, by then."""
    interval = 1000
    while examples >= 512 * interval:
        interval *= 2
    return interval


def figures(raw: Raw) -> dict[str, float | None]:
    """Of one stretch of examples; the base rate's loss is not among them."""
    y, w = raw.labels.astype(float), raw.weights
    weight, clicks, predicted = w.sum(), (w * y).sum(), (w * raw.p).sum()
    loss = -(w * (y * np.log(raw.p) + (1 - y) * np.log1p(-raw.p))).sum() / weight
    rate = clicks / weight
    mixed = 0.0 < rate < 1.0
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate) if mixed else 0.0
    return {
        "log_loss": loss,
        "normalized_entropy": loss / entropy if mixed else None,
        "auc": roc_auc_score(y, raw.p, sample_weight=w) if mixed else None,
        "calibration": predicted / clicks if clicks else None,
        "mean_label": rate,
        "mean_prediction": predicted / weight,
    }


def base_losses(raw: Raw) -> F64:
    """The running base rate's loss of each example."""
    weight = np.concatenate([[0.0], np.cumsum(raw.weights)[:-1]])
    clicks = np.concatenate([[0.0], np.cumsum(raw.weights * raw.labels)[:-1]])
    base = (clicks + 0.5) / (weight + 1.0)
    return -np.log(np.where(raw.labels, base, 1 - base))


def bins(raw: Raw, *, single: bool = False) -> dict[str, F64]:
    """By reliability bin; `single` where logits were kept in single precision."""
    logits = np.log(raw.p) - np.log1p(-raw.p)
    if single:
        logits = logits.astype(np.float32).astype(float)
    place = np.clip(np.searchsorted(EDGES, logits, side="right") - 1, 0, 127)
    sums = (np.ones(raw.p.size), raw.weights, raw.weights * raw.labels, raw.weights * raw.p)
    names = ("examples", "weight", "clicks", "predicted")
    found = {name: np.zeros(128) for name in names}
    for name, values in zip(names, sums, strict=True):
        np.add.at(found[name], place, values)
    return found
