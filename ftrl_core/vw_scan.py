"""Vowpal Wabbit text to hashed features: the fast path, one walk over the bytes.

    buf    1 'a|ad a9 x:2\\n\\n0|\\nnonsense\\n........        whole lines, then TEXT_SPARE_BYTES
    rows   0                 1    2                      blank lines are no rows
    out    offsets 0 2 2 2, labels, weights, tags, where each line stands, slow rows [2]

The rules are `vw_text`'s. A line with anything that the kernel does not settle surely (an odd
number, a limit exceeded, a control character, anything wrong) contributes nothing and is slow: the
caller has it read there, to the same bits or to a refusal. All of the buffer is valid UTF-8.

Lines of one log have the same names in the same places, so the hash of a short name is remembered
by its place in the line: half of all hashing is saved.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.bits import load_u64
from ftrl_core.jit import kernel
from ftrl_core.json_bits import borrowed, inlined
from ftrl_core.json_number import scan_number
from ftrl_core.json_scan import I64, U32, Bounds, Bytes, Out, ScannedRows, put
from ftrl_core.json_string import murmur3_32_spare
from ftrl_core.limits import Limits
from ftrl_core.text_bits import MARKED_BYTES, count_marks, first_mark, word_marks
from ftrl_core.text_scan import (
    BAR,
    COLON,
    CR,
    EQUALS,
    LF,
    SPACE,
    TAB,
    TEXT_SPARE_BYTES,
    U64,
    Features,
    OfRows,
    ScannedLines,
    count_lines,
    line_end,
    number_end,
    skip_blanks,
)
from ftrl_core.vw_header import ONE, Wanted, scan_header

Known = tuple[U64, U32]  # texts of up to eight bytes, zeros after them, and their hashes

KNOWN_NAMES = 128
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_TINY = 1e-30  # features.TINY


@inlined
def _next(buf: Bytes, base: int, marks: np.uint64) -> tuple[int, int, np.uint64]:
    """(the next mark's position, and base and marks to go on with)."""
    while not marks:
        base += MARKED_BYTES
        marks = word_marks(buf, base)
    return base + first_mark(marks), base, marks & (marks - np.uint64(1))


@inlined
def _next_end(buf: Bytes, base: int, marks: np.uint64) -> tuple[int, int, np.uint64]:
    """The same without =, which ends no word."""
    pos, base, marks = _next(buf, base, marks)
    while buf[pos] == EQUALS:
        pos, base, marks = _next(buf, base, marks)
    return pos, base, marks


@inlined
def _scan_value(
    buf: Bytes, pos: int, base: int, marks: np.uint64, bound: float
) -> tuple[int, int, np.uint64, np.float32]:
    """The number after the colon at pos: (the mark after it or -1, base, marks, value)."""
    start = pos + 1
    pos, base, marks = _next_end(buf, base, marks)
    if number_end(buf, start) != pos:
        return -1, base, marks, ONE
    after, value = scan_number(buf, start, pos, bound)
    return pos if after == pos else -1, base, marks, value


@inlined
def _name_hash(
    buf: Bytes, start: int, end: int, seed: np.uint32, known: Known, place: int
) -> np.uint32:
    """Hash of the name buf[start:end], the place-th of its line."""
    if not start < end <= start + 8:
        return murmur3_32_spare(buf, start, end, seed)
    word = load_u64(buf, start) & (_ALL >> np.uint64(64 - 8 * (end - start)))
    place &= KNOWN_NAMES - 1
    if known[0][place] != word:
        known[0][place] = word
        known[1][place] = murmur3_32_spare(buf, start, end, seed)
    return np.uint32(known[1][place])


@inlined
def _put_unnamed(
    buf: Bytes, pos: int, equals: int, end: int, seed: np.uint32, bounds: Bounds, known: Known,
    place: int, out: Out, at: int, value: np.float32,
) -> bool:  # fmt: skip
    """Write buf[pos:end], a feature of the default namespace whose = (if it has one) is at
    `equals`, to `at`; whether that was sure."""
    if equals - pos > bounds[0] or end - equals - 1 > bounds[1]:
        return False
    name = _name_hash(buf, pos, equals, seed, known, place)
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
def _scan_namespace(
    buf: Bytes, pos: int, base: int, marks: np.uint64, seed: np.uint32, bounds: Bounds,
    known: Known, place: int,
) -> tuple[int, int, np.uint64, np.uint32, bool, np.float32]:  # fmt: skip
    """What touches the bar at pos: (the mark after it or -1, base, marks, hash of the name, whether
    there is one, weight)."""
    start = pos + 1
    pos, base, marks = _next_end(buf, base, marks)
    if pos == start:
        return pos, base, marks, seed, False, ONE
    if pos - start > bounds[0]:
        return -1, base, marks, seed, True, ONE
    name, weight = _name_hash(buf, start, pos, seed, known, place), ONE
    if buf[pos] == COLON:
        pos, base, marks, weight = _scan_value(buf, pos, base, marks, bounds[2])
    return pos, base, marks, name, True, weight


@inlined
def _scan_features(
    buf: Bytes, bar: int, seed: np.uint32, bounds: Bounds, known: Known, out: Out, at: int,
    last: int,
) -> tuple[int, int]:  # fmt: skip
    """Every namespace from the bar on, unless it is -1: (the line's end, or -1 where unsure, next
    place)."""
    if bar < 0:
        return -1, at
    pos, base, marks = bar, bar + 1, word_marks(buf, bar + 1)
    name, named, weight, place = seed, False, ONE, 0
    while True:
        start = pos + 1
        if buf[pos] == BAR:
            pos, base, marks, name, named, weight = _scan_namespace(
                buf, pos, base, marks, seed, bounds, known, place
            )
            place += 1
            if pos < 0:
                return -1, at
            continue
        if buf[pos] == LF:
            return pos, at
        if at >= last or not (buf[pos] == SPACE or buf[pos] == TAB or buf[pos] == CR):
            return -1, at
        pos, base, marks = _next(buf, base, marks)
        end = equals = pos
        if buf[pos] == EQUALS:
            end, base, marks = _next_end(buf, base, marks)
        elif pos == start:
            continue
        pos, value = end, ONE
        if buf[pos] == COLON:
            pos, base, marks, value = _scan_value(buf, pos, base, marks, bounds[2])
        sure = pos >= 0
        if weight != ONE and sure:
            sure, value = _scaled(value, weight, bounds[2])
        if named and end - start <= bounds[1]:
            put(out, at, name, murmur3_32_spare(buf, start, end, name), value)
        else:
            sure = (
                sure
                and not named
                and _put_unnamed(
                    buf, start, equals, end, seed, bounds, known, place, out, at, value
                )
            )
            place += 1
        if not sure:
            return -1, at
        at += 1


@kernel
def _count_words(owned: Bytes, size: int) -> int:
    """How many words buf[:size] has at most, and one; the spare bytes end a few more."""
    buf = borrowed(owned)
    count = 1
    for pos in range(0, size, MARKED_BYTES):
        count += count_marks(word_marks(buf, pos))
    return count


@kernel
def _scan_lines(
    owned: Bytes, size: int, hash_seed: int, bounds: Bounds, field_bounds: tuple[float, int],
    wanted: Wanted, maxima: tuple[int, int], known_texts: U64, known_hashes: U32,
) -> tuple[Features, OfRows, I64, int, int]:  # fmt: skip
    """Every line of buf[:size]; the last three results are a mask of slow rows, their number (-1:
    too many features) and the number of lines. maxima are the most features of a row and of all."""
    buf = borrowed(owned)
    known = (borrowed(known_texts), borrowed(known_hashes))
    lines, room = count_lines(owned, size), _count_words(owned, size)
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
            bar = scan_header(buf, pos, np.uint64(hash_seed), field_bounds, wanted, fields, row)
            last = min(at + maxima[0], room)
            end, after = _scan_features(buf, bar, seed, bounds, known, out, at, last)
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
    return features, of_rows, slow[:row], slow_count, lines


def scan_vw(
    buf: Bytes, hash_seed: int, require_labels: bool, id_from_tag: bool, limits: Limits
) -> ScannedLines | None:
    """Scan the lines of buf, which ends with a line feed and TEXT_SPARE_BYTES zeros.

    buf uint8, valid UTF-8. None where the rows surely hold more than limits.request_features
    together.
    """
    features, of_rows, slow, slow_count, lines = _scan_lines(
        buf,
        buf.size - TEXT_SPARE_BYTES,
        hash_seed,
        (limits.name_bytes, limits.value_bytes, float(limits.abs_value)),
        (float(limits.weight), limits.id_chars),
        (require_labels, id_from_tag),
        (limits.features, limits.request_features),
        np.zeros(KNOWN_NAMES, np.uint64),
        np.zeros(KNOWN_NAMES, np.uint32),
    )
    if slow_count < 0:
        return None
    slow_rows: list[int] = np.flatnonzero(slow).tolist() if slow_count else []
    return ScannedLines(ScannedRows(*features, slow_rows), *of_rows, lines)
