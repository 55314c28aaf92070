"""Heads of requests that were admitted on a connection, known again by their bytes.

    POST /predict HTTP/1.1   Host: h   Content-Length: 632   Content-Type: application/json
    └────────────────── before ─────────────────────┘     └────────────── after ──────────┘

Nothing but the digits may differ, for bodies of one client have all lengths: what follows from a
head (route, key, media type) does not depend on them. A head that spells its length otherwise is
not remembered, and goes the usual way each time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # it needs Numba, which is imported when connections are served already
    from app.direct_path import DirectRoute

HEADS_MAX = 8  # of one connection; whoever mixes more has the older ones forgotten
DIGITS_MAX = 9
_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d{1,%d})(?=\r\n)" % DIGITS_MAX, re.IGNORECASE)


class Found(NamedTuple):
    """A request whose head is known: its route, and where its body begins and ends."""

    route: DirectRoute
    start: int
    end: int


class _Head(NamedTuple):
    before: bytes
    after: bytes  # from the end of the line on, with the empty line
    route: DirectRoute


class KnownHeads:
    """Of one connection."""

    def __init__(self) -> None:
        self._heads: list[_Head] = []

    def __len__(self) -> int:
        return len(self._heads)

    def add(self, head: bytes, route: DirectRoute, received: int) -> None:
        """Remember the head of a request of `received` bytes, unless it is known or its length is
        spelled in another way."""
        lengths = list(_LENGTH.finditer(head))
        if len(lengths) != 1 or len(head) + int(lengths[0][1]) != received or self.find(head):
            return
        start, end = lengths[0].span(1)
        self._heads.insert(0, _Head(head[:start], head[end:], route))
        del self._heads[HEADS_MAX:]

    def find(self, data: bytes) -> Found | None:
        """The request at the beginning of `data`; None if its head is not known, or not whole."""
        for before, after, route in self._heads:
            if not data.startswith(before):
                continue
            at = len(before)
            line_end = data.find(b"\r\n", at, at + DIGITS_MAX + 2)
            digits = data[at:line_end]
            if line_end > at and digits.isdigit() and data.startswith(after, line_end):
                length = int(digits)
                if length > route.bytes_max:
                    return None
                start = line_end + len(after)
                return Found(route, start, start + length)
        return None

    def clear(self) -> None:
        """Forget all."""
        self._heads.clear()
