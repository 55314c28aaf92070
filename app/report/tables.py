"""The tables of a report: slices, and the top features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from app.report.documents import Documents

ROWS_MAX = 20
Cell = str | float | int | None
Table = tuple[str, Sequence[str], list[Sequence[Cell]]]
_KINDS = {"number": "any number", "other": "all others", "missing": "without it"}
_FIGURES = ("mean_label", "mean_prediction", "calibration", "log_loss", "normalized_entropy")


def tables(given: Documents) -> Iterator[Table]:
    """(title, head, rows) of each table that has something to show."""
    for one in given.slices.get("slices", []):
        head = [one["name"], "examples", *(name.replace("_", " ") for name in _FIGURES), "lately"]
        yield f"Slice: {one['name']}", head, [_slice(row) for row in one["values"][:ROWS_MAX]]


def _slice(row: dict[str, Any]) -> Sequence[Cell]:
    kind = row["kind"]
    name = (row["value"] or f"#{row['hash']}") if kind == "value" else _KINDS.get(kind, kind)
    before, lately = row["normalized_entropy"], row["recent"]["normalized_entropy"]
    change = f"{100 * (lately / before - 1):+.1f} %" if before and lately else None
    return [name, row["examples"], *(row[figure] for figure in _FIGURES), change]
