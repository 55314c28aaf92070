"""What the scans of lines of text have in common, inside kernels (`vw_scan`, `csv_scan`).

Ends of words and lines are searched eight bytes at a time: (word - n * ONES) & ~word marks bytes
below n, and with word ^ (c * ONES) for word and 1 for n it marks bytes that are c. Marks above the
first may be wrong, the first never is. Every line ends with a line feed, the last one too, and
SPARE_BYTES follow, so that no search needs to look where the buffer ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftrl_core.bits import load_u64
from ftrl_core.jit import kernel
from ftrl_core.json_bits import first_marked_byte, inlined
from ftrl_core.json_scan import F32, I64, U32, Bytes, ScannedRows

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Fields = tuple[U8, F32, U64]  # labels, weights, event ids
Features = tuple[I64, U32, U32, F32]  # as in ScannedRows
OfRows = tuple[U8, F32, U64, I64, I64, I64]  # as in ScannedLines, from labels on

TAB, LF, CR, SPACE, QUOTE, PLUS, COMMA, MINUS, POINT = 9, 10, 13, 32, 39, 43, 44, 45, 46
COLON, EQUALS, BAR = 58, 61, 124
ONES = np.uint64(0x0101010101010101)
TOPS = np.uint64(0x8080808080808080)
_CONTROLS = np.uint64(0x2121212121212121)  # below 33: blanks, line ends and control characters
_COLONS = np.uint64(0x3A3A3A3A3A3A3A3A)
_BARS = np.uint64(0x7C7C7C7C7C7C7C7C)
_LINE_FEEDS = np.uint64(0x0A0A0A0A0A0A0A0A)


@dataclass(slots=True)
class ScannedLines:
    """What the kernel made of the lines; `scanned` is not yet canonical.

    labels uint8[rows], weights float32[rows], event_ids uint64[rows] as in ExampleBatch, unset in
    slow rows; row r stands in buf[starts[r]:ends[r]] (int64[rows]), on line line_numbers[r] from 0.
    """

    scanned: ScannedRows
    labels: U8
    weights: F32
    event_ids: U64
    starts: I64
    ends: I64
    line_numbers: I64


@inlined
def skip_blanks(buf: Bytes, pos: int) -> int:
    while buf[pos] == SPACE or buf[pos] == TAB or buf[pos] == CR:
        pos += 1
    return pos


@inlined
def name_end(buf: Bytes, pos: int) -> int:
    """Position of the first byte from pos on that ends a name: a control, a blank, : or |."""
    while True:
        word = load_u64(buf, pos)
        colons = word ^ _COLONS
        bars = word ^ _BARS
        found = (
            ((word - _CONTROLS) & ~word) | ((colons - ONES) & ~colons) | ((bars - ONES) & ~bars)
        ) & TOPS
        if found:
            skipped: int = first_marked_byte(found)
            return pos + skipped
        pos += 8


@inlined
def line_end(buf: Bytes, pos: int) -> int:
    """Position of the first line feed from pos on."""
    while True:
        feeds = load_u64(buf, pos) ^ _LINE_FEEDS
        found = (feeds - ONES) & ~feeds & TOPS
        if found:
            skipped: int = first_marked_byte(found)
            return pos + skipped
        pos += 8


@kernel
def number_end(buf: Bytes, pos: int) -> int:
    """Position after the number at pos, if it is spelled plainly: -12.5e-3; else -1."""
    if buf[pos] == MINUS:
        pos += 1
    if not 48 <= buf[pos] <= 57:
        return -1
    while 48 <= buf[pos] <= 57:
        pos += 1
    if buf[pos] == POINT:
        pos += 1
        while 48 <= buf[pos] <= 57:
            pos += 1
    if buf[pos] == 101 or buf[pos] == 69:
        pos += 1
        if buf[pos] == MINUS or buf[pos] == PLUS:
            pos += 1
        if not 48 <= buf[pos] <= 57:
            return -1
        while 48 <= buf[pos] <= 57:
            pos += 1
    return pos
