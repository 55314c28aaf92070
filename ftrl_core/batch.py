"""ExampleBatch: examples as arrays, in the one canonical form that every fold sees.

A batch is compressed sparse rows: row r has the features row_offsets[r]:row_offsets[r + 1] of three
parallel arrays. Inside a row they stand in canonical order: ascending by the 64-bit key
name_hash << 32 | feature_hash, each key once (equal ones are merged, their values summed in
float64 in ascending order of value, then rounded: so no permutation of the input changes a bit).
The order is part of the log's format: the dot product sums in it, and no later kernel may change
it.

Rows of one schema arrive in the same order again and again, so the previous row's permutation is
tried first and an insertion sort, linear on what is already sorted, mends the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ftrl_core.jit import kernel
from ftrl_core.limits import Limits

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]
F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

Scalar = TypeVar("Scalar", bound=np.generic)

NO_LABEL = 255
_INSERTION_MAX = 64  # longer rows that are out of order are sorted by value, then by key


def frozen(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """A view that cannot be written to.

    Numba compiles a kernel again for arrays of another mutability. What comes from bytes is
    read-only and what a caller made is not; kernels are given frozen views of either, so that none
    is compiled after the start.
    """
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(slots=True)
class ExampleBatch:
    """Examples in canonical form.

    row_offsets    int64[rows + 1]
    name_hashes    uint32[nnz]   hash of the feature's name
    feature_hashes uint32[nnz]   categorical: hash of the value under the name; number: the name's
    values         float32[nnz]  1 for a categorical feature that came once
    labels         uint8[rows]   0 or 1; NO_LABEL where absent (only to predict)
    weights        float32[rows] importance
    event_ids      uint64[rows]  hash of the event id, 0 where absent
    """

    row_offsets: I64
    name_hashes: U32
    feature_hashes: U32
    values: F32
    labels: U8
    weights: F32
    event_ids: U64

    @property
    def rows(self) -> int:
        """Number of examples."""
        return self.labels.size

    @property
    def nnz(self) -> int:
        """Number of features of all examples together."""
        return self.values.size

    def slice(self, first: int, last: int) -> ExampleBatch:
        """Rows first:last; the feature arrays are views, the offsets are a copy."""
        low, high = int(self.row_offsets[first]), int(self.row_offsets[last])
        return ExampleBatch(
            self.row_offsets[first : last + 1] - low,
            self.name_hashes[low:high],
            self.feature_hashes[low:high],
            self.values[low:high],
            self.labels[first:last],
            self.weights[first:last],
            self.event_ids[first:last],
        )

    @staticmethod
    def concatenate(batches: Sequence[ExampleBatch]) -> ExampleBatch:
        """All rows of all batches, in order."""
        if len(batches) == 1:
            return batches[0]
        starts = np.cumsum([0] + [b.nnz for b in batches])
        offsets = [b.row_offsets[1:] + start for b, start in zip(batches, starts, strict=False)]
        return ExampleBatch(
            np.concatenate([np.zeros(1, np.int64), *offsets]),
            np.concatenate([b.name_hashes for b in batches]),
            np.concatenate([b.feature_hashes for b in batches]),
            np.concatenate([b.values for b in batches]),
            np.concatenate([b.labels for b in batches]),
            np.concatenate([b.weights for b in batches]),
            np.concatenate([b.event_ids for b in batches]),
        )

    @staticmethod
    def from_examples(
        examples: Sequence[Mapping[str, Any]],
        hash_seed: int = 0,
        require_labels: bool = True,
        limits: Limits | None = None,
    ) -> ExampleBatch:
        """A batch from examples in the JSON shape of the HTTP interface.

        Raises BadExample or TooLarge, with the row and a pointer, when one breaks a rule.
        """
        from ftrl_core.features import examples_to_batch  # it imports this module

        return examples_to_batch(
            examples,
            shared=None,
            hash_seed=hash_seed,
            require_labels=require_labels,
            limits=limits or Limits(),
        )


@kernel
def _insertion_sort(keys: U64, values: F32, order: I64, start: int, count: int) -> None:
    """Sort order[:count], indices relative to start, by (key, value), in place."""
    for i in range(1, count):
        moving = order[i]
        key = keys[start + moving]
        value = values[start + moving]
        j = i - 1
        while j >= 0:
            other = keys[start + order[j]]
            if other < key or (other == key and values[start + order[j]] <= value):
                break
            order[j + 1] = order[j]
            j -= 1
        order[j + 1] = moving


@kernel
def _is_sorted(keys: U64, order: I64, start: int, count: int) -> bool:
    for i in range(1, count):
        if keys[start + order[i - 1]] >= keys[start + order[i]]:
            return False
    return True


@kernel
def _order_row(
    keys: U64, values: F32, order: I64, start: int, count: int, same_count: bool
) -> None:
    """Leave in order[:count] the permutation that sorts the row; reuse the last one if it fits."""
    if not same_count:
        for i in range(count):
            order[i] = i
    if _is_sorted(keys, order, start, count):
        return
    if count > _INSERTION_MAX:
        by_value = np.argsort(values[start : start + count], kind="mergesort")
        stable = np.argsort(keys[start : start + count][by_value], kind="mergesort")
        order[:count] = by_value[stable]
    _insertion_sort(keys, values, order, start, count)


@kernel
def _merge_row(
    keys: U64, values: F32, order: I64, start: int, count: int, out_keys: U64, out: F32, at: int
) -> int:
    """Write the row in order from `at` on, equal keys merged; returns the next free place."""
    i = 0
    while i < count:
        key = keys[start + order[i]]
        total = np.float64(values[start + order[i]])
        i += 1
        while i < count and keys[start + order[i]] == key:
            total += np.float64(values[start + order[i]])
            i += 1
        out_keys[at] = key
        out[at] = np.float32(total)
        at += 1
    return at


@kernel
def _canonicalise(
    row_offsets: I64,
    names: U32,
    hashes: U32,
    values: F32,
    out_offsets: I64,
    out_keys: U64,
    out: F32,
) -> int:
    rows = row_offsets.size - 1
    longest = 0
    for r in range(rows):
        longest = max(longest, row_offsets[r + 1] - row_offsets[r])
    keys = np.empty(values.size, np.uint64)
    for i in range(values.size):
        keys[i] = (np.uint64(names[i]) << np.uint64(32)) | np.uint64(hashes[i])
    order = np.empty(longest, np.int64)
    previous = -1
    at = 0
    out_offsets[0] = 0
    for r in range(rows):
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        _order_row(keys, values, order, start, count, count == previous)
        previous = count
        at = _merge_row(keys, values, order, start, count, out_keys, out, at)
        out_offsets[r + 1] = at
    return at


@kernel
def canonicalise(
    row_offsets: I64, name_hashes: U32, feature_hashes: U32, values: F32
) -> tuple[I64, U32, U32, F32]:
    """The same rows in canonical form; inputs are not changed, dtypes as in ExampleBatch."""
    offsets = np.empty(row_offsets.size, np.int64)
    keys = np.empty(values.size, np.uint64)
    merged = np.empty(values.size, np.float32)
    count = _canonicalise(row_offsets, name_hashes, feature_hashes, values, offsets, keys, merged)
    names, hashes = np.empty(count, np.uint32), np.empty(count, np.uint32)
    for i in range(count):
        names[i] = np.uint32(keys[i] >> np.uint64(32))
        hashes[i] = np.uint32(keys[i] & np.uint64(0xFFFFFFFF))
    return offsets, names, hashes, merged[:count]
