"""Streams for the comparison with Vowpal Wabbit: a label, a weight, and pairs of id and value.

A feature is an integer on both sides. Vowpal Wabbit takes an integer feature name in the unnamed
namespace as the index itself, so with ids below 2^bits nothing collides there (its constant is at
11650396, above every id here); on our side the caller gives each id a slot of its own. What is left
to differ is the arithmetic.

Names, and pairs of name and value of the click logs, are numbered in the order in which they come.
Labels 0 of the regression file 0001.dat mean no click. Values are rounded to float32 once, here.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts import data_logs

VW_FOLDER = data_logs.FOLDER / "vw"
RECORDED_ROWS, RECORDED_IDS = 120, 12
Pairs = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Example:
    """One example: label 0 or 1, importance, features with distinct ids from 0."""

    label: int
    weight: float
    features: Pairs


class Numbering:
    """Numbers things in the order in which they first come."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}

    def __call__(self, thing: object) -> int:
        return self._numbers.setdefault(thing, len(self._numbers))


def read_vw(path: Path) -> Iterator[Example]:
    """A file in Vowpal Wabbit's text format: a label, then one namespace of name[:value]."""
    number = Numbering()
    with gzip.open(path, "rt") as file:
        for line in file:
            label, _, namespace = line.partition("|")
            cells = [cell.partition(":") for cell in namespace.split()[1:]]
            pairs = [(number(name), float(np.float32(value or 1))) for name, _, value in cells]
            yield Example(int(float(label) > 0), 1.0, pairs)


def read_clicks(name: str) -> Iterator[Example]:
    """A click log: each pair of name and value is a feature of value 1."""
    number = Numbering()
    for example in data_logs.read(name):
        pairs = [(number(item), 1.0) for item in example["features"].items()]
        yield Example(example["label"], 1.0, pairs)


def weighted_numbers(
    seed: int, rows: int = 20_000, ids: int = 300, *, share: float = 0.03, scale: float = 1.0
) -> Iterator[Example]:
    """A generated stream: signed values, importances from 0 to 3, labels of a logistic truth.

    share of the ids are in an example; scale multiplies the values but not the truth.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.0, 0.7, ids)
    for _ in range(rows):
        chosen = np.flatnonzero(rng.random(ids) < share)
        values = rng.normal(0.0, scale, chosen.size).astype(np.float32)
        logit = float(values @ truth[chosen]) / scale - 1.0
        label = int(rng.random() < 1 / (1 + np.exp(-logit)))
        weight = float(rng.choice([0.0, 0.5, 1.0, 3.0]))
        yield Example(label, weight, list(zip(chosen.tolist(), values.tolist(), strict=True)))


def streams(seed: int) -> dict[str, Callable[[], Iterator[Example]]]:
    """Every stream that can be read here, by name."""
    found: dict[str, Callable[[], Iterator[Example]]] = {}
    for file in ("0001", "rcv1_small"):
        path = VW_FOLDER / f"{file}.dat.gz"
        if path.is_file():
            found[f"vw/{file}"] = lambda path=path: read_vw(path)  # type: ignore[misc]
    for name in data_logs.LOGS:
        if data_logs.missing(name) is None:
            found[name] = lambda name=name: read_clicks(name)  # type: ignore[misc]
    found["weighted numbers"] = lambda: weighted_numbers(seed)
    found["large numbers"] = lambda: weighted_numbers(seed, scale=30.0)
    return found


def recorded_stream(seed: int) -> list[Example]:
    """The stream whose predictions are recorded."""
    return list(weighted_numbers(seed, RECORDED_ROWS, RECORDED_IDS, share=0.3))


def checksum(examples: Sequence[Example]) -> str:
    """16 hex digits over a stream."""
    return hashlib.sha256(repr(list(examples)).encode()).hexdigest()[:16]
