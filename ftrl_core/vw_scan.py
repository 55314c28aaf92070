"""Vowpal Wabbit text to hashed features: the fast path, one walk over the bytes.

    buf    1 'a|ad a9 x:2\\n\\n0|\\nnonsense\\n........        whole lines, then SPARE_BYTES
    rows   0                 1    2                      blank lines are no rows
    out    offsets 0 2 2 2, labels, weights, tags, where each line stands, slow rows [2]

The rules are `vw_text`'s. A line with anything that the kernel does not settle surely (an odd
number, a limit exceeded, a control character, anything wrong) contributes nothing and is slow: the
caller has it read there, to the same bits or to a refusal. All of the buffer is valid UTF-8.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.jit import kernel
from ftrl_core.json_bits import borrowed, inlined
from ftrl_core.json_number import scan_number
from ftrl_core.json_scan import I64, Bounds, Bytes, Out, ScannedRows, put
from ftrl_core.json_string import SPARE_BYTES, murmur3_32_spare
from ftrl_core.limits import Limits
from ftrl_core.text_scan import (
    BAR,
    COLON,
    CR,
    EQUALS,
    LF,
    SPACE,
    TAB,
    Features,
    OfRows,
    ScannedLines,
    line_end,
    name_end,
    number_end,
    skip_blanks,
)
from ftrl_core.vw_header import ONE, Wanted, scan_header

_TINY = 1e-30  # features.TINY


@inlined
def _scan_value(buf: Bytes, pos: int, bound: float) -> tuple[int, np.float32]:
    """The optional :number at pos, and that a word ends there; (-1, 0) where unsure."""
    value = ONE
    if buf[pos] == COLON:
        end = number_end(buf, pos + 1)
        if end < 0:
            return -1, np.float32(0)
        pos, value = scan_number(buf, pos + 1, end, bound)
        if pos != end:
            return -1, np.float32(0)
    c = buf[pos]
    if c in (SPACE, BAR, LF, TAB, CR):
        return pos, value
    return -1, np.float32(0)


@inlined
def _put_unnamed(
    buf: Bytes, pos: int, end: int, seed: np.uint32, bounds: Bounds, out: Out, at: int,
    value: np.float32,
) -> bool:  # fmt: skip
    """Write buf[pos:end], a feature of the default namespace, to `at`; whether that was sure."""
    equals = pos
    while equals < end and buf[equals] != EQUALS:
        equals += 1
    if equals - pos > bounds[0] or end - equals - 1 > bounds[1]:
        return False
    name = murmur3_32_spare(buf, pos, equals, seed)
    hashed = name
    if equals < end:
        hashed = murmur3_32_spare(buf, equals + 1, end, name)
    put(out, at, name, hashed, value)
    return True


@inlined
def _scaled(value: np.float32, weight: np.float32, bound: float) -> tuple[bool, np.float32]:
    """weight * value, rounded once, and whether it is in range."""
    product = float(np.float64(weight) * np.float64(value))
    if abs(product) < _TINY:
        product = 0.0
    return bool(abs(product) <= bound), np.float32(product)


@inlined
def _scan_features(
    buf: Bytes, pos: int, seed: np.uint32, bounds: Bounds, out: Out, at: int, last: int
) -> tuple[int, int]:
    """Every namespace from the bar at pos on: (the line's end, or -1 where unsure, next place)."""
    name = seed
    named = False
    weight = ONE
    while True:
        if buf[pos] == BAR:
            pos += 1
            start = pos
            pos = name_end(buf, pos)
            named = pos > start
            weight = ONE
            if named:
                if pos - start > bounds[0]:
                    return -1, at
                name = murmur3_32_spare(buf, start, pos, seed)
                pos, weight = _scan_value(buf, pos, bounds[2])
                if pos < 0:
                    return -1, at
        pos = skip_blanks(buf, pos)
        if buf[pos] == LF:
            return pos, at
        if buf[pos] == BAR:
            continue
        start = pos
        end = name_end(buf, pos)
        if end == start or at >= last:
            return -1, at
        pos, value = _scan_value(buf, end, bounds[2])
        if pos < 0:
            return -1, at
        if weight != ONE:
            sure, value = _scaled(value, weight, bounds[2])
            if not sure:
                return -1, at
        if named:
            if end - start > bounds[1]:
                return -1, at
            put(out, at, name, murmur3_32_spare(buf, start, end, name), value)
        elif not _put_unnamed(buf, start, end, seed, bounds, out, at, value):
            return -1, at
        at += 1


@kernel
def _scan_lines(
    owned: Bytes,
    size: int,
    hash_seed: int,
    bounds: Bounds,
    field_bounds: tuple[float, int],
    wanted: Wanted,
    maxima: tuple[int, int],
    lines: int,
    room: int,
) -> tuple[Features, OfRows, I64, int]:
    """Every line of buf[:size]; the last two results are a mask of slow rows and their number, -1:
    too many features. maxima are the most features of a row and of all."""
    buf = borrowed(owned)
    names, hashes = np.empty(room, np.uint32), np.empty(room, np.uint32)
    values = np.empty(room, np.float32)
    out = (borrowed(names), borrowed(hashes), borrowed(values))
    labels, weights = np.empty(lines, np.uint8), np.empty(lines, np.float32)
    ids = np.zeros(lines, np.uint64)
    fields = (borrowed(labels), borrowed(weights), borrowed(ids))
    starts, ends = np.empty(lines, np.int64), np.empty(lines, np.int64)
    numbers, slow = np.empty(lines, np.int64), np.zeros(lines, np.int64)
    offsets = np.empty(lines + 1, np.int64)
    offsets[0] = 0
    seed = np.uint32(hash_seed)
    row, line, at, pos, slow_count = 0, 0, 0, 0, 0
    while pos < size:
        start = pos
        pos = skip_blanks(buf, pos)
        if buf[pos] != LF:
            end, after = -1, at
            pos = scan_header(buf, pos, np.uint64(hash_seed), field_bounds, wanted, fields, row)
            if pos >= 0:
                last = min(at + maxima[0], room)
                end, after = _scan_features(buf, pos, seed, bounds, out, at, last)
            if end < 0:
                slow[row] = 1
                slow_count += 1
                after = at
                end = line_end(buf, start)
            at = after
            if at > maxima[1]:
                slow_count = -1
                break
            starts[row], ends[row], numbers[row] = start, end, line
            row += 1
            offsets[row] = at
            pos = end
        pos += 1
        line += 1
    features = (offsets[: row + 1], names[:at], hashes[:at], values[:at])
    of_rows = (labels[:row], weights[:row], ids[:row], starts[:row], ends[:row], numbers[:row])
    return features, of_rows, slow[:row], slow_count


def scan_vw(
    buf: Bytes, hash_seed: int, require_labels: bool, id_from_tag: bool, limits: Limits, lines: int
) -> ScannedLines | None:
    """Scan the lines of buf, which ends with a line feed and SPARE_BYTES more bytes.

    buf uint8, valid UTF-8; `lines` is the number of line feeds before the spare bytes. None where
    the rows surely hold more than limits.request_features together.
    """
    size = buf.size - SPARE_BYTES
    features, of_rows, slow, slow_count = _scan_lines(
        buf,
        size,
        hash_seed,
        (limits.name_bytes, limits.value_bytes, float(limits.abs_value)),
        (float(limits.weight), limits.id_chars),
        (require_labels, id_from_tag),
        (limits.features, limits.request_features),
        lines,
        size // 2 + 1,  # a feature is a byte and what ends it
    )
    if slow_count < 0:
        return None
    slow_rows: list[int] = np.flatnonzero(slow).tolist() if slow_count else []
    return ScannedLines(ScannedRows(*features, slow_rows), *of_rows)
