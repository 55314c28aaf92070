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
        rows = [_slice(one["name"], row) for row in one["values"][:ROWS_MAX]]
        yield f"Slice: {one['name']}", head, rows
    largest = given.features.get("by_weight", [])[:ROWS_MAX]
    if largest:
        head = ["feature", "weight", "n", "slot"]
        yield "Largest weights", head, [_feature(row) for row in largest]


def _feature(row: dict[str, Any]) -> Sequence[Cell]:
    name = ", ".join(row["names"]) or f"slot {row['slot']}"
    return [name, row["weight"], row["n"], str(row["slot"])]


def _slice(slice_name: str, row: dict[str, Any]) -> Sequence[Cell]:
    kind = row["kind"]
    known = (row["value"] or f"#{row['hash']}").removeprefix(f"{slice_name}=")
    name = known if kind == "value" else _KINDS.get(kind, kind)
    before, lately = row["normalized_entropy"], row["recent"]["normalized_entropy"]
    change = f"{100 * (lately / before - 1):+.1f} %" if before and lately else None
    return [name, row["examples"], *(row[figure] for figure in _FIGURES), change]
