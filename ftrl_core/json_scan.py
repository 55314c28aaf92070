"""Raw JSON text of features to hashed features: the fast path, one walk over the bytes.

Input is the text of many `features` objects in one buffer, each already accepted by a JSON parser
(msgspec checks the syntax and hands over the bytes) and all of it valid UTF-8. The kernel hashes names
and values where they stand and converts numbers in place: no Python object is made per feature.

    buf         {"ad":"a9","price":3.5}{"ad":"a7"}{"ad":{}}........   + SPARE_BYTES
    row_starts  0                      23         32       40
    out         offsets 0 2 3 3, three parallel arrays of 3, slow rows [2]

A row with anything that the kernel does not settle surely (a nested object, a limit exceeded, a
number too close to call, not an object at all) contributes nothing and is named in `slow`: the caller
reads it with `features`, to the same bits or to a refusal. So this file holds no rule's wording.

The output is sized by counting commas: a document has at most one feature more than commas. Parsing
the whole body here, wrapper and all, was refused: it would be a second JSON parser to trust.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftrl_core.jit import kernel
from ftrl_core.json_number import scan_number
from ftrl_core.json_string import hash_string
from ftrl_core.limits import Limits

Bytes = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]
F32 = npt.NDArray[np.float32]
Out = tuple[U32, U32, F32]
Bounds = tuple[int, int, float]  # name bytes, value bytes, magnitude of a number


@dataclass(slots=True)
class ScannedRows:
    """What the kernel made of the rows; not yet canonical.

    row_offsets int64[rows + 1], name_hashes uint32, feature_hashes uint32, values float32 as in
    ExampleBatch; `slow` are the rows that the caller must read itself, in ascending order.
    """

    row_offsets: I64
    name_hashes: U32
    feature_hashes: U32
    values: F32
    slow: list[int]


@kernel
def _skip_space(buf: Bytes, pos: int, end: int) -> int:
    while pos < end and (buf[pos] == 32 or buf[pos] == 10 or buf[pos] == 13 or buf[pos] == 9):
        pos += 1
    return pos


@kernel
def _put(out: Out, at: int, name: np.uint32, feature: np.uint32, value: np.float32) -> None:
    out[0][at] = name
    out[1][at] = feature
    out[2][at] = value


@kernel
def _scan_item(
    buf: Bytes, pos: int, end: int, name: np.uint32, bounds: Bounds, scratch: Bytes, out: Out, at: int
) -> tuple[int, int]:
    """One value that is no list, at pos: (position after it or -1 where unsure, next free place).

    There is room for one feature at `at`.
    """
    c = buf[pos]
    if c == 34:
        pos, feature = hash_string(buf, pos, end, name, bounds[1], scratch)
        _put(out, at, name, feature, np.float32(1))
        return pos, at + 1
    if c == 45 or 48 <= c <= 57:
        pos, value = scan_number(buf, pos, end, bounds[2])
        _put(out, at, name, name, value)
        return pos, at + 1
    if c == 116:  # true
        _put(out, at, name, name, np.float32(1))
        return pos + 4, at + 1
    if c == 102:  # false
        return pos + 5, at
    if c == 110:  # null
        return pos + 4, at
    return -1, at


@kernel
def _scan_list(
    buf: Bytes,
    pos: int,
    end: int,
    name: np.uint32,
    bounds: Bounds,
    scratch: Bytes,
    out: Out,
    at: int,
    last: int,
) -> tuple[int, int]:
    """The list whose bracket is at pos; as _scan_item, with room up to `last`."""
    pos = _skip_space(buf, pos + 1, end)
    if pos < end and buf[pos] == 93:
        return pos + 1, at
    while pos < end and at < last:
        pos, at = _scan_item(buf, pos, end, name, bounds, scratch, out, at)
        if pos < 0:
            break
        pos = _skip_space(buf, pos, end)
        if pos < end and buf[pos] == 93:
            return pos + 1, at
        pos = _skip_space(buf, pos + 1, end)
    return -1, at


@kernel
def _scan_object(
    buf: Bytes,
    pos: int,
    end: int,
    seed: np.uint32,
    bounds: Bounds,
    scratch: Bytes,
    out: Out,
    at: int,
    last: int,
) -> int:
    """One features object; the next free place, or -1 where unsure or there is no room."""
    pos = _skip_space(buf, pos, end)
    if pos >= end or buf[pos] != 123:
        return -1
    pos = _skip_space(buf, pos + 1, end)
    if pos < end and buf[pos] == 125:
        return at
    while pos < end and at < last:
        pos, name = hash_string(buf, pos, end, seed, bounds[0], scratch)
        if pos < 0:
            return -1
        pos = _skip_space(buf, pos, end)
        pos = _skip_space(buf, pos + 1, end)  # the colon
        if pos >= end:
            return -1
        if buf[pos] == 91:
            pos, at = _scan_list(buf, pos, end, name, bounds, scratch, out, at, last)
        else:
            pos, at = _scan_item(buf, pos, end, name, bounds, scratch, out, at)
        if pos < 0:
            return -1
        pos = _skip_space(buf, pos, end)
        if pos < end and buf[pos] == 125:
            return at
        pos = _skip_space(buf, pos + 1, end)  # the comma
    return -1


@kernel
def _count_commas(buf: Bytes, start: int, end: int) -> int:
    count = 0
    for i in range(start, end):
        count += buf[i] == 44
    return count


@kernel
def _scan_rows(
    buf: Bytes, row_starts: I64, hash_seed: int, bounds: Bounds, row_max: int, total_max: int
) -> tuple[I64, U32, U32, F32, I64, int]:
    """Every row; the last two results are a mask of slow rows and their number, -1: too many."""
    rows = row_starts.size - 1
    commas = _count_commas(buf, row_starts[0], row_starts[rows])
    room = min(commas + rows, total_max + row_max) + 1
    out = (np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.float32))
    offsets = np.empty(rows + 1, np.int64)
    offsets[0] = 0
    slow = np.zeros(rows, np.int64)
    slow_count = 0
    scratch = np.empty(max(bounds[0], bounds[1]) + 4, np.uint8)
    seed = np.uint32(hash_seed)
    at = 0
    for row in range(rows):
        last = min(at + row_max + 1, room)
        after = _scan_object(
            buf, row_starts[row], row_starts[row + 1], seed, bounds, scratch, out, at, last
        )
        if after < 0 or after - at > row_max:
            slow[row] = 1
            slow_count += 1
            after = at
        if after > total_max:
            return offsets, out[0], out[1], out[2], slow, -1
        at = after
        offsets[row + 1] = at
    return offsets, out[0][:at], out[1][:at], out[2][:at], slow, slow_count


def scan_features(
    buf: Bytes, row_starts: I64, hash_seed: int, limits: Limits
) -> ScannedRows | None:
    """Scan the features objects buf[row_starts[r]:row_starts[r + 1]].

    buf        uint8, well-formed JSON in valid UTF-8, with SPARE_BYTES more bytes at its end
    row_starts int64[rows + 1], ascending
    None where the rows surely hold more than limits.request_features together.
    """
    bounds = (limits.name_bytes, limits.value_bytes, limits.abs_value)
    offsets, names, hashes, values, slow, slow_count = _scan_rows(
        buf, row_starts, hash_seed, bounds, limits.features, limits.request_features
    )
    if slow_count < 0:
        return None
    slow_rows: list[int] = np.flatnonzero(slow).tolist() if slow_count else []
    return ScannedRows(offsets, names, hashes, values, slow_rows)
