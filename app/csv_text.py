"""Documents of columns as CSV: one row an index, nested columns named `outer.inner`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def csv_columns(document: Mapping[str, Any]) -> str:
    """Every list of the document is a column; all are of one length. Other members are left out."""
    columns = dict(_columns(document, ""))
    return csv_rows(list(columns), zip(*columns.values(), strict=True))


def csv_rows(header: Sequence[str], rows: Any) -> str:
    """A header and rows; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _columns(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, list[Any]]]:
    for name, value in document.items():
        if isinstance(value, list):
            yield prefix + name, value
        elif isinstance(value, Mapping):
            yield from _columns(value, f"{prefix}{name}.")
