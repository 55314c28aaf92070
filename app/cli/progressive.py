"""Progressive figures of a run: how good each prediction was, made just before its label was seen.

These are the run's own figures, computed here from the predictions that came back; the service's
/stats counts everything since the model was made, by whomever. Definitions are the service's:

    log_loss             weighted mean of -log p(label), natural logarithm
    calibration          sum of p over sum of y
    normalized_entropy   log_loss over the entropy of the mean label (He et al. 2014)
    auc                  from 2^14 bins of the logit in [-15, 15]; ties count one half

Binning keeps memory constant over an endless stream; sorting all scores would be exact and is not
needed, since the bins are within 1e-3 of it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

_BIN_COUNT = 1 << 14
_LOGIT_MAX = 15.0
_P_MIN = 1e-15  # a service never says 0 or 1; a mean must stay finite if something does


def log_losses(predictions: F64, labels: F64) -> F64:
    """-log p(label) of each example, float64[rows]; predictions in (0, 1), labels 0 or 1."""
    of_label = np.where(labels > 0, predictions, 1.0 - predictions)
    losses: F64 = -np.log(np.maximum(of_label, _P_MIN))
    return losses


class ProgressiveFigures:
    """Sums over scored examples, from which all figures follow."""

    def __init__(self) -> None:
        self.scored_count = 0
        self.loss_sum = 0.0
        self.weight_sum = 0.0
        self._label_sum = 0.0
        self._prediction_sum = 0.0
        self._clicks = np.zeros(_BIN_COUNT)
        self._others = np.zeros(_BIN_COUNT)

    def add(self, predictions: F64, labels: F64, weights: F64) -> None:
        """Take in examples, float64[rows] each; a NaN prediction (not learned) is left out."""
        scored = ~np.isnan(predictions)
        p, y, w = predictions[scored], labels[scored], weights[scored]
        self.scored_count += p.size
        self.loss_sum += float(np.sum(w * log_losses(p, y)))
        self.weight_sum += float(np.sum(w))
        self._label_sum += float(np.sum(w * y))
        self._prediction_sum += float(np.sum(w * p))
        bins = _bins(p)
        self._clicks += np.bincount(bins, weights=w * y, minlength=_BIN_COUNT)
        self._others += np.bincount(bins, weights=w * (1.0 - y), minlength=_BIN_COUNT)

    @property
    def log_loss(self) -> float | None:
        """Mean over all scored examples; None before the first."""
        return self.loss_sum / self.weight_sum if self.weight_sum > 0 else None

    @property
    def calibration(self) -> float | None:
        """Predicted over observed clicks; None before the first click."""
        return self._prediction_sum / self._label_sum if self._label_sum > 0 else None

    @property
    def normalized_entropy(self) -> float | None:
        """Log loss over that of always saying the mean label; None while all labels agree."""
        if self.log_loss is None or not 0 < self._label_sum < self.weight_sum:
            return None
        q = self._label_sum / self.weight_sum
        return self.log_loss / -(q * math.log(q) + (1 - q) * math.log(1 - q))

    @property
    def auc(self) -> float | None:
        """Chance that a click was scored above a non-click; None while all labels agree."""
        pairs = float(np.sum(self._clicks)) * float(np.sum(self._others))
        if pairs == 0:
            return None
        others_below = np.cumsum(self._others) - self._others
        return float(np.sum(self._clicks * (others_below + 0.5 * self._others))) / pairs

    def as_dict(self) -> dict[str, float | None]:
        """The figures under the names of /stats."""
        return {
            "log_loss": self.log_loss,
            "auc": self.auc,
            "normalized_entropy": self.normalized_entropy,
            "calibration": self.calibration,
        }


def _bins(predictions: F64) -> npt.NDArray[np.intp]:
    p = np.clip(predictions, _P_MIN, 1.0 - _P_MIN)
    logits = np.clip(np.log(p) - np.log1p(-p), -_LOGIT_MAX, _LOGIT_MAX)
    scaled = (logits + _LOGIT_MAX) * (_BIN_COUNT / (2 * _LOGIT_MAX))
    bins: npt.NDArray[np.intp] = np.minimum(scaled.astype(np.intp), _BIN_COUNT - 1)
    return bins
