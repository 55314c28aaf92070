"""What the scans of lines of text have in common, inside kernels (`vw_scan`, `csv_scan`).

Every line ends with a line feed, the last one too, and TEXT_SPARE_BYTES follow: 64 bytes are looked
at together (`text_bits`), so that no search needs to look where the buffer ends. A search goes on
from `Marks`: the position of the 64 bytes, and those of their marks that are still to come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftrl_core.jit import kernel
from ftrl_core.json_bits import borrowed, inlined
from ftrl_core.json_scan import F32, I64, U32, Bytes, ScannedRows
from ftrl_core.text_bits import MARKED_BYTES, count_marks, first_mark, line_feed_marks

TEXT_SPARE_BYTES = 2 * MARKED_BYTES
U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Fields = tuple[U8, F32, U64]  # labels, weights, event ids
Features = tuple[I64, U32, U32, F32]  # as in ScannedRows
OfRows = tuple[U8, F32, U64, I64, I64, I64]  # as in ScannedLines, from labels on

TAB, LF, CR, SPACE, QUOTE, PLUS, COMMA, MINUS, POINT = 9, 10, 13, 32, 39, 43, 44, 45, 46
COLON, EQUALS, OPENING, BAR, CLOSING = 58, 61, 123, 124, 125


@dataclass(slots=True)
class ScannedLines:
    """What the kernel made of the lines; `scanned` is not yet canonical.

    labels uint8[rows], weights float32[rows], event_ids uint64[rows] as in ExampleBatch, unset in
    slow rows; row r stands in buf[starts[r]:ends[r]] (int64[rows]), on line line_numbers[r] from 0;
    lines is the number of all lines.
    """

    scanned: ScannedRows
    labels: U8
    weights: F32
    event_ids: U64
    starts: I64
    ends: I64
    line_numbers: I64
    lines: int


@inlined
def skip_blanks(buf: Bytes, pos: int) -> int:
    while buf[pos] == SPACE or buf[pos] == TAB or buf[pos] == CR:
        pos += 1
    return pos


@inlined
def line_end(buf: Bytes, pos: int) -> int:
    """Position of the first line feed from pos on."""
    marks = line_feed_marks(buf, pos)
    while not marks:
        pos += MARKED_BYTES
        marks = line_feed_marks(buf, pos)
    return int(pos + first_mark(marks))


@kernel
def count_lines(owned: Bytes, size: int) -> int:
    """How many line feeds are in buf[:size]; none is in the spare bytes after it."""
    buf = borrowed(owned)
    count = 0
    for pos in range(0, size, MARKED_BYTES):
        count += count_marks(line_feed_marks(buf, pos))
    return count


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


@kernel
def count_line_feeds(text: Bytes) -> tuple[int, int]:
    """How many line feeds a text has, and how many of these are between } and {."""
    count, between = 0, 0
    for i in range(1, text.size - 1):
        feed = text[i] == LF
        count += feed
        between += feed & (text[i - 1] == CLOSING) & (text[i + 1] == OPENING)
    if text.size:
        count += text[0] == LF
    if text.size > 1:
        count += text[-1] == LF
    return count, between
