"""Progressive validation: each example is scored before it is learned, as part of the fold.

All sums are weighted by the example's importance. Kept for the whole stream (since the model was
made or restored) and, as a ring of scores, for the window of the latest 100,000 examples:

    log_loss             mean of -log p(label)
    base_rate_log_loss   the same for the running base rate (clicks + 1/2) / (examples + 1)
    calibration          sum of p / sum of labels
    normalized_entropy   mean log loss / entropy of the final mean label (He et al. 2014, eq. 3)
    auc                  from the counts of scores in 2^14 equal bins of the logit over +-15; ties
                         inside a bin count half, so it is within 1e-3 of exact

Window figures are computed from the ring when asked: nothing is ever subtracted from a sum, so no
error builds up. Beside them, in the same pass, the history and the reliability bins of `curves` are
kept. Layout of the state, little-endian: sums float64[5] (weight, clicks, predicted,
loss, base rate loss), scored int64, bins float64[2, BINS] (label 0, label 1), and of the ring
logit float32, weight float32 and label uint8, slot scored % WINDOW being the next.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import F32, I64, U8
from ftrl_core.constants import F64
from ftrl_core.curves import BINS, Curves, observe, take_point
from ftrl_core.jit import kernel
from ftrl_core.kernels import LOGIT_MAX
from ftrl_core.numbers import log, sigmoid

WINDOW = 100_000
WEIGHT, CLICKS, PREDICTED, LOSS, BASE_LOSS = range(5)


@kernel
def bin_of(logit: float) -> int:
    """The bin of a clamped logit."""
    place = np.int64((logit + LOGIT_MAX) * (BINS / (2.0 * LOGIT_MAX)))
    return int(min(max(place, np.int64(0)), np.int64(BINS - 1)))


@kernel
def _loss(p: float, label: int) -> float:
    return -log(p) if label else -log(1.0 - p)


@kernel
def _score_batch(
    logits: F64,
    predictions: F64,
    labels: U8,
    weights: F32,
    skip: U8,
    scored: int,
    sums: F64,
    bins: F64,
    ring_logits: F32,
    ring_weights: F32,
    ring_labels: U8,
    curve_sums: F64,
    curve_counts: I64,
    points: F64,
    marks: I64,
    losses: F64,
    seq: int,
    time_ms: int,
) -> int:
    for r in range(labels.size):
        if skip[r]:
            continue
        weight = np.float64(weights[r])
        clicked = np.float64(labels[r])
        base = (sums[CLICKS] + 0.5) / (sums[WEIGHT] + 1.0)
        loss, base_loss = _loss(predictions[r], labels[r]), _loss(base, labels[r])
        losses[r] = loss
        sums[LOSS] += weight * loss
        sums[BASE_LOSS] += weight * base_loss
        sums[WEIGHT] += weight
        sums[CLICKS] += weight * clicked
        sums[PREDICTED] += weight * predictions[r]
        label, fine = np.int64(labels[r]), bin_of(logits[r])
        bins[label, fine] += weight
        p = predictions[r]
        if observe(curve_sums, curve_counts, fine, int(label), weight, p, loss, base_loss):
            take_point(sums, bins, curve_sums, curve_counts, points, marks, seq, time_ms)
        place = scored % WINDOW
        ring_logits[place] = logits[r]
        ring_weights[place] = weights[r]
        ring_labels[place] = labels[r]
        scored += 1
    return scored


@kernel
def _score_ring(logits: F32, weights: F32, labels: U8, sums: F64, bins: F64) -> None:
    for r in range(labels.size):
        weight = np.float64(weights[r])
        p = sigmoid(np.float64(logits[r]))
        sums[WEIGHT] += weight
        sums[CLICKS] += weight * np.float64(labels[r])
        sums[PREDICTED] += weight * p
        sums[LOSS] += weight * _loss(p, labels[r])
        bins[np.int64(labels[r]), bin_of(np.float64(logits[r]))] += weight


class Metrics:
    """The state of progressive validation; `update` is called by the fold only."""

    def __init__(self) -> None:
        self.sums: F64 = np.zeros(5)
        self.scored = 0
        self.bins: F64 = np.zeros((2, BINS))
        self._logits: F32 = np.zeros(WINDOW, np.float32)
        self._weights: F32 = np.zeros(WINDOW, np.float32)
        self._labels: U8 = np.zeros(WINDOW, np.uint8)
        self.curves = Curves()

    def update(
        self,
        logits: F64,
        predictions: F64,
        labels: U8,
        weights: F32,
        skip: U8,
        seq: int = 0,
        time_ms: int = 0,
    ) -> F64:
        """Score rows with skip[r] == 0; arrays of one length, as `learn_batch` filled them.

        seq and time_ms are of their entry. Returns the loss of each row that was scored.
        """
        losses, curves = np.empty(labels.size), self.curves
        self.scored = _score_batch(
            logits,
            predictions,
            labels,
            weights,
            skip,
            self.scored,
            self.sums,
            self.bins,
            self._logits,
            self._weights,
            self._labels,
            curves.sums,
            curves.counts,
            curves.points,
            curves.marks,
            losses,
            seq,
            time_ms,
        )
        return losses

    def summary(self) -> dict[str, Any]:
        """Figures of the whole stream and of the window; None where there is nothing to divide."""
        return {**self.whole(), "window": window_figures(*self.ring())}

    def whole(self) -> dict[str, Any]:
        """Figures of the whole stream alone, in a hundredth of the time."""
        whole = _figures(self.sums, self.bins)
        weight = self.sums[WEIGHT]
        whole["base_rate_log_loss"] = float(self.sums[BASE_LOSS] / weight) if weight else None
        return whole

    def ring(self) -> tuple[F32, F32, U8]:
        """A copy of the scores of the window: logits, weights, labels; in no order."""
        used = min(self.scored, WINDOW)
        return self._logits[:used].copy(), self._weights[:used].copy(), self._labels[:used].copy()

    def ring_bytes(self) -> bytes:
        """The used part of the ring: logits, weights, labels."""
        used = min(self.scored, WINDOW)
        arrays = (self._logits, self._weights, self._labels)
        return b"".join(array[:used].tobytes() for array in arrays)

    def load(self, sums: F64, scored: int, bins: bytes, ring: bytes) -> None:
        """Take over a state that `sums`, `scored`, `bins` and `ring_bytes` gave; ValueError when
        the sizes disagree or a number cannot be."""
        used = min(scored, WINDOW)
        if len(ring) != 9 * used:
            raise ValueError("the ring of scores has another size")
        self.sums[:] = sums
        self.scored = scored
        self.bins[:] = np.frombuffer(bins, np.float64).reshape(2, BINS)
        self._logits[:used] = np.frombuffer(ring, np.float32, used)
        self._weights[:used] = np.frombuffer(ring, np.float32, used, 4 * used)
        self._labels[:used] = np.frombuffer(ring, np.uint8, used, 8 * used)
        weighed = ((array >= 0) & (array < np.inf) for array in (self.bins, self._weights))
        if not all(right.all() for right in weighed) or (self._labels > 1).any():
            raise ValueError("a weight or a label is out of range")
        if not np.isfinite(self._logits).all():
            raise ValueError("a logit is not finite")


def window_figures(logits: F32, weights: F32, labels: U8) -> dict[str, Any]:
    """Figures of the scores in a `ring`."""
    sums, bins = np.zeros(5), np.zeros((2, BINS))
    _score_ring(logits, weights, labels, sums, bins)
    return {"examples": labels.size, **_figures(sums, bins)}


def _figures(sums: F64, bins: F64) -> dict[str, Any]:
    weight, clicks, predicted, loss = (float(x) for x in sums[:4])
    mean_loss = loss / weight if weight else None
    entropy = _entropy(clicks / weight) if weight else 0.0
    return {
        "log_loss": mean_loss,
        "auc": _auc(bins),
        "normalized_entropy": mean_loss / entropy if mean_loss is not None and entropy else None,
        "calibration": predicted / clicks if clicks else None,
        "mean_label": clicks / weight if weight else None,
        "mean_prediction": predicted / weight if weight else None,
    }


def _entropy(rate: float) -> float:
    if not 0.0 < rate < 1.0:
        return 0.0
    return -rate * math.log(rate) - (1.0 - rate) * math.log(1.0 - rate)


def _auc(bins: npt.NDArray[np.float64]) -> float | None:
    negatives, positives = bins
    pairs = negatives.sum() * positives.sum()
    if not pairs:
        return None
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + 0.5 * negatives)).sum() / pairs)
