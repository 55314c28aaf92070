"""`clickfold stats --watch`: the live stream, as a view on a terminal and as lines elsewhere.

on a terminal   one screen that is drawn again with each line
with --json     the lines as they come
else            a short line each, so that a log can keep them
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

Line = Mapping[str, Any]
FIGURES = {
    "log_loss": "log loss",
    "base_rate_log_loss": "of the base rate",
    "normalized_entropy": "normalized entropy",
    "auc": "AUC",
    "calibration": "calibration",
    "mean_label": "rate of clicks",
    "mean_prediction": "mean prediction",
}


def watch(lines: Iterable[Line], as_json: bool, console: Console | None = None) -> None:
    """Show the lines until they end or Ctrl-C."""
    console = console or Console()
    try:
        if as_json or not console.is_terminal:
            for line in lines:
                typer.echo(json.dumps(line) if as_json else one_line(line))
            return
        with Live(console=console, auto_refresh=False, screen=False) as live:
            for line in lines:
                live.update(view(line), refresh=True)
    except KeyboardInterrupt:
        return


def one_line(line: Line) -> str:
    """The most important of a line."""
    if "position" not in line:
        return f"{line['model']}: {line['state']}: {line.get('detail', '')}"
    window = line["window"]
    words = [
        f"{line['position']:>12}",
        f"{line['examples']:>12,} examples",
        f"{_number(line.get('learn_per_second'), 0):>9}/s",
        f"log loss {_number(window.get('log_loss'), 5)}",
        f"NE {_number(window.get('normalized_entropy'), 4)}",
        f"AUC {_number(window.get('auc'), 4)}",
        f"calibration {_number(window.get('calibration'), 3)}",
    ]
    if line["state"] != "live" or not line["learn"]:
        words.append(f"{line['state']}: {line['detail']}")
    return "  ".join(words)


def view(line: Line) -> Group:
    """A line as a screen."""
    head = Text(
        f"{line['model']}  {line['state']}", "bold green" if line.get("learn") else "bold red"
    )
    if "position" not in line:
        return Group(head, Text(str(line.get("detail", ""))))
    head.append(f"  position {line['position']}  {line['examples']:,} examples", "default")
    if not line["learn"]:
        head.append(f"\n/learn is refused: {line['durability_refused'] or line['detail']}", "red")
    return Group(head, _quality(line), _speed(line), _replicas(line))


def _quality(line: Line) -> Table:
    table = Table("", "latest 100,000", "whole stream", box=None, pad_edge=False)
    for name, title in FIGURES.items():
        row = (_number(line[of].get(name), 5) for of in ("window", "whole"))
        table.add_row(title, *row)
    return table


def _speed(line: Line) -> Table:
    table = Table("", "a second", "p50 ms", "p95 ms", "p99 ms", box=None, pad_edge=False)
    rates = (("learn", "learn_requests_per_second"), ("predict", "predict_requests_per_second"))
    for kind, rate in rates:
        latency = line["latency"][kind]
        row = (_number(latency[name], 2) for name in ("p50_ms", "p95_ms", "p99_ms"))
        table.add_row(f"requests to {kind}", _number(line[rate], 1), *row)
    table.add_row("examples learned", _number(line["learn_per_second"], 0))
    return table


def _replicas(line: Line) -> Table:
    log, checkpoint = line["log"], line["checkpoint"]
    table = Table("replica", "state", "position", "differed", box=None, pad_edge=False)
    for one in line["replicas"]:
        row = one["replica"], one["state"], one["position"] or "-", one["differences"]
        table.add_row(*map(str, row))
    age = _number(checkpoint["age_seconds"], 0)
    table.caption = (
        f"log {log['bytes']:,} bytes, {log['lag_entries']} entries behind, Redis silent for"
        f" {log['stale_seconds']} s; checkpoint at {checkpoint['seq']}, {age} s old;"
        f" {line['durability']}"
    )
    table.caption_justify = "left"
    return table


def _number(figure: float | None, digits: int) -> str:
    return "-" if figure is None else f"{figure:,.{digits}f}"
