"""Figures by the values of chosen features: where a model is right, and where it is not.

The configuration names features, `slices: ["site", ...]`, at most 8. Of each the first 256 values
that come have a row of their own; later ones are counted under OTHER, examples without the feature
under MISSING, and an example whose list has several values under each. A number is the one value
that its name's hash is. Values are known by their hashes: the log has no others.

    row         examples; weight, clicks, predicted, loss
    finished    of all periods of 50,000 examples before this one
    previous    of the last of these
    current     since then

Whole is finished + current; recent is previous + current, the last 50,000 to 100,000 examples: so a
row is written once an example, and nothing is ever subtracted. State, little-endian, as in a
checkpoint:

    int64   examples in the current period, names S
    for each name: int64 name hash, int64 values V; values uint32[V], padded to 8 bytes;
            examples int64[V + 2, 3]; sums float64[V + 2, 3, 4], OTHER and MISSING last
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftrl_core.batch import F32, I64, U8, U32, ExampleBatch, frozen
from ftrl_core.constants import F64
from ftrl_core.hashing import name_hash
from ftrl_core.jit import inner_kernel, kernel

VALUES_MAX = 256
OTHER, MISSING = VALUES_MAX, VALUES_MAX + 1
ROWS = VALUES_MAX + 2
FINISHED, PREVIOUS, CURRENT = range(3)
PERIOD = 50_000
PLACES_BITS = 10  # of the hash table of values: at most a quarter full


@dataclass(slots=True)
class Arrays:
    """The state of S names; places finds a value's row, and follows from values."""

    names: U32  # [S]
    used: I64  # [S] values that have a row
    values: U32  # [S, VALUES_MAX]
    places: I64  # [S, 2^PLACES_BITS], -1 where free
    counts: I64  # [S, ROWS, 3]
    sums: F64  # [S, ROWS, 3, 4]

    @staticmethod
    def empty(names: Sequence[int]) -> Arrays:
        """Before the first example."""
        n = len(names)
        return Arrays(
            np.array(names, np.uint32),
            np.zeros(n, np.int64),
            np.zeros((n, VALUES_MAX), np.uint32),
            np.full((n, 1 << PLACES_BITS), -1, np.int64),
            np.zeros((n, ROWS, 3), np.int64),
            np.zeros((n, ROWS, 3, 4)),
        )


@inner_kernel
def _first_of(names: U32, begin: int, end: int, wanted: np.uint32, guess: int) -> int:
    """Where the name first stands in a row, whose names ascend; end where it does not."""
    at = begin + guess
    if at < end and names[at] == wanted and (at == begin or names[at - 1] != wanted):
        return at
    low, high = begin, end
    while low < high:
        middle = (low + high) // 2
        if names[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < end and names[low] == wanted else end


@kernel
def row_of(s: int, value: np.uint32, used: I64, values: U32, places: I64) -> int:
    """The row of a value, given one if there is room."""
    mask = places.shape[1] - 1
    mixed = np.uint32(np.uint64(value) * np.uint64(0x9E3779B1) & np.uint64(0xFFFFFFFF))
    at = np.int64(mixed >> np.uint32(32 - PLACES_BITS)) & mask
    while places[s, at] >= 0:
        if values[s, places[s, at]] == value:
            return int(places[s, at])
        at = (at + 1) & mask
    row = used[s]
    if row == VALUES_MAX:
        return OTHER
    values[s, row], places[s, at] = value, row
    used[s] = row + 1
    return int(row)


@inner_kernel
def _add(
    s: int, row: int, counts: I64, sums: F64, weight: float, label: int, p: float, loss: float
) -> None:
    counts[s, row, CURRENT] += 1
    sums[s, row, CURRENT, 0] += weight
    sums[s, row, CURRENT, 1] += weight * np.float64(label)
    sums[s, row, CURRENT, 2] += weight * p
    sums[s, row, CURRENT, 3] += weight * loss


@kernel
def _end_period(counts: I64, sums: F64) -> None:
    counts[:, :, FINISHED] += counts[:, :, CURRENT]
    sums[:, :, FINISHED] += sums[:, :, CURRENT]
    counts[:, :, PREVIOUS] = counts[:, :, CURRENT]
    sums[:, :, PREVIOUS] = sums[:, :, CURRENT]
    counts[:, :, CURRENT] = 0
    sums[:, :, CURRENT] = 0.0


@kernel
def _slice_batch(
    row_offsets: I64, name_hashes: U32, feature_hashes: U32, labels: U8, weights: F32, skip: U8,
    predictions: F64, losses: F64, waiting: int, names: U32, used: I64, values: U32, places: I64,
    counts: I64, sums: F64,
) -> int:  # fmt: skip
    """Count the rows with skip 0; how many examples the period has by then."""
    guesses = np.zeros(names.size, np.int64)
    for r in range(labels.size):
        if skip[r]:
            continue
        if waiting == PERIOD:
            _end_period(counts, sums)
            waiting = 0
        waiting += 1
        begin, end = row_offsets[r], row_offsets[r + 1]
        weight, label = np.float64(weights[r]), labels[r]
        p, loss = predictions[r], losses[r]
        for s in range(names.size):
            at = _first_of(name_hashes, begin, end, names[s], guesses[s])
            if at == end:
                _add(s, MISSING, counts, sums, weight, label, p, loss)
                continue
            guesses[s] = at - begin
            while at < end and name_hashes[at] == names[s]:
                row = row_of(s, feature_hashes[at], used, values, places)
                _add(s, row, counts, sums, weight, label, p, loss)
                at += 1
    return int(waiting)


@dataclass(frozen=True, slots=True)
class SliceTable:
    """The rows of one name: of each value, then OTHER and MISSING."""

    name: str
    name_hash: int
    values: list[int]
    counts: I64  # [rows, 3]
    sums: F64  # [rows, 3, 4]


class Slices:
    """The slices of a model; changed by the fold only."""

    def __init__(self, names: Sequence[str], hash_seed: int) -> None:
        self.names = tuple(names)
        self._seed = hash_seed
        self.waiting = 0  # examples in the current period
        self.arrays = Arrays.empty([name_hash(name, hash_seed) for name in names])

    def update(
        self, batch: ExampleBatch, weights: F32, skip: U8, predictions: F64, losses: F64
    ) -> None:
        """Count the rows of a batch with skip[r] == 0."""
        if not self.names:
            return
        a = self.arrays
        self.waiting = _slice_batch(
            frozen(batch.row_offsets), frozen(batch.name_hashes), frozen(batch.feature_hashes),
            frozen(batch.labels), weights, skip, predictions, losses, self.waiting,
            a.names, a.used, a.values, a.places, a.counts, a.sums,
        )  # fmt: skip

    def renamed(self, names: Sequence[str]) -> Slices:
        """Slices of these names: those had before go on, others begin."""
        after = Slices(names, self._seed)
        after.waiting = self.waiting
        for i, name in enumerate(names):
            if name in self.names:
                old = self.names.index(name)
                for to, of in zip(_arrays(after.arrays), _arrays(self.arrays), strict=True):
                    to[i] = of[old]
        return after

    def tables(self) -> list[SliceTable]:
        """Copies of the rows in use, of each name."""
        a, told = self.arrays, []
        for s, name in enumerate(self.names):
            used = int(a.used[s])
            rows = [*range(used), OTHER, MISSING]
            values = a.values[s, :used].tolist()
            counts, sums = a.counts[s, rows], a.sums[s, rows]
            told.append(SliceTable(name, int(a.names[s]), values, counts, sums))
        return told

    def to_bytes(self) -> bytes:
        """The state drawn above; nothing without names."""
        if not self.names:
            return b""
        parts = [np.array([self.waiting, len(self.names)], np.int64).tobytes()]
        a = self.arrays
        for s in range(len(self.names)):
            used = int(a.used[s])
            rows = [*range(used), OTHER, MISSING]
            values = a.values[s, :used].tobytes()
            parts += [
                np.array([a.names[s], used], np.int64).tobytes(),
                values + b"\0" * (-len(values) % 8),
                a.counts[s, rows].tobytes(),
                a.sums[s, rows].tobytes(),
            ]
        return b"".join(parts)

    def load(self, content: bytes) -> None:
        """Take over what `to_bytes` gave; ValueError when it is of other names or sizes."""
        if not content:
            return
        read = _Reader(content)
        waiting, count = (int(x) for x in read.take(np.int64, 2))
        if count != len(self.names) or not 0 <= waiting <= PERIOD:
            raise ValueError("the slices are of other names")
        a = self.arrays
        for s in range(count):
            hashed, used = (int(x) for x in read.take(np.int64, 2))
            if hashed != int(a.names[s]) or not 0 <= used <= VALUES_MAX:
                raise ValueError("the slices are of other names")
            for value in read.take(np.uint32, used + used % 2)[:used]:
                row_of(s, value, a.used, a.values, a.places)
            rows = [*range(used), OTHER, MISSING]
            a.counts[s, rows] = read.take(np.int64, len(rows) * 3).reshape(-1, 3)
            a.sums[s, rows] = read.take(np.float64, len(rows) * 12).reshape(-1, 3, 4)
        if not np.isfinite(a.sums).all():
            raise ValueError("a sum of the slices is not finite")
        self.waiting = waiting


def _arrays(a: Arrays) -> tuple[I64 | U32 | F64, ...]:
    return a.used, a.values, a.places, a.counts, a.sums


class _Reader:
    """Cuts arrays off bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, dtype: type[np.generic], count: int) -> np.ndarray:
        """The next so many; ValueError past the end."""
        array = np.frombuffer(self._content, dtype, count, self._at)
        self._at += array.nbytes
        return array
