"""What stands before the first | of a line of Vowpal Wabbit text, inside a kernel.

    1 0.5 'imp-81|          label, importance, tag; the rules are `vw_text`'s

Only usual spellings are settled here: a label as -1, 0, 1, +1 or 1.0, an importance as a plain
number. Whatever is unusual or wrong is the slow path's.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.example_fields import is_good_id
from ftrl_core.hashing import xxh64_kernel
from ftrl_core.jit import kernel
from ftrl_core.json_bits import inlined
from ftrl_core.json_number import scan_number
from ftrl_core.json_scan import Bytes
from ftrl_core.text_scan import (
    BAR,
    MINUS,
    PLUS,
    POINT,
    QUOTE,
    SPACE,
    Fields,
    number_end,
    skip_blanks,
)

Wanted = tuple[bool, bool]  # labels, ids
Span = tuple[int, int]  # of the buffer: start and end

NO_LABEL = 255
ONE = np.float32(1)


@kernel
def _label_of(buf: Bytes, pos: int, end: int) -> int:
    """The label buf[pos:end]: 0 or 1, or -1 where unsure."""
    sign = buf[pos]
    if sign in (MINUS, PLUS):
        pos += 1
    if pos >= end or not 48 <= buf[pos] <= 49:
        return -1
    clicked = 1 if buf[pos] == 49 and sign != MINUS else 0
    pos += 1
    if pos < end and buf[pos] == POINT:
        pos += 1
        while pos < end and buf[pos] == 48:
            pos += 1
    return clicked if pos == end else -1


@kernel
def _weight_of(buf: Bytes, pos: int, end: int, most: float) -> tuple[bool, np.float32]:
    """Whether buf[pos:end] is surely a weight, and the weight."""
    if buf[pos] == MINUS or number_end(buf, pos) != end:
        return False, ONE
    after, value = scan_number(buf, pos, end, most)
    return after == end, value


@inlined
def _scan_words(buf: Bytes, pos: int) -> tuple[int, int, Span, Span, Span]:
    """What stands before the first bar: (the bar's position or -1 where unsure, number of words,
    the first word, the second, the last)."""
    words = 0
    first, second, last = (0, 0), (0, 0), (0, 0)
    while True:
        pos = skip_blanks(buf, pos)
        if buf[pos] == BAR:
            return pos, words, first, second, last
        start = pos
        while buf[pos] > SPACE and buf[pos] != BAR:
            pos += 1
        if pos == start:
            return -1, words, first, second, last  # a line end, or a control character
        last = (start, pos)
        words += 1
        if words == 1:
            first = last
        elif words == 2:
            second = last


@inlined
def _set_label_and_weight(
    buf: Bytes, words: int, first: Span, second: Span, weight_max: float, fields: Fields, row: int
) -> bool:
    """Fill the row's label and weight; whether both are sure."""
    if words != 1 and words != 2:
        return False
    label = _label_of(buf, first[0], first[1])
    if label < 0:
        return False
    sure, weight = True, ONE
    if words == 2:
        sure, weight = _weight_of(buf, second[0], second[1], weight_max)
    fields[0][row] = label
    fields[1][row] = weight
    return sure


@inlined
def _set_id(
    buf: Bytes, tag: Span, seed: np.uint64, chars_max: int, fields: Fields, row: int
) -> bool:
    """Fill the row's event id; whether it is sure."""
    start, end = tag
    start += buf[start] == QUOTE
    if start == end:
        return True
    if not is_good_id(buf, start, end, chars_max):
        return False
    fields[2][row] = max(xxh64_kernel(buf, start, end, seed), np.uint64(1))
    return True


@inlined
def scan_header(
    buf: Bytes,
    pos: int,
    seed: np.uint64,
    bounds: tuple[float, int],
    wanted: Wanted,
    fields: Fields,
    row: int,
) -> int:
    """What stands before the first bar, into `fields`; the bar's position, or -1 where unsure."""
    bar, words, first, second, last = _scan_words(buf, pos)
    if bar < 0:
        return -1
    fields[0][row] = NO_LABEL
    fields[1][row] = ONE
    has_tag = words > 0 and (last[1] == bar or buf[last[0]] == QUOTE)
    if has_tag:
        words -= 1
        if wanted[1] and not _set_id(buf, last, seed, bounds[1], fields, row):
            return -1
    if wanted[0] and not _set_label_and_weight(buf, words, first, second, bounds[0], fields, row):
        return -1
    return bar
