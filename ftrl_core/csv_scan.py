"""Comma-separated rows without quotes to hashed features: the fast path, one walk over the bytes.

    buf      0,a9,3.5,imp-81\\n1,a7,,imp-82\\n\\nnonsense\\n........     and TEXT_SPARE_BYTES
    kinds    LABEL CATEGORY NUMBER ID        what is done with each column
    rows     0 and 1, and 2, which is slow; blank lines are no rows

What a cell means is said by the reader of such files (app.cli.csv_reader): a category or a plain
number, an empty cell is no feature. As in `vw_scan`, a row with anything else (another number of
cells, a label that is not 0 or 1, an odd number, a limit exceeded, a control character) contributes
nothing and is slow: the caller has it read there. A text with a quote in it must not come here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ftrl_core.example_fields import is_good_id
from ftrl_core.hashing import xxh64_kernel
from ftrl_core.jit import kernel
from ftrl_core.json_bits import borrowed, inlined
from ftrl_core.json_number import scan_number
from ftrl_core.json_scan import I64, U32, Bytes, Out, ScannedRows, put
from ftrl_core.json_string import murmur3_32_spare
from ftrl_core.limits import Limits
from ftrl_core.text_bits import MARKED_BYTES, cell_marks, first_mark
from ftrl_core.text_scan import (
    COMMA,
    CR,
    LF,
    POINT,
    TAB,
    TEXT_SPARE_BYTES,
    U8,
    Features,
    Fields,
    OfRows,
    ScannedLines,
    count_lines,
    line_end,
    number_end,
)

IGNORED, CATEGORY, NUMBER, LABEL, ID = range(5)
CELL_BYTES_MAX = 131_072  # what the standard library's reader takes
ONE = np.float32(1)


@dataclass(frozen=True, slots=True)
class Columns:
    """kinds uint8[width], and name_hashes uint32[width] of the columns that are features."""

    kinds: U8
    name_hashes: U32


@inlined
def _next_end(buf: Bytes, base: int, marks: np.uint64) -> tuple[int, int, np.uint64]:
    """(position of the next comma or control character but tab, base and marks to go on with)."""
    while True:
        while not marks:
            base += MARKED_BYTES
            marks = cell_marks(buf, base)
        pos = base + first_mark(marks)
        marks &= marks - np.uint64(1)
        if buf[pos] != TAB:
            return pos, base, marks


@kernel
def _label_of(buf: Bytes, pos: int, end: int) -> int:
    """0 or 1, or -1 where unsure: the cell is 0, 1, 0.0 or 1.0."""
    whole = end - pos == 1 or (end - pos == 3 and buf[pos + 1] == POINT and buf[pos + 2] == 48)
    return int(np.int64(buf[pos])) - 48 if whole and 48 <= buf[pos] <= 49 else -1


@inlined
def _scan_cell(
    buf: Bytes,
    pos: int,
    end: int,
    kind: int,
    name: np.uint32,
    bounds: tuple[int, float, int],
    out: Out,
    at: int,
    fields: Fields,
    row: int,
    seed: np.uint64,
) -> int:
    """The cell buf[pos:end], not empty unless it is the label: the next place, -1 where unsure."""
    if kind == CATEGORY:
        if end - pos > bounds[0]:
            return -1
        put(out, at, name, murmur3_32_spare(buf, pos, end, name), ONE)
        return at + 1
    if kind == NUMBER:
        if number_end(buf, pos) != end:
            return -1
        after, value = scan_number(buf, pos, end, bounds[1])
        put(out, at, name, name, value)
        return at + 1 if after == end else -1
    if kind == LABEL:
        label = _label_of(buf, pos, end)
        fields[0][row] = label
        return at if label >= 0 else -1
    if kind == ID:
        if not is_good_id(buf, pos, end, bounds[2]):
            return -1
        fields[2][row] = max(xxh64_kernel(buf, pos, end, seed), np.uint64(1))
        return at
    return at if end - pos <= CELL_BYTES_MAX else -1


@inlined
def _scan_row(
    buf: Bytes,
    pos: int,
    kinds: U8,
    names: U32,
    bounds: tuple[int, float, int],
    out: Out,
    at: int,
    fields: Fields,
    row: int,
    seed: np.uint64,
) -> tuple[int, int]:
    """The row at pos: (position of its line feed, or -1 where unsure, next place)."""
    last = kinds.size - 1
    base, marks = pos, cell_marks(buf, pos)
    for column in range(kinds.size):
        end, base, marks = _next_end(buf, base, marks)
        if column < last:
            if buf[end] != COMMA:
                return -1, at
        elif buf[end] != LF and not (buf[end] == CR and buf[end + 1] == LF):
            return -1, at
        kind = kinds[column]
        if end > pos or kind == LABEL:
            at = _scan_cell(buf, pos, end, kind, names[column], bounds, out, at, fields, row, seed)
            if at < 0:
                return -1, at
        pos = end + 1
    return pos - 1 + (buf[pos - 1] == CR), at


@kernel
def _scan_rows(
    owned: Bytes,
    size: int,
    hash_seed: int,
    owned_kinds: U8,
    owned_names: U32,
    bounds: tuple[int, float, int],
) -> tuple[Features, OfRows, I64, int, int]:
    """Every line of buf[:size]; the last three results are a mask of slow rows, their number and
    the number of lines."""
    lines = count_lines(owned, size)
    buf, kinds, column_names = borrowed(owned), borrowed(owned_kinds), borrowed(owned_names)
    room = min(lines * kinds.size, size + 1) + kinds.size  # a feature is a byte and what ends it
    names, hashes = np.empty(room, np.uint32), np.empty(room, np.uint32)
    values = np.empty(room, np.float32)
    out = (borrowed(names), borrowed(hashes), borrowed(values))
    labels, weights = np.zeros(lines, np.uint8), np.ones(lines, np.float32)
    ids = np.zeros(lines, np.uint64)
    fields = (borrowed(labels), borrowed(weights), borrowed(ids))
    starts, ends = np.empty(lines, np.int64), np.empty(lines, np.int64)
    numbers, slow = np.empty(lines, np.int64), np.zeros(lines, np.int64)
    offsets = np.empty(lines + 1, np.int64)
    offsets[0] = 0
    row, line, at, pos, slow_count = 0, 0, 0, 0, 0
    while pos < size:
        blank = buf[pos] == LF or (buf[pos] == CR and buf[pos + 1] == LF)
        end = line_end(buf, pos)
        if not blank:
            done, after = _scan_row(
                buf, pos, kinds, column_names, bounds, out, at, fields, row, np.uint64(hash_seed)
            )
            if done < 0:
                slow[row] = 1
                slow_count += 1
                after = at
            at = after
            starts[row], ends[row], numbers[row] = pos, end, line
            row += 1
            offsets[row] = at
        pos = end + 1
        line += 1
    features = (offsets[: row + 1], names[:at], hashes[:at], values[:at])
    of_rows = (labels[:row], weights[:row], ids[:row], starts[:row], ends[:row], numbers[:row])
    return features, of_rows, slow[:row], slow_count, lines


def scan_csv(buf: Bytes, columns: Columns, hash_seed: int, limits: Limits) -> ScannedLines:
    """Scan the rows of buf, which ends with a line feed and TEXT_SPARE_BYTES zeros.

    buf uint8, valid UTF-8, without a quote. The names of the columns and the number of features are
    within limits.
    """
    features, of_rows, slow, slow_count, lines = _scan_rows(
        buf,
        buf.size - TEXT_SPARE_BYTES,
        hash_seed,
        columns.kinds,
        columns.name_hashes,
        (limits.value_bytes, float(limits.abs_value), limits.id_chars),
    )
    slow_rows: list[int] = np.flatnonzero(slow).tolist() if slow_count else []
    return ScannedLines(ScannedRows(*features, slow_rows), *of_rows, lines)
