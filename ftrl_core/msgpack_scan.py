"""Raw MessagePack of features to hashed features: what `json_scan` is for JSON.

    buf         82 a2 61 64 a2 61 39 a5 .. cb ..   maps of features, one after the other
                 |  └ "ad"    └ "a9"
                 └ a map of two pairs
    row_starts  where each begins, and where the last one ends

A MessagePack parser (msgspec) has walked each map; it checks lengths but, of what it skips, neither
UTF-8 nor which types there are. So this settles all or nothing: with anything that it is not sure
of (what JSON does not have, a list in a list, a limit exceeded, text that is no UTF-8) the caller
reads the whole body another way. Values mean what they mean in `features`.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.batch import canonicalise
from ftrl_core.bits import f32_of_bits, f64_of_bits, load_u64
from ftrl_core.features import TINY
from ftrl_core.jit import kernel
from ftrl_core.json_bits import borrowed, inlined
from ftrl_core.json_names import KnownNames, known_bytes, no_names, remember
from ftrl_core.json_scan import F32, I64, U32, Bounds, Bytes, Out, ScannedRows, bounds_of, put
from ftrl_core.json_string import murmur3_32_spare
from ftrl_core.limits import Limits

MSGPACK_SPARE_BYTES = 16  # of the buffer, after the last map
_HIGH_BITS = np.uint64(0x8080808080808080)


@kernel
def _big_endian(buf: Bytes, pos: int, size: int) -> np.uint64:
    """The number in the `size` bytes at pos, 8 at most."""
    number = np.uint64(0)
    for i in range(size):
        number = (number << np.uint64(8)) | np.uint64(buf[pos + i])
    return number


@inlined
def _length(buf: Bytes, pos: int, first: int, mask: int, code: int) -> tuple[int, int]:
    """The head at pos of a string, list or map: (position after it, its length); -1: it is none.

    first, mask   of the short form, which has the length in its first byte
    code          of the form with two more bytes; the next has four
    """
    c = int(np.int64(buf[pos]))
    if first <= c <= first + mask:
        return pos + 1, c & mask
    if c == code:
        return pos + 3, int(np.int64(_big_endian(buf, pos + 1, 2)))
    if c == code + 1:
        return pos + 5, int(np.int64(_big_endian(buf, pos + 1, 4)))
    return -1, 0


@kernel
def _is_continued(buf: Bytes, pos: int, end: int, low: int, high: int, count: int) -> bool:
    """Whether `count` bytes from pos on continue a character, the first from low to high."""
    if pos + count > end or not low <= buf[pos] <= high:
        return False
    for i in range(pos + 1, pos + count):
        if not 0x80 <= buf[i] <= 0xBF:
            return False
    return True


@kernel
def _is_utf8(buf: Bytes, pos: int, end: int) -> bool:
    """Whether buf[pos:end] is valid UTF-8 (The Unicode Standard, table 3-7)."""
    while pos < end:
        c = buf[pos]
        low, high, count = 0x80, 0xBF, 0
        if c >= 0x80:
            if c < 0xC2 or c > 0xF4:
                return False
            count = 1 if c < 0xE0 else (2 if c < 0xF0 else 3)
            if c == 0xE0:
                low = 0xA0
            elif c == 0xED:
                high = 0x9F
            elif c == 0xF0:
                low = 0x90
            elif c == 0xF4:
                high = 0x8F
            if not _is_continued(buf, pos + 1, end, low, high, count):
                return False
        pos += 1 + count
    return True


@inlined
def _is_text(buf: Bytes, start: int, end: int) -> bool:
    """Whether buf[start:end] is valid UTF-8, quickly where it is ASCII; eight bytes follow it."""
    high = np.uint64(0)
    i = start
    while i + 8 <= end:
        high |= load_u64(buf, i)
        i += 8
    rest = np.uint64(8 * (end - i))
    high |= load_u64(buf, i) & ((np.uint64(1) << rest) - np.uint64(1))
    return not high & _HIGH_BITS or _is_utf8(buf, start, end)


@inlined
def _hash_text(
    buf: Bytes, pos: int, end: int, seed: np.uint32, bytes_max: int
) -> tuple[int, np.uint32]:
    """The string at pos: (position after it, its hash under the seed); -1 where unsure."""
    if buf[pos] == 0xD9:
        start, size = pos + 2, int(np.int64(buf[pos + 1]))
    else:
        start, size = _length(buf, pos, 0xA0, 0x1F, 0xDA)
    stop = start + size
    if start < 0 or size > bytes_max or stop > end or not _is_text(buf, start, stop):
        return -1, np.uint32(0)
    return stop, murmur3_32_spare(buf, start, stop, seed)


@kernel
def _number(buf: Bytes, pos: int) -> tuple[int, float]:
    """The number at pos: (position after it, itself); -1: it is none."""
    c = int(np.int64(buf[pos]))
    if c <= 0x7F:
        return pos + 1, float(c)
    if c >= 0xE0:
        return pos + 1, float(c - 256)
    if c == 0xCA:
        bits = np.uint32(_big_endian(buf, pos + 1, 4))
        return pos + 5, float(f32_of_bits(bits))
    if c == 0xCB:
        return pos + 9, f64_of_bits(_big_endian(buf, pos + 1, 8))
    if 0xCC <= c <= 0xCF:
        size = 1 << (c - 0xCC)
        return pos + 1 + size, float(_big_endian(buf, pos + 1, size))
    if 0xD0 <= c <= 0xD3:
        size = 1 << (c - 0xD0)
        unused = np.int64(64 - 8 * size)
        number = np.int64(_big_endian(buf, pos + 1, size)) << unused >> unused  # with its sign
        return pos + 1 + size, float(number)
    return -1, 0.0


@inlined
def _scan_item(
    buf: Bytes, pos: int, end: int, name: np.uint32, bounds: Bounds, out: Out, at: int
) -> tuple[int, int]:
    """One value that is no list, at pos: (position after it or -1 where unsure, next free place).

    There is room for one feature at `at`.
    """
    c = buf[pos]
    if 0xA0 <= c <= 0xBF or 0xD9 <= c <= 0xDB:
        pos, feature = _hash_text(buf, pos, end, name, bounds[1])
        put(out, at, name, feature, np.float32(1))
        return pos, at + 1
    if c == 0xC0 or c == 0xC2:  # null, false
        return pos + 1, at
    if c == 0xC3:  # true
        put(out, at, name, name, np.float32(1))
        return pos + 1, at + 1
    pos, number = _number(buf, pos)
    if not abs(number) <= bounds[2]:
        return -1, at
    put(out, at, name, name, np.float32(number if abs(number) >= TINY else 0.0))
    return pos, at + 1


@inlined
def _scan_map(
    buf: Bytes, pos: int, end: int, seed: np.uint32, bounds: Bounds, out: Out, at: int, last: int,
    known: KnownNames,
) -> int:  # fmt: skip
    """One map of features; the next free place, or -1 where unsure or there is no room."""
    pos, pairs = _length(buf, pos, 0x80, 0x0F, 0xDE)
    if pos < 0:
        return -1
    for place in range(pairs):
        start, size = pos, known_bytes(buf, pos, end, known, place)
        if size:
            pos, name = pos + size, known[2][place]
        else:
            pos, name = _hash_text(buf, pos, end, seed, bounds[0])
            if pos < 0:
                return -1
            remember(known, place, start, pos - start, name)
        inside, items = _length(buf, pos, 0x90, 0x0F, 0xDC)
        if inside >= 0:
            pos = inside
        else:
            items = 1
        for _ in range(items):
            if pos >= end or at >= last:
                return -1
            pos, at = _scan_item(buf, pos, end, name, bounds, out, at)
            if pos < 0:
                return -1
    return at if pos == end else -1


@kernel
def _scan_maps(
    owned: Bytes, row_starts: I64, hash_seed: int, bounds: Bounds, row_max: int, total_max: int
) -> tuple[I64, U32, U32, F32, bool]:
    """Every row, in the order in which features come; the last result: whether all are settled."""
    buf = borrowed(owned)
    rows = row_starts.size - 1
    room = min(row_starts[rows] - row_starts[0], total_max + row_max) + 1
    names = np.empty(room, np.uint32)
    features = np.empty(room, np.uint32)
    values = np.empty(room, np.float32)
    out = (borrowed(names), borrowed(features), borrowed(values))
    places = no_names()
    known = (borrowed(places[0]), borrowed(places[1]), borrowed(places[2]))
    offsets = np.zeros(rows + 1, np.int64)
    at = 0
    is_settled = True
    for row in range(rows):
        last = min(at + row_max + 1, room)
        after = _scan_map(
            buf, row_starts[row], row_starts[row + 1], np.uint32(hash_seed), bounds, out, at, last,
            known,
        )  # fmt: skip
        if after < 0 or after - at > row_max or after > total_max:
            is_settled = False
            break
        at = after
        offsets[row + 1] = at
    return offsets, names[:at], features[:at], values[:at], is_settled


@kernel
def _canonical_maps(
    buf: Bytes, row_starts: I64, hash_seed: int, bounds: Bounds, row_max: int, total_max: int
) -> tuple[I64, U32, U32, F32, bool]:
    offsets, names, features, values, is_settled = _scan_maps(
        buf, row_starts, hash_seed, bounds, row_max, total_max
    )
    if is_settled:
        offsets, names, features, values = canonicalise(offsets, names, features, values)
    return offsets, names, features, values, is_settled


def scan_maps(
    buf: Bytes,
    row_starts: I64,
    hash_seed: int,
    limits: Limits,
    shared: int = 0,
    *,
    canonical: bool = False,
) -> ScannedRows | None:
    """Scan the maps of features buf[row_starts[r]:row_starts[r + 1]].

    buf        uint8, well-formed MessagePack, with MSGPACK_SPARE_BYTES more bytes at its end
    row_starts int64[rows + 1], ascending
    shared     number of features that every row will get beside its own: they count as well
    canonical  whether the rows are wanted in canonical form
    None where a row, or the sum of them, is not settled surely.
    """
    row_max = limits.features - shared
    total_max = limits.request_features - shared * (row_starts.size - 1)
    if row_max < 0 or total_max < 0:
        return None
    scan = _canonical_maps if canonical else _scan_maps
    offsets, names, hashes, values, is_settled = scan(
        buf, row_starts, hash_seed, bounds_of(limits), row_max, total_max
    )
    return ScannedRows(offsets, names, hashes, values, [], canonical) if is_settled else None
