"""The real click logs that tests and benchmarks read from beside the checkout.

They are not part of the project. Each reader gives examples in the JSON shape of the HTTP
interface, in file order; `missing` tells why a log cannot be read, None when it can.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
Example = dict[str, Any]


def _integer_category(text: str) -> str:
    """Criteo's integers: floor(log2(v + 1)) above 0, the value itself otherwise."""
    value = int(text)
    return str((value + 1).bit_length() - 1) if value > 0 else str(value)


def read_criteo(path: Path) -> Iterator[Example]:
    """Label, 13 integers, 26 categories; an empty cell is no feature."""
    with gzip.open(path, "rt") as file:
        for line in file:
            label, *cells = line.rstrip("\n").split("\t")
            numbers = {f"I{i}": _integer_category(c) for i, c in enumerate(cells[:13], 1) if c}
            categories = {f"C{i}": c for i, c in enumerate(cells[13:], 1) if c}
            yield {"label": int(label), "features": {**numbers, **categories}}


def read_avazu(path: Path) -> Iterator[Example]:
    """CSV with a header; `click` is the label, `id` no feature, all else categorical."""
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            label = int(row.pop("click"))
            row.pop("id")
            yield {"label": label, "features": {k: v for k, v in row.items() if v}}


def read_ipinyou(path: Path) -> Iterator[Example]:
    """Label, then name:value columns, all categorical."""
    with gzip.open(path, "rt") as file:
        for line in file:
            label, *cells = line.rstrip("\n").split("\t")
            pairs = (cell.split(":", 1) for cell in cells if cell)
            yield {"label": int(label), "features": {name: value for name, value in pairs if value}}


LOGS: dict[str, tuple[str, Callable[[Path], Iterator[Example]]]] = {
    "criteo": ("criteo/train.tsv.gz", read_criteo),
    "avazu": ("avazu/train.csv.gz", read_avazu),
    "ipinyou": ("ipinyou/day_a.tsv.gz", read_ipinyou),
}


def missing(name: str) -> str | None:
    """Why the log cannot be read here; None when it can."""
    path = FOLDER / LOGS[name][0]
    return None if path.is_file() else f"the log {name} is not beside the checkout"


def read(name: str) -> Iterator[Example]:
    """The examples of a log."""
    file, reader = LOGS[name]
    return reader(FOLDER / file)
