"""The charts of a kept run, as SVG; runs in .venv-bench, which has matplotlib.

    python -m scripts.benchmarks.peers.chart RUN.json FOLDER

writes FOLDER/contenders.svg (bars: medians, with the least and the greatest) and, where the run has
it, FOLDER/growth.svg. Text stays text, so the files are small and can be searched.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

COLOURS = {"ours": "#2563a8", "ours, one rate": "#7fb0dd"}
LIMIT, PEER = "#9aa1a9", "#d98a3d"
LIMITS = ("echo", "XADD")
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "clickfold",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#c4c9ce",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#eceff1",
    "axes.axisbelow": True,
}
Panel = tuple[str, list[tuple[str, list[float]]]]  # title, and values of each bar


def values(rounds: Sequence[dict[str, Any]], key: str) -> list[tuple[str, list[float]]]:
    """Of every contender that was there."""
    return [
        (name, [r[name][key] for r in rounds]) for name, first in rounds[0].items() if key in first
    ]


def panels(run: dict[str, Any]) -> list[Panel]:
    """What is drawn of a run."""
    rounds = run["served"]["rounds"]
    found: list[Panel] = []
    for line, title in (
        ("predict", "/predict, one example, requests/s"),
        ("learn", "/learn, 100 examples, examples/s (peers write nothing to disk)"),
        ("learn_1", "/learn, one example, requests/s (the same)"),
    ):
        bars = values([r[line] for r in rounds], "examples_per_second")
        if line == "learn":
            for kind in ("packed", "arrow", "msgpack"):
                more = values([r[f"learn_{kind}"] for r in rounds], "examples_per_second")
                bars += [(f"{name}, {kind}", v) for name, v in more]
        found.append((title, bars))
    folded = values(run["in_process"]["generated"], "examples_per_second")
    found.append(("learning in process, 39 features, examples/s", best_batches(folded)))
    return found


def best_batches(folded: list[tuple[str, list[float]]]) -> list[tuple[str, list[float]]]:
    """Of TensorFlow's batch sizes the best of each kind; what decodes is no learner."""
    best: dict[str, tuple[str, list[float]]] = {}
    for name, found in folded:
        kind = name.partition(", batches")[0]
        if kind not in best or statistics.median(found) > statistics.median(best[kind][1]):
            best[kind] = (name, found)
    return [one for kind, one in best.items() if "JSON" not in kind]


def colour(name: str) -> str:
    """Ours blue, limits grey, peers orange."""
    ours = max((key for key in COLOURS if name.startswith(key)), key=len, default="")
    return COLOURS.get(ours) or (LIMIT if name in LIMITS else PEER)


def bars(axes: Any, panel: Panel) -> None:
    """One panel, the greatest first."""
    title, found = panel
    found = sorted(found, key=lambda one: statistics.median(one[1]))
    medians = [statistics.median(v) for _, v in found]
    low = [m - min(v) for m, (_, v) in zip(medians, found, strict=True)]
    high = [max(v) - m for m, (_, v) in zip(medians, found, strict=True)]
    names = [name for name, _ in found]
    style = {"ecolor": "#55606b", "elinewidth": 0.8}
    axes.barh(names, medians, xerr=[low, high], color=[colour(n) for n in names], error_kw=style)
    for place, (median, above) in enumerate(zip(medians, high, strict=True)):
        axes.text(median + above, place, f"  {median:,.0f}", va="center", color="#333333")
    axes.set_title(title)
    axes.set_xlim(0, 1.2 * max(m + h for m, h in zip(medians, high, strict=True)))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
    axes.tick_params(length=0)
    axes.grid(visible=False, axis="y")


def contenders(run: dict[str, Any], path: Path) -> None:
    """All panels, one below the other."""
    drawn = [panel for panel in panels(run) if panel[1]]
    heights = [len(found) + 1.6 for _, found in drawn]
    figure, axes = plt.subplots(
        len(drawn), figsize=(8, 0.27 * sum(heights)), height_ratios=heights, squeeze=False
    )
    for one, panel in zip(axes[:, 0], drawn, strict=True):
        bars(one, panel)
    save(figure, path)


def growth(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Cost by size, on logarithmic axes."""
    figure, axes = plt.subplots(2, 3, figsize=(10, 5.6))
    for one, rates in ((axes[0, 0], 1), (axes[0, 1], 4)):
        rows = [row for row in curves["slots"] if row["rates"] == rates]
        for key in ("touch_ns", "learn_ns", "apply_ns"):
            bits = [int(row["slots"][2:]) for row in rows]
            one.plot(bits, [row[key] for row in rows], marker=".", label=key[:-3])
        one.set(
            title=f"ns a feature by log2 slots, {rates} rate{'s' * (rates > 1)}", ylim=(0, None)
        )
    for rates in (1, 4):
        rows = [row for row in curves["features"] if row["rates"] == rates]
        label = f"{rates} rate{'s' * (rates > 1)}"
        x, y = [r["features"] for r in rows], [r["apply_ns"] for r in rows]
        axes[0, 2].loglog(x, y, marker=".", label=label)
    axes[0, 2].set(title="ns a feature by features an example")
    rows = curves["batch"]
    x, y = [r["examples"] for r in rows], [r["examples/s"] for r in rows]
    axes[1, 0].loglog(x, y, marker=".", label="/learn")
    axes[1, 0].set(title="examples/s by examples a request")
    for route in ("/predict", "/learn"):
        rows = [row for row in curves["connections"] if row["route"] == route]
        x, y = [r["connections"] for r in rows], [r["requests/s"] for r in rows]
        axes[1, 1].loglog(x, y, marker=".", label=route)
        rows = [row for row in curves["rates"] if row["route"] == route]
        rates_asked = [r["requests/s"] for r in rows]
        for key, dash in (("p50 ms", ":"), ("p99 ms", "-")):
            y = [r[key] for r in rows]
            axes[1, 2].loglog(rates_asked, y, dash, marker=".", label=f"{route} {key[:3]}")
    axes[1, 1].set(title="requests/s by connections")
    axes[1, 2].set(title="ms by requests/s, open loop")
    for one in axes.flat:
        one.legend(frameon=False, fontsize=8)
        one.minorticks_off()
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """As an SVG without a date, so that the same run gives the same file."""
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    kept, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    with mpl.rc_context(STYLE):
        if {"served", "in_process"} <= kept.keys():
            contenders(kept, folder / "contenders.svg")
        if kept.get("growth", {}).keys() >= {"slots", "features", "batch", "connections", "rates"}:
            growth(kept["growth"], folder / "growth.svg")
