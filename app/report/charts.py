"""Documents as drawings, by matplotlib: each an SVG for the page, or a PNG.

Text stays text in the SVG, and the same documents give the same bytes: no date is written, and ids
are salted by a constant.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from app.report.documents import Document, Documents

ACCENT, SECOND, QUIET, LINE, INK = "#1f5fcc", "#b4540a", "#566270", "#dfe3e8", "#16202c"
CURVE, SQUARE = (4.6, 2.6), (4.6, 3.2)
LOGIT_MAX = 9.21  # one in ten thousand
TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
LEAST_EXAMPLES = 20
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "clickfold",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
Draw = Callable[[Documents], Figure | None]


def svg(figure: Figure) -> str:
    """The drawing as an element, without the XML head."""
    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]


def png(figure: Figure) -> bytes:
    """The drawing as a PNG."""
    content = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(content, format="png", dpi=150, bbox_inches="tight", facecolor="white")
    return content.getvalue()


def _axes(size: tuple[float, float]) -> tuple[Figure, Axes]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size)
        axes = figure.add_subplot()
    return figure, axes


def _known(column: Sequence[float | None]) -> Any:
    return np.array([math.nan if x is None else x for x in column], np.float64)


def _curve(history: Document, figure: str, base: str | float) -> Figure | None:
    if not history.get("examples"):
        return None
    with mpl.rc_context(_STYLE):
        drawn, axes = _axes(CURVE)
        x = history["examples"]
        label = f"each {history['interval']:,} examples"
        since = _known(history["since"][figure])
        axes.plot(x, since, color=ACCENT, alpha=0.35, linewidth=1, label=label)
        axes.plot(x, _known(history["whole"][figure]), color=SECOND, label="whole stream")
        if isinstance(base, float):
            axes.axhline(base, color=QUIET, linestyle="--", linewidth=1, label="base rate")
        else:
            y = _known(history["whole"][base])
            axes.plot(x, y, color=QUIET, linestyle="--", linewidth=1, label="base rate")
        axes.set_xlabel("examples")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.legend(loc="best", fontsize=8)
    return drawn


def log_loss(given: Documents) -> Figure | None:
    """Progressive log loss over examples."""
    return _curve(given.history, "log_loss", "base_rate_log_loss")


def entropy(given: Documents) -> Figure | None:
    """Normalized entropy over examples."""
    return _curve(given.history, "normalized_entropy", 1.0)


def auc(given: Documents) -> Figure | None:
    """AUC over examples."""
    return _curve(given.history, "auc", 0.5)


def calibration(given: Documents) -> Figure | None:
    """Predicted over actual clicks, over examples."""
    return _curve(given.history, "calibration", 1.0)


def _logit(p: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p / (1.0 - p)), -LOGIT_MAX, LOGIT_MAX)


def reliability(given: Documents) -> Figure | None:
    """Rate of clicks by prediction, both as logits, with the 95 % interval of the rate."""
    kept = given.reliability.get("whole", {})
    enough = np.array(kept.get("examples", [])) >= LEAST_EXAMPLES
    if not enough.any():
        return None
    names = ("mean_prediction", "mean_label", "mean_label_low", "mean_label_high")
    x, y, low, high = (_logit(_known(kept[name])[enough]) for name in names)
    y[y <= -LOGIT_MAX] = math.nan  # no click at all: the interval says what is known
    with mpl.rc_context(_STYLE):
        drawn, axes = _axes(SQUARE)
        axes.fill_between(x, low, high, color=ACCENT, alpha=0.18, linewidth=0)
        axes.plot(x, x, color=QUIET, linestyle="--", linewidth=1)
        axes.plot(x, y, color=ACCENT, marker="o", markersize=3)
        axes.set_xlabel("prediction")
        axes.set_ylabel("rate of clicks")
        for axis, set_limits in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
            limits = axis.get_view_interval()
            axis.set_ticks([_logit(t) for t in TICKS], [f"{100 * t:g} %" for t in TICKS])
            set_limits(*limits)
    return drawn


def predictions(given: Documents) -> Figure | None:
    """How many examples had which prediction."""
    kept = given.reliability.get("whole", {})
    counts = np.array(kept.get("examples", []))
    used = counts > 0
    if not used.any():
        return None
    low, high = (_logit(np.array(given.reliability[name])) for name in ("low", "high"))
    with mpl.rc_context(_STYLE):
        drawn, axes = _axes(SQUARE)
        x, width = (low + high)[used] / 2, (high - low)[used]
        axes.bar(x, counts[used], width * 0.9, color=ACCENT, alpha=0.6)
        axes.set_xlabel("prediction")
        limits = axes.xaxis.get_view_interval()
        axes.set_xticks([_logit(t) for t in TICKS], [f"{100 * t:g} %" for t in TICKS])
        axes.set_xlim(*limits)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return drawn


def _slots(bins: Document, marks: Sequence[float], label: str) -> Figure | None:
    counts = bins.get("count", [])
    if not any(counts):
        return None
    with mpl.rc_context(_STYLE):
        drawn, axes = _axes(SQUARE)
        axes.bar(range(len(counts)), counts, 0.9, color=ACCENT, alpha=0.6)
        at = [(bins["low"].index(mark), f"{mark:g}") for mark in marks if mark in bins["low"]]
        axes.set_xticks([place for place, _ in at], [text for _, text in at])
        axes.set_xlabel(label)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return drawn


def weights(given: Documents) -> Figure | None:
    """Slots by weight: powers of two, both signs."""
    return _slots(given.table.get("weights", {}), (-8, -0.25, 0, 0.25, 8), "weight")


def squares(given: Documents) -> Figure | None:
    """Slots by n: powers of two."""
    marks = [2.0**power for power in (-20, -10, 0, 10, 20)]
    return _slots(given.table.get("n", {}), marks, "n")


# file name -> (title, what it says, drawing)
CHARTS: dict[str, tuple[str, str, Draw]] = {
    "log-loss": ("Log loss", "lower is better", log_loss),
    "normalized-entropy": ("Normalized entropy", "lower is better; 1 is the base rate", entropy),
    "auc": ("AUC", "higher is better; 0.5 is chance", auc),
    "calibration": ("Calibration over time", "1 is right; above, too many clicks", calibration),
    "reliability": ("Reliability", "on the diagonal it can be believed", reliability),
    "predictions": ("Predictions", "examples by prediction", predictions),
    "weights": ("Weights", "slots by weight", weights),
    "n": ("Sums of squared gradients", "slots by n", squares),
}
