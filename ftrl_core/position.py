"""A position in the log of a model: `<epoch>-<seq>`.

seq counts entries densely and for ever; epoch says which history is meant and changes only by a
restore or a skip. Order is by seq alone: after a restore 2-4 comes before 1-7 in time's order of
entries, though "2-4" is greater as a stream id.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PATTERN = re.compile(r"(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})")
SEQ_MAX = 2**53 - 1  # Lua's numbers are doubles


class Position(NamedTuple):
    """One entry's place in the log; (0, 0) is before the first entry."""

    epoch: int
    seq: int

    @staticmethod
    def parse(text: str) -> Position:
        """Read `<epoch>-<seq>`; ValueError when it is anything else."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ValueError("a position is written <epoch>-<seq>, for example 1-42")
        position = Position(int(match[1]), int(match[2]))
        if max(position) > SEQ_MAX:
            raise ValueError("a position's numbers are below 2^53")
        return position

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


START = Position(0, 0)
