"""The slices of a model as a document: a list of names, each with its values, most seen first.

Names such as `site=a` are the caller's (`named`), for the log has hashes alone. A figure is None
where there is nothing to divide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ftrl_core.batch import I64
from ftrl_core.constants import F64
from ftrl_core.reports import divided, entropy, listed, wilson
from ftrl_core.slices import CURRENT, FINISHED, PERIOD, PREVIOUS, SliceTable

Named = Callable[[int], str | None]


def slices(tables: Sequence[SliceTable], named: Named) -> dict[str, Any]:
    """{"period", "slices": [{"name", "values": [...]}]}."""
    return {"period": PERIOD, "slices": [_slice(table, named) for table in tables]}


def _slice(table: SliceTable, named: Named) -> dict[str, Any]:
    whole = _columns(*(_sum(array, FINISHED, CURRENT) for array in (table.counts, table.sums)))
    recent = _columns(*(_sum(array, PREVIOUS, CURRENT) for array in (table.counts, table.sums)))
    labels: list[dict[str, Any]] = [
        *(_label(value, named(value), table) for value in table.values),
        {"value": None, "kind": "other", "hash": None},
        {"value": None, "kind": "missing", "hash": None},
    ]
    values = [
        {**label, **_row(whole, i), "recent": _row(recent, i)} for i, label in enumerate(labels)
    ]
    values = [one for one in values if one["examples"]]
    values.sort(key=lambda one: -one["examples"])
    return {"name": table.name, "distinct": len(table.values), "values": values}


def _text(name: str | None, table: SliceTable) -> str | None:
    """The value of a name such as `site=a`; None for a number, which has many."""
    return None if name in (None, table.name) else str(name).removeprefix(f"{table.name}=")


def _label(value: int, name: str | None, table: SliceTable) -> dict[str, Any]:
    kind = "number" if value == table.name_hash else "value"
    return {"value": _text(name, table), "kind": kind, "hash": f"{value:08x}"}


def _sum(array: Any, one: int, other: int) -> Any:
    return array[:, one] + array[:, other]


def _columns(counts: I64, sums: F64) -> dict[str, list[Any]]:
    weight, clicks, predicted, loss = sums.T
    rate, mean_loss = divided(clicks, weight), divided(loss, weight)
    low, high = wilson(rate, counts)
    return {
        "examples": counts.tolist(),
        "weight": weight.tolist(),
        "clicks": clicks.tolist(),
        "predicted": predicted.tolist(),
        "mean_label": listed(rate),
        "mean_label_low": listed(low),
        "mean_label_high": listed(high),
        "mean_prediction": listed(divided(predicted, weight)),
        "calibration": listed(divided(predicted, clicks)),
        "log_loss": listed(mean_loss),
        "normalized_entropy": listed(divided(mean_loss, entropy(rate))),
    }


def _row(columns: dict[str, list[Any]], i: int) -> dict[str, Any]:
    return {name: column[i] for name, column in columns.items()}


def rows(document: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The same as a table: header, and a row of each value."""
    header: list[str] = []
    table = []
    for one in document["slices"]:
        for value in one["values"]:
            recent = {f"recent.{name}": figure for name, figure in value["recent"].items()}
            flat = {"slice": one["name"], **value, **recent}
            del flat["recent"]
            header = list(flat)
            table.append(list(flat.values()))
    return header, table
