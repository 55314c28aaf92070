"""Medians, spreads and ratios over rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Figures = dict[str, Any]
Round = dict[str, dict[str, Figures]]  # figures by line and contender


def spread(values: Sequence[float], digits: int = 0) -> str:
    """median (least to greatest)."""
    shown = [f"{v:,.{digits}f}" for v in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def rates(rounds: Sequence[dict[str, Figures]], name: str) -> list[float]:
    """Examples/s of a contender in every round; nothing where it is missing."""
    found = [r[name] for r in rounds if name in r]
    return [f["examples_per_second"] for f in found if "examples_per_second" in f]


def ratios(rounds: Sequence[dict[str, Figures]], of: str, to: str) -> list[float]:
    """Examples/s of one over another's, taken inside each round."""
    ours, theirs = rates(rounds, of), rates(rounds, to)
    return [a / b for a, b in zip(ours, theirs, strict=True)] if ours and theirs else []


def of_line(rounds: Sequence[Round], line: str) -> list[dict[str, Figures]]:
    """One line of every round."""
    return [r[line] for r in rounds if line in r]


def best(rounds: Sequence[dict[str, Figures]], names: Sequence[str]) -> str | None:
    """The contender among these with the greatest median."""
    there = [name for name in names if rates(rounds, name)]
    return max(there, key=lambda n: statistics.median(rates(rounds, n)), default=None)
