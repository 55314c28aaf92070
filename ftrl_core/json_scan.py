"""Raw JSON text of features to hashed features: the fast path, one walk over the bytes.

Input is the text of many `features` objects in one buffer, each already accepted by a JSON parser
(msgspec checks the syntax and hands over the bytes) and all of it valid UTF-8. The kernel hashes
names and values where they stand and converts numbers in place: no Python object is made per
feature.

    buf         {"ad":"a9","price":3.5}{"ad":"a7"}{"ad":{}}........   + SPARE_BYTES
    row_starts  0                      23         32       40
    out         offsets 0 2 3 3, three parallel arrays of 3, slow rows [2]

A row with anything that the kernel does not settle surely (a nested object, a limit exceeded, a
number too close to call, not an object at all) contributes nothing and is named in `slow`: the
caller reads it with `features`, to the same bits or to a refusal. So no rule is worded here.

The output is sized by counting commas: a document has at most one feature more than commas. Parsing
the whole body here, wrapper and all, was refused: it would be a second JSON parser to trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import canonicalise
from ftrl_core.features import Triples
from ftrl_core.jit import kernel
from ftrl_core.json_bits import borrowed, inlined
from ftrl_core.json_names import KnownNames, known_bytes, no_names, remember
from ftrl_core.json_number import scan_number
from ftrl_core.json_string import SPARE_BYTES, hash_string
from ftrl_core.limits import Limits
from ftrl_core.text_bits import MARKED_BYTES, comma_marks, count_marks

Bytes = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]
F32 = npt.NDArray[np.float32]
Scalar = TypeVar("Scalar", bound=np.generic)
Out = tuple[U32, U32, F32]
Bounds = tuple[int, int, float]  # name bytes, value bytes, magnitude of a number


@dataclass(slots=True)
class ScannedRows:
    """What the kernel made of the rows.

    row_offsets int64[rows + 1], name_hashes uint32, feature_hashes uint32, values float32 as in
    ExampleBatch; `slow` are the rows that the caller must read itself, in ascending order.
    is_canonical: as in ExampleBatch too, and no row is slow; otherwise as they came.
    """

    row_offsets: I64
    name_hashes: U32
    feature_hashes: U32
    values: F32
    slow: list[int]
    is_canonical: bool = False


@inlined
def _skip_space(buf: Bytes, pos: int, end: int) -> int:
    while pos < end and (buf[pos] == 32 or buf[pos] == 10 or buf[pos] == 13 or buf[pos] == 9):
        pos += 1
    return pos


@inlined
def put(out: Out, at: int, name: np.uint32, feature: np.uint32, value: np.float32) -> None:
    out[0][at] = name
    out[1][at] = feature
    out[2][at] = value


@inlined
def _scan_item(
    buf: Bytes,
    pos: int,
    end: int,
    name: np.uint32,
    bounds: Bounds,
    scratch: Bytes,
    out: Out,
    at: int,
) -> tuple[int, int]:
    """One value that is no list, at pos: (position after it or -1 where unsure, next free place).

    There is room for one feature at `at`.
    """
    c = buf[pos]
    if c == 34:
        pos, feature = hash_string(buf, pos, end, name, bounds[1], scratch)
        put(out, at, name, feature, np.float32(1))
        return pos, at + 1
    if c == 45 or 48 <= c <= 57:
        pos, value = scan_number(buf, pos, end, bounds[2])
        put(out, at, name, name, value)
        return pos, at + 1
    if c == 116:  # true
        put(out, at, name, name, np.float32(1))
        return pos + 4, at + 1
    if c == 102:  # false
        return pos + 5, at
    if c == 110:  # null
        return pos + 4, at
    return -1, at


@inlined
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


@inlined
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
    known: KnownNames,
) -> int:
    """One features object; the next free place, or -1 where unsure or there is no room."""
    pos = _skip_space(buf, pos, end)
    if pos >= end or buf[pos] != 123:
        return -1
    pos = _skip_space(buf, pos + 1, end)
    if pos < end and buf[pos] == 125:
        return at
    place = 0
    while pos < end and at < last:
        start, size = pos, known_bytes(buf, pos, end, known, place)
        if size:
            pos, name = _skip_space(buf, pos + size, end), known[2][place]
        else:
            pos, name = hash_string(buf, pos, end, seed, bounds[0], scratch)
            if pos < 0:
                return -1
            pos = _skip_space(buf, pos, end)
            pos = _skip_space(buf, pos + 1, end)  # the colon
            remember(known, place, start, pos - start, name)
        place += 1
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
    while start + MARKED_BYTES <= end:
        count += count_marks(comma_marks(buf, start))
        start += MARKED_BYTES
    for i in range(start, end):
        count += buf[i] == 44
    return count


@kernel
def scan_rows(
    owned: Bytes,
    row_starts: I64,
    hash_seed: int,
    bounds: Bounds,
    row_max: int,
    total_max: int,
    spare: Bytes,
) -> tuple[I64, U32, U32, F32, I64, int]:
    """Every row; the last two results are a mask of slow rows and their number, -1: too many.

    Arguments as `scan_features` makes them; the arrays are held by who calls from Python.
    """
    buf = borrowed(owned)
    scratch = borrowed(spare)
    rows = row_starts.size - 1
    commas = _count_commas(buf, row_starts[0], row_starts[rows])
    room = min(commas + rows, total_max + row_max) + 1
    names = np.empty(room, np.uint32)
    features = np.empty(room, np.uint32)
    values = np.empty(room, np.float32)
    out = (
        borrowed(names),
        borrowed(features),
        borrowed(values),
    )
    offsets = np.empty(rows + 1, np.int64)
    offsets[0] = 0
    slow = np.zeros(rows, np.int64)
    slow_count = 0
    places = no_names()
    known = (borrowed(places[0]), borrowed(places[1]), borrowed(places[2]))
    seed = np.uint32(hash_seed)
    at = 0
    for row in range(rows):
        last = min(at + row_max + 1, room)
        after = _scan_object(
            buf, row_starts[row], row_starts[row + 1], seed, bounds, scratch, out, at, last, known
        )
        if after < 0 or after - at > row_max:
            slow[row] = 1
            slow_count += 1
            after = at
        if after > total_max:
            return offsets, names, features, values, slow, -1
        at = after
        offsets[row + 1] = at
    return offsets, names[:at], features[:at], values[:at], slow, slow_count


@kernel
def canonical_rows(
    buf: Bytes,
    row_starts: I64,
    hash_seed: int,
    bounds: Bounds,
    row_max: int,
    total_max: int,
    spare: Bytes,
) -> tuple[I64, U32, U32, F32, I64, int]:
    """As `scan_rows`, and canonical where no row is slow."""
    offsets, names, features, values, slow, slow_count = scan_rows(
        buf, row_starts, hash_seed, bounds, row_max, total_max, spare
    )
    if slow_count == 0:
        offsets, names, features, values = canonicalise(offsets, names, features, values)
    return offsets, names, features, values, slow, slow_count


def bounds_of(limits: Limits) -> Bounds:
    """What `scan_rows` is told of the limits."""
    return limits.name_bytes, limits.value_bytes, float(limits.abs_value)


def spare_of(limits: Limits) -> Bytes:
    """Room for one string without its escapes."""
    return np.empty(max(limits.name_bytes, limits.value_bytes) + SPARE_BYTES, np.uint8)


def scan_features(
    buf: Bytes,
    row_starts: I64,
    hash_seed: int,
    limits: Limits,
    shared: int = 0,
    *,
    canonical: bool = False,
) -> ScannedRows | None:
    """Scan the features objects buf[row_starts[r]:row_starts[r + 1]].

    buf        uint8, well-formed JSON in valid UTF-8, with SPARE_BYTES more bytes at its end
    row_starts int64[rows + 1], ascending
    shared     number of features that every row will get beside its own: they count as well
    canonical  whether the rows are wanted in canonical form, which slow ones prevent
    None where the rows surely hold more than limits.request_features together.
    """
    row_max = limits.features - shared
    total_max = limits.request_features - shared * (row_starts.size - 1)
    if total_max < 0:
        return None
    scan = canonical_rows if canonical else scan_rows
    offsets, names, hashes, values, slow, slow_count = scan(
        buf, row_starts, hash_seed, bounds_of(limits), row_max, total_max, spare_of(limits)
    )
    if slow_count < 0:
        return None
    slow_rows: list[int] = np.flatnonzero(slow).tolist() if slow_count else []
    is_canonical = canonical and not slow_rows
    return ScannedRows(offsets, names, hashes, values, slow_rows, is_canonical)


def rows_of_triples(triples: Triples) -> ScannedRows:
    """One row, of features that were read the slow way."""
    return ScannedRows(
        np.array([0, len(triples)], np.int64),
        np.array(triples.names, np.uint32),
        np.array(triples.hashes, np.uint32),
        np.array(triples.values, np.float32),
        [],
    )


def with_slow_rows(scanned: ScannedRows, rows: Sequence[Triples]) -> ScannedRows:
    """The same rows with rows[i] in the place of the empty row scanned.slow[i]."""
    filled = [rows_of_triples(triples) for triples in rows]
    counts = np.diff(scanned.row_offsets)
    counts[scanned.slow] = [len(triples) for triples in rows]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    cuts = scanned.row_offsets[scanned.slow]

    def spliced(
        whole: npt.NDArray[Scalar], parts: list[npt.NDArray[Scalar]]
    ) -> npt.NDArray[Scalar]:
        pieces = np.split(whole, cuts)
        between = [array for pair in zip(pieces, parts, strict=False) for array in pair]
        return np.concatenate([*between, pieces[-1]])

    return ScannedRows(
        offsets,
        spliced(scanned.name_hashes, [row.name_hashes for row in filled]),
        spliced(scanned.feature_hashes, [row.feature_hashes for row in filled]),
        spliced(scanned.values, [row.values for row in filled]),
        [],
    )


@kernel
def _with_shared(
    offsets: I64, names: U32, hashes: U32, values: F32, names_0: U32, hashes_0: U32, values_0: F32
) -> tuple[I64, U32, U32, F32]:
    rows = offsets.size - 1
    count = names_0.size
    total = names.size + rows * count
    out_offsets = np.empty(rows + 1, np.int64)
    out_names = np.empty(total, np.uint32)
    out_hashes = np.empty(total, np.uint32)
    out_values = np.empty(total, np.float32)
    at = 0
    for row in range(rows):
        out_offsets[row] = at
        for i in range(count):
            out_names[at + i] = names_0[i]
            out_hashes[at + i] = hashes_0[i]
            out_values[at + i] = values_0[i]
        at += count
        for i in range(offsets[row], offsets[row + 1]):
            out_names[at] = names[i]
            out_hashes[at] = hashes[i]
            out_values[at] = values[i]
            at += 1
    out_offsets[rows] = at
    return out_offsets, out_names, out_hashes, out_values


def with_shared(scanned: ScannedRows, shared: ScannedRows) -> ScannedRows:
    """The rows of `scanned`, each with the features of the one row of `shared` as well."""
    joined = _with_shared(
        scanned.row_offsets,
        scanned.name_hashes,
        scanned.feature_hashes,
        scanned.values,
        shared.name_hashes,
        shared.feature_hashes,
        shared.values,
    )
    return ScannedRows(*joined, scanned.slow)
