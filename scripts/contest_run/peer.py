"""What the contest asks of a peer, and the ways in which a record is written for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GRID_MAX = 60
SHORTLIST = 4
Example = Mapping[str, Any]
Point = Mapping[str, Any]  # arguments of the peer, by the peer's own names
Loss = Callable[[Point], float]  # mean progressive log loss in nats at a point


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer with its grid.

    prepare(examples, dense) reads the records once and gives the function from a point to a loss.
    Where an exact figure is dear, `rough` does the same with older predictions: the grid is ranked
    by it, and only its first SHORTLIST points are measured by `prepare`.
    """

    name: str
    prepare: Callable[[Sequence[Example], bool], Loss]
    grid: tuple[Point, ...]
    default: Point
    rows: int | None = None  # only the first so many rows; None: all
    rough: Callable[[Sequence[Example], bool], Loss] | None = None

    def __post_init__(self) -> None:
        assert len(self.grid) <= GRID_MAX, self.name


def worth_measuring(peer: Peer, examples: Sequence[Example], dense: bool) -> Sequence[Point]:
    """The points of the grid whose loss is to be measured."""
    if peer.rough is None:
        return peer.grid
    return sorted(peer.grid, key=peer.rough(examples, dense))[:SHORTLIST]


def categories(example: Example) -> list[str]:
    """The categorical features as one name each, `name=value`."""
    return [f"{k}={v}" for k, v in example["features"].items() if isinstance(v, str)]


def numbers(example: Example) -> dict[str, float]:
    """The features that are numbers."""
    return {k: float(v) for k, v in example["features"].items() if not isinstance(v, str)}


def written(point: Point) -> str:
    """A point as text for the table."""
    return " ".join(f"{name}={value}" for name, value in point.items()) or "defaults"
