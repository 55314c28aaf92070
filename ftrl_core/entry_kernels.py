"""The loops of `entry`: rows to schemas, hashes and numbers, and back.

A schema is the list of (name hash, kind) of a row; rows of one stream share a few of them, and
finding a row's schema is a look-up in a small open-addressing table, checked against the first row
that had the schema, so that equal hashes of different lists never mix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import F32, I64, U8, U32, Out
from ftrl_core.errors import BadEntry
from ftrl_core.jit import kernel
from ftrl_core.json_bits import borrowed, inlined
from ftrl_core.placement import Secret, current_secret, home

U16 = npt.NDArray[np.uint16]
I32 = npt.NDArray[np.int32]

HASH, NUMBER, HASH_AND_NUMBER = 0, 1, 2
ONE = np.float32(1.0)
VALUE_MAX = np.float32(1e12)  # keeps every gradient's square finite in float32, see kernels

_PROBLEMS = (
    "",
    "a schema's kind is not known",
    "the schemas' sizes are not their fields",
    "a row names a schema that is not there",
    "the rows need other counts of hashes or numbers than there are",
    "a row is not in canonical order",
    "a value is out of range",
)


@kernel
def kind_of(name: np.uint32, hashed: np.uint32, value: np.float32) -> int:
    """How a feature is written."""
    if hashed == name:
        return NUMBER
    return HASH if value == ONE else HASH_AND_NUMBER


@kernel
def _signature(
    start: int, end: int, names: U32, hashes: U32, values: F32, begin: np.uint64
) -> np.uint64:
    h = np.uint64(end - start) ^ begin
    for i in range(start, end):
        kind = np.uint64(kind_of(names[i], hashes[i], values[i]))
        h = (h ^ ((np.uint64(names[i]) << np.uint64(2)) | kind)) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(29)
    return h


@kernel
def _same_schema(a: int, b: int, offsets: I64, names: U32, hashes: U32, values: F32) -> bool:
    first, second = np.uint64(offsets[a]), np.uint64(offsets[b])
    count = np.uint64(offsets[a + 1]) - first
    if np.uint64(offsets[b + 1]) - second != count:
        return False
    different = False
    for j in range(count):  # to its end, for that several at once are compared
        i, k = first + j, second + j
        different |= names[i] != names[k]
        kind = kind_of(names[i], hashes[i], values[i])
        different |= kind != kind_of(names[k], hashes[k], values[k])
    return not different


@kernel
def _assign(
    offsets: I64, names: U32, hashes: U32, values: F32, out: U16, firsts: I64, secret: Secret
) -> int:
    rows = out.size
    capacity = 4
    while capacity < 2 * rows:
        capacity *= 2
    table = np.full(capacity, -1, np.int32)
    schemas = 0
    for r in range(rows):
        if r and _same_schema(firsts[out[r - 1]], r, offsets, names, hashes, values):
            out[r] = out[r - 1]  # as most rows of a stream
            continue
        signature = _signature(
            offsets[r], offsets[r + 1], names, hashes, values, np.uint64(secret[0])
        )
        place = home(signature, capacity, secret)
        while True:
            known = table[place]
            if known < 0:
                table[place] = schemas
                firsts[schemas] = r
                out[r] = schemas
                schemas += 1
                break
            if _same_schema(firsts[known], r, offsets, names, hashes, values):
                out[r] = known
                break
            place = (place + 1) & (capacity - 1)
    return schemas


def assign_schemas(offsets: I64, names: U32, hashes: U32, values: F32) -> tuple[U16, I64]:
    """Each row's schema number (uint16[rows]) and each schema's first row (int64[schemas])."""
    rows = offsets.size - 1
    numbers = np.empty(rows, np.uint16)
    firsts = np.empty(rows, np.int64)
    count = _assign(offsets, names, hashes, values, numbers, firsts, current_secret())
    return numbers, firsts[:count]


@kernel
def _flatten(names: U32, hashes: U32, values: F32, out_hashes: U32, out_numbers: F32) -> I64:
    h, v = np.uint64(0), np.uint64(0)  # unsigned, as in `_copy_row`
    for i in range(names.size):
        kind = kind_of(names[i], hashes[i], values[i])
        if kind != NUMBER:
            out_hashes[h] = hashes[i]
            h += np.uint64(1)
        if kind != HASH:
            out_numbers[v] = values[i]
            v += np.uint64(1)
    return np.array([h, v], np.int64)


@kernel
def _describe(
    offsets: I64, names: U32, hashes: U32, values: F32, firsts: I64, sizes: U32, out: U32, kinds: U8
) -> None:
    at = 0
    for s in range(firsts.size):
        for i in range(offsets[firsts[s]], offsets[firsts[s] + 1]):
            out[at] = names[i]
            kinds[at] = kind_of(names[i], hashes[i], values[i])
            at += 1
        sizes[s] = offsets[firsts[s] + 1] - offsets[firsts[s]]


def flatten_rows(
    offsets: I64, names: U32, hashes: U32, values: F32, firsts: I64
) -> tuple[U32, U32, U8, U32, F32]:
    """Schema sizes, schema names, schema kinds, then the rows' hashes and numbers."""
    fields = int((offsets[firsts + 1] - offsets[firsts]).sum())
    sizes = np.empty(firsts.size, np.uint32)
    field_names = np.empty(fields, np.uint32)
    kinds = np.empty(fields, np.uint8)
    _describe(offsets, names, hashes, values, firsts, sizes, field_names, kinds)
    out_hashes = np.empty(names.size, np.uint32)
    out_numbers = np.empty(names.size, np.float32)
    h, v = _flatten(names, hashes, values, out_hashes, out_numbers)
    return sizes, field_names, kinds, out_hashes[:h], out_numbers[:v]


@kernel
def _is_plain(names: U32, kinds: U8, start: int, end: int) -> bool:
    """Whether rows of this schema are hashes under ascending names: canonical whatever they are."""
    for i in range(start, end):
        if kinds[i] != HASH or (i > start and names[i] <= names[i - 1]):
            return False
    return True


@kernel
def _measure(
    sizes: U32, names: U32, kinds: U8, row_schema: U16, schema_starts: I64, plain: U8,
    offsets: I64, need: I64,
) -> int:  # fmt: skip
    """Where schemas begin and which are plain, row offsets, and the counts of hashes and numbers
    needed; returns a number of a problem."""
    fields = 0
    per_schema = np.zeros((sizes.size, 2), np.int64)
    for s in range(sizes.size):
        schema_starts[s] = fields
        if fields + np.int64(sizes[s]) > kinds.size:
            return 2
        for i in range(fields, fields + np.int64(sizes[s])):
            if kinds[i] > HASH_AND_NUMBER:
                return 1
            per_schema[s, 0] += kinds[i] != NUMBER
            per_schema[s, 1] += kinds[i] != HASH
        plain[s] = _is_plain(names, kinds, fields, fields + int(np.int64(sizes[s])))
        fields += int(np.int64(sizes[s]))
    if fields != kinds.size:
        return 2
    offsets[0] = 0
    for r in range(row_schema.size):
        s = row_schema[r]
        if s >= sizes.size:
            return 3
        offsets[r + 1] = offsets[r] + np.int64(sizes[s])
        need[0] += per_schema[s, 0]
        need[1] += per_schema[s, 1]
    return 0


@inlined
def _copy_row(
    names: U32, hashes: U32, field: int, first: int, count: int, out: Out, start: int
) -> None:
    """A row of hashes; unsigned indices, for Numba looks at each of the others for its sign."""
    f, h, at = np.uint64(field), np.uint64(first), np.uint64(start)
    for i in range(np.uint64(count)):
        out[0][at + i] = names[f + i]
        out[1][at + i] = hashes[h + i]
        out[2][at + i] = ONE


@kernel
def _expand(
    names: U32, kinds: U8, row_schema: U16, schema_starts: I64, plain: U8, hashes: U32,
    numbers: F32, offsets: I64, out_names: U32, out_hashes: U32, out_values: F32,
) -> int:  # fmt: skip
    """The rows into the last three arrays, which the caller holds; a number of a problem."""
    names, hashes, numbers = borrowed(names), borrowed(hashes), borrowed(numbers)
    out = (borrowed(out_names), borrowed(out_hashes), borrowed(out_values))
    h, v = 0, 0
    for r in range(row_schema.size):
        field = schema_starts[row_schema[r]]
        if plain[row_schema[r]]:  # nearly all
            count = offsets[r + 1] - offsets[r]
            _copy_row(names, hashes, field, h, count, out, offsets[r])
            h += count
            continue
        previous = np.uint64(0)
        for i in range(offsets[r], offsets[r + 1]):
            name = names[field]
            hashed, value = name, ONE
            if kinds[field] != NUMBER:
                hashed = hashes[h]
                h += 1
            if kinds[field] != HASH:
                value = numbers[v]
                v += 1
            if not abs(value) <= VALUE_MAX:
                return 6
            key = (np.uint64(name) << np.uint64(32)) | np.uint64(hashed)
            if i > offsets[r] and key <= previous:
                return 5
            previous = key
            out[0][i], out[1][i], out[2][i] = name, hashed, value
            field += 1
    return 0


def expand_rows(
    sizes: U32, names: U32, kinds: U8, row_schema: U16, hashes: U32, numbers: F32
) -> tuple[I64, U32, U32, F32]:
    """Row offsets, name hashes, feature hashes and values; BadEntry when sections disagree."""
    starts = np.empty(sizes.size, np.int64)
    offsets = np.empty(row_schema.size + 1, np.int64)
    need, plain = np.zeros(2, np.int64), np.empty(sizes.size, np.uint8)
    _check(_measure(sizes, names, kinds, row_schema, starts, plain, offsets, need))
    if (need[0], need[1]) != (hashes.size, numbers.size):
        _check(4)
    nnz = int(offsets[-1])
    out = np.empty(nnz, np.uint32), np.empty(nnz, np.uint32), np.empty(nnz, np.float32)
    _check(_expand(names, kinds, row_schema, starts, plain, hashes, numbers, offsets, *out))
    return offsets, *out


def _check(problem: int) -> None:
    if problem:
        raise BadEntry(_PROBLEMS[problem])
