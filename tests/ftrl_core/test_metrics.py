"""Progressive figures against scikit-learn and NumPy, weights and a window that overflows too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from ftrl_core import metrics
from ftrl_core.curves import BINS
from ftrl_core.metrics import WINDOW, Metrics
from ftrl_core.model import Model
from tests.oracle.float64 import Progressive
from tests.oracle.streams import folded, payloads

F64 = npt.NDArray[np.float64]
KEYS = ("log_loss", "auc", "normalized_entropy", "calibration")


@dataclass
class Scores:
    """A stream of scored examples."""

    logits: F64
    labels: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float32]

    @property
    def p(self) -> F64:
        return 1.0 / (1.0 + np.exp(-self.logits))

    def part(self, first: int, last: int) -> Scores:
        cut = slice(first, last)
        return Scores(self.logits[cut], self.labels[cut], self.weights[cut])


def draw(seed: int, rows: int, weighted: bool, spread: float = 2.0) -> Scores:
    rng = np.random.default_rng(seed)
    logits = np.clip(rng.normal(-2.0, spread, rows), -15.0, 15.0)
    labels = (rng.random(rows) < 1.0 / (1.0 + np.exp(-0.7 * logits))).astype(np.uint8)
    weights = rng.choice([0.25, 1.0, 4.0, 0.0], rows) if weighted else np.ones(rows)
    return Scores(logits, labels, weights.astype(np.float32))


def feed(state: Metrics, scores: Scores, skip: npt.NDArray[np.uint8] | None = None) -> None:
    none = np.zeros(scores.labels.size, np.uint8)
    state.update(
        scores.logits, scores.p, scores.labels, scores.weights, none if skip is None else skip
    )


def expected(scores: Scores) -> dict[str, float]:
    """The same figures from libraries."""
    p, y, w = scores.p, scores.labels, scores.weights.astype(np.float64)
    loss = log_loss(y, p, sample_weight=w)
    rate = float(np.average(y, weights=w))
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    return {
        "log_loss": loss,
        "auc": roc_auc_score(y, p, sample_weight=w),
        "normalized_entropy": loss / entropy,
        "calibration": float((w * p).sum() / (w * y).sum()),
        "mean_label": rate,
        "mean_prediction": float(np.average(p, weights=w)),
    }


def assert_figures(found: dict[str, Any], wanted: dict[str, float], rel: float) -> None:
    for name, value in wanted.items():
        if name == "auc":
            assert found[name] == pytest.approx(value, abs=1e-3)
        else:
            assert found[name] == pytest.approx(value, rel=rel), name


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spread", [0.02, 2.0, 8.0])
def test_against_scikit_learn(weighted: bool, spread: float, seed: int) -> None:
    scores = draw(seed, 20_000, weighted, spread)
    state = Metrics()
    for first in range(0, 20_000, 3_000):
        feed(state, scores.part(first, first + 3_000))
    found = state.summary()
    assert_figures(found, expected(scores), 1e-9)
    assert_figures(found["window"], expected(scores), 1e-6)  # the ring holds float32
    assert found["window"]["examples"] == 20_000


@pytest.mark.parametrize("weighted", [False, True])
def test_the_window_is_the_latest(weighted: bool, seed: int) -> None:
    """Three windows' worth, in uneven pieces, the last one of another kind than the first."""
    old, new = draw(seed, 2 * WINDOW, weighted, 0.5), draw(seed + 1, WINDOW + 37, weighted, 3.0)
    state = Metrics()
    feed(state, old.part(0, WINDOW - 1))
    feed(state, old.part(WINDOW - 1, 2 * WINDOW))
    assert_figures(state.summary()["window"], expected(old.part(WINDOW, 2 * WINDOW)), 1e-6)
    feed(state, new)
    found = state.summary()
    assert found["window"]["examples"] == WINDOW
    assert_figures(found["window"], expected(new.part(37, WINDOW + 37)), 1e-6)
    whole = Scores(
        np.concatenate([old.logits, new.logits]),
        np.concatenate([old.labels, new.labels]),
        np.concatenate([old.weights, new.weights]),
    )
    assert_figures(found, expected(whole), 1e-9)


def test_the_running_base_rate(seed: int) -> None:
    scores = draw(seed, 5_000, True)
    state, plain = Metrics(), Progressive()
    feed(state, scores)
    for p, label, weight in zip(scores.p, scores.labels, scores.weights, strict=True):
        plain.score(float(p), int(label), float(weight))
    found = state.summary()
    for name, value in plain.figures().items():
        assert found[name] == pytest.approx(value, rel=1e-12), name


def test_what_is_skipped_does_not_count(seed: int) -> None:
    scores = draw(seed, 1_000, True)
    skip = (np.arange(1_000) % 3).astype(np.uint8)
    kept = np.flatnonzero(skip == 0)
    some, only = Metrics(), Metrics()
    feed(some, scores, skip)
    feed(only, Scores(scores.logits[kept], scores.labels[kept], scores.weights[kept]))
    assert some.scored == kept.size
    assert some.summary() == only.summary()


def test_nothing_to_divide() -> None:
    empty = Metrics().summary()
    assert all(empty[name] is None for name in (*KEYS, "base_rate_log_loss"))
    names = (*KEYS, "mean_label", "mean_prediction")
    assert empty["window"] == {"examples": 0, **dict.fromkeys(names)}
    one_class = Metrics()
    feed(one_class, Scores(np.array([0.3]), np.array([0], np.uint8), np.ones(1, np.float32)))
    found = one_class.summary()
    assert found["log_loss"] == pytest.approx(-math.log(1 - 1 / (1 + math.exp(-0.3))))
    assert (found["auc"], found["normalized_entropy"], found["calibration"]) == (None,) * 3
    weightless = Metrics()
    feed(weightless, Scores(np.array([0.3]), np.array([1], np.uint8), np.zeros(1, np.float32)))
    assert weightless.summary()["log_loss"] is None


def test_bins() -> None:
    assert metrics.bin_of(-15.0) == 0
    assert metrics.bin_of(15.0) == BINS - 1
    assert metrics.bin_of(0.0) == BINS // 2
    places = [metrics.bin_of(float(x)) for x in np.linspace(-15, 15, 4_000)]
    assert places == sorted(places)


@pytest.mark.parametrize("rows", [0, 1, 500, WINDOW + 11])
def test_storing_and_loading(rows: int) -> None:
    state = Metrics()
    feed(state, draw(4, rows, True))
    copy = Metrics()
    copy.load(state.sums, state.scored, state.bins.tobytes(), state.ring_bytes())
    assert copy.summary() == state.summary()
    more = draw(5, 100, False)
    feed(state, more)
    feed(copy, more)
    assert copy.ring_bytes() == state.ring_bytes()
    assert copy.summary() == state.summary()


@pytest.mark.parametrize("change", [-1, 1, 9])
def test_a_ring_of_another_size_is_refused(change: int) -> None:
    state = Metrics()
    feed(state, draw(4, 10, False))
    ring = state.ring_bytes()
    ring = ring[:change] if change < 0 else ring + b"\0" * change
    with pytest.raises(ValueError, match="size"):
        Metrics().load(state.sums, 10, state.bins.tobytes(), ring)


def test_extreme_weights_give_finite_figures() -> None:
    state = Metrics()
    rows = 2_000
    labels = (np.arange(rows) % 2).astype(np.uint8)
    logits = np.where(labels, -15.0, 15.0)  # always wrong
    weights = np.where(np.arange(rows) % 3, 1e6, 1e-30).astype(np.float32)
    feed(state, Scores(logits, labels, weights))
    found = state.summary()
    assert all(math.isfinite(found[name]) for name in KEYS)
    assert found["log_loss"] == pytest.approx(15.0, rel=1e-6)


def test_a_models_stats(seed: int) -> None:
    model = folded({"table_bits": 8}, payloads(seed, 4, weights=True, ids=60))
    found = model.stats()
    assert found["examples"] + found["duplicates"] == 160
    assert found["position"] == "1-4"
    assert found["window"]["examples"] == model.metrics.scored == model.examples
    assert Model().stats()["examples"] == 0
