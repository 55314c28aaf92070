"""The streams of the contest, as examples in the JSON shape of the HTTP interface.

All peers learn from the same records: categories are the same strings and numbers the same numbers,
each written as is most natural to the peer. A `dense` stream has columns of numbers on their own
scales, which peers without a remedy of their own are given standardised; in a sparse one (weighted
words) that would only destroy the zeros.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import data_logs
from scripts.contest_run import streams

Example = dict[str, Any]
VW_TEXT = {"0001": "vw/0001.dat.gz", "rcv1_small": "vw/rcv1_small.dat.gz"}
CRITEO_INTEGERS = 13


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream by name; `read` begins anew, `file` is what it needs beside the checkout."""

    name: str
    what: str
    read: Callable[[], Iterator[Example]]
    file: str | None = None
    dense: bool = False

    def missing(self) -> bool:
        """Whether the log cannot be read here."""
        return self.file is not None and not (data_logs.FOLDER / self.file).is_file()


def read_vw(path: Path) -> Iterator[Example]:
    """Lines `label |namespace name:number ...`; a label above 0 is a click."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            label, features = line.split("|", 1)
            pairs = (pair.split(":") for pair in features.split()[1:])
            yield {
                "label": int(float(label) > 0),
                "features": {name: float(number) for name, number in pairs},
            }


def read_criteo_numbers(path: Path) -> Iterator[Example]:
    """The Criteo log with its 13 integers as numbers, not as categories."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            label, *cells = line.rstrip("\n").split("\t")
            features: dict[str, str | float] = {}
            for i, cell in enumerate(cells):
                if cell and i < CRITEO_INTEGERS:
                    features[f"I{i + 1}"] = float(cell)
                elif cell:
                    features[f"C{i + 1 - CRITEO_INTEGERS}"] = cell
            yield {"label": int(label), "features": features}


def _log(name: str, what: str) -> Stream:
    file = data_logs.LOGS[name][0]
    return Stream(name, what, lambda: data_logs.read(name), file)


def _words(name: str, what: str) -> Stream:
    file = VW_TEXT[name]
    return Stream(name, what, lambda: read_vw(data_logs.FOLDER / file), file)


_CRITEO = data_logs.LOGS["criteo"][0]
STREAMS = (
    _log("criteo", "Criteo, all columns categories, as the command line reads it"),
    Stream(
        "criteo_numbers",
        "Criteo, its 13 integer columns as numbers",
        lambda: read_criteo_numbers(data_logs.FOLDER / _CRITEO),
        _CRITEO,
        dense=True,
    ),
    _log("avazu", "Avazu, all columns categories"),
    _log("ipinyou", "iPinYou, all columns categories"),
    _words("0001", "Vowpal Wabbit's 0001.dat, weighted words"),
    _words("rcv1_small", "Vowpal Wabbit's rcv1_small.dat, weighted words"),
    Stream("drift", "generated: half of the true weights change midway", streams.drift),
    Stream(
        "raw_numbers",
        "generated: seven numbers on raw scales, two categories",
        streams.raw_numbers,
        dense=True,
    ),
)
