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
from ftrl_core.json_bits import borrowed
from ftrl_core.limits import Limits

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]
F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

Scalar = TypeVar("Scalar", bound=np.generic)
Out = tuple[U32, U32, F32]  # name hashes, feature hashes, values

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
def _insertion_sort(keys: U64, values: F32, order: I64, count: int) -> None:
    """Sort order[:count], indices into the row's keys and values, by (key, value), in place."""
    for i in range(1, count):
        moving = order[i]
        key = keys[moving]
        value = values[moving]
        j = i - 1
        while j >= 0:
            other = keys[order[j]]
            if other < key or (other == key and values[order[j]] <= value):
                break
            order[j + 1] = order[j]
            j -= 1
        order[j + 1] = moving


@kernel
def _put_in_order(
    names: U32, hashes: U32, values: F32, order: I64, start: int, count: int, out: Out, at: int
) -> bool:
    """Write the row in the given order to `at`; False where that is not its canonical order."""
    previous = np.uint64(0)
    first, to = np.uint64(start), np.uint64(at)  # unsigned: Numba looks at the sign of others
    for i in range(np.uint64(count)):
        j = first + np.uint64(order[i])
        key = (np.uint64(names[j]) << np.uint64(32)) | np.uint64(hashes[j])
        if i and key <= previous:
            return False
        previous = key
        out[0][to + i] = names[j]
        out[1][to + i] = hashes[j]
        out[2][to + i] = values[j]
    return True


@kernel
def _sort_row(
    names: U32, hashes: U32, values: F32, keys: U64, order: I64, start: int, count: int, known: int
) -> None:
    """Leave in order[:count] the permutation that sorts the row by key, then value.

    The order that is there is begun with, if it is for rows of `known` = count features.
    """
    for i in range(count):
        keys[i] = (np.uint64(names[start + i]) << np.uint64(32)) | np.uint64(hashes[start + i])
    row_values = values[start : start + count]
    if count > _INSERTION_MAX:
        by_value = np.argsort(row_values, kind="mergesort")
        stable = np.argsort(keys[:count][by_value], kind="mergesort")
        order[:count] = by_value[stable]
    elif count != known:
        for i in range(count):
            order[i] = i
    _insertion_sort(keys, row_values, order, count)


@kernel
def _merge_row(
    keys: U64, values: F32, order: I64, start: int, count: int, out: Out, at: int
) -> int:
    """Write the sorted row from `at` on, equal keys merged; returns the next free place."""
    i = 0
    while i < count:
        key = keys[order[i]]
        total = np.float64(values[start + order[i]])
        i += 1
        while i < count and keys[order[i]] == key:
            total += np.float64(values[start + order[i]])
            i += 1
        out[0][at] = np.uint32(key >> np.uint64(32))
        out[1][at] = np.uint32(key & np.uint64(0xFFFFFFFF))
        out[2][at] = np.float32(total)
        at += 1
    return at


@kernel
def _canonicalise(
    row_offsets: I64, names: U32, hashes: U32, values: F32, keys: U64, order: I64,
    out_offsets: I64, out_names: U32, out_hashes: U32, out_values: F32,
) -> int:  # fmt: skip
    """keys and order have room for the longest row. The caller holds every array, so here they are
    borrowed: counting references at each call would cost more than what is called."""
    names, hashes, values = borrowed(names), borrowed(hashes), borrowed(values)
    keys, order = borrowed(keys), borrowed(order)
    out = (borrowed(out_names), borrowed(out_hashes), borrowed(out_values))
    known = -1  # length of the rows that `order` is for
    at = 0
    out_offsets[0] = 0
    for r in range(row_offsets.size - 1):
        start = row_offsets[r]
        count = row_offsets[r + 1] - start
        if count == known and _put_in_order(names, hashes, values, order, start, count, out, at):
            at += count
        else:
            _sort_row(names, hashes, values, keys, order, start, count, known)
            at = _merge_row(keys, values, order, start, count, out, at)
            known = count
        out_offsets[r + 1] = at
    return at


@kernel
def canonicalise(
    row_offsets: I64, name_hashes: U32, feature_hashes: U32, values: F32
) -> tuple[I64, U32, U32, F32]:
    """The same rows in canonical form; inputs are not changed, dtypes as in ExampleBatch."""
    longest = 0
    for r in range(row_offsets.size - 1):
        longest = max(longest, row_offsets[r + 1] - row_offsets[r])
    keys, order = np.empty(longest, np.uint64), np.empty(longest, np.int64)
    offsets = np.empty(row_offsets.size, np.int64)
    names, hashes = np.empty(values.size, np.uint32), np.empty(values.size, np.uint32)
    merged = np.empty(values.size, np.float32)
    count = _canonicalise(
        row_offsets, name_hashes, feature_hashes, values, keys, order,
        offsets, names, hashes, merged,
    )  # fmt: skip
    return offsets, names[:count], hashes[:count], merged[:count]
