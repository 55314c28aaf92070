"""What a numeric feature contributes: the model's option `numbers`.

The log keeps a number as it was sent; this is done when a batch is folded or predicted, so it is
part of the fold. A feature is numeric when its hash is its name's.

    raw        the number itself, under the name's slot (as in every other linear learner)
    log_bins   a category instead: sign, exponent and the leading bit of the fraction of the
               float32, two to a factor of two; so a weight for "about this size"
    auto       that category, and sign(x) log(1 + |x|) under the name's slot, as two views: in a
               mixture the even lanes see the categories and the odd lanes the logarithms, and the
               posterior finds out which suits the data; a model of one lane sees both

Bins are read off the bits, so they need no statistics, hold for any scale and never move; they fit
any shape, at the price of a slot for each. The logarithm fits monotone effects from few examples
(text weighted by tf-idf), and keeps a column of scale 1e6 from drowning the others. One lane with
both does worse than the better of two lanes with one each (docs/contest.md).

An entry's view says which lanes see it (kernels.view_factors). The order stays canonical: the
number's logarithm, then its bin.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.batch import F32, I64, U8, U32, ExampleBatch
from ftrl_core.bits import bits_of_f32
from ftrl_core.jit import kernel
from ftrl_core.kernels import BIN_LANES, LINEAR_LANES
from ftrl_core.numbers import log

BIN_BITS = 1
RAW, LOG_BINS, AUTO = "raw", "log_bins", "auto"
ZERO, ONE = np.float32(0.0), np.float32(1.0)


@kernel
def bin_hash(name_hash: np.uint32, x: np.float32) -> np.uint32:
    """The feature hash of the bin that x falls into (murmur3's finaliser over name and bin)."""
    pattern = bits_of_f32(np.float32(x + ZERO))  # + 0 makes -0.0 into 0.0
    place = np.uint32(pattern >> np.uint32(23 - BIN_BITS))
    h = np.uint32(name_hash ^ np.uint32(place * np.uint32(0x9E3779B1)))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@kernel
def compressed(x: np.float32) -> np.float32:
    """sign(x) log(1 + |x|), rounded once."""
    size = log(1.0 + abs(np.float64(x)))
    return np.float32(size if x > ZERO else -size)


@kernel
def all_compressed(values: F32, out: F32) -> None:
    """`compressed` of each value into out (float32, as long): one plain loop, so that the compiler
    computes several at once; the same bits."""
    for i in range(values.size):
        out[i] = compressed(values[i])


@kernel
def numeric_count(names: U32, hashes: U32) -> int:
    """How many features are numbers."""
    count = 0
    for i in range(names.size):
        count += names[i] == hashes[i]
    return count


@kernel
def expand(
    auto: bool, row_offsets: I64, names: U32, hashes: U32, values: F32,
    to_offsets: I64, to_hashes: U32, to_values: F32, to_views: U8,
) -> None:  # fmt: skip
    """Write the rows with their numbers replaced; the last four arrays change in place.

    to_views comes as zeros: EVERY_LANE.
    """
    logarithms = np.empty(values.size if auto else 0, np.float32)
    all_compressed(values[: logarithms.size], logarithms)
    at = 0
    for r in range(row_offsets.size - 1):
        to_offsets[r] = at
        for i in range(row_offsets[r], row_offsets[r + 1]):
            if names[i] != hashes[i]:
                to_hashes[at], to_values[at] = hashes[i], values[i]
                at += 1
                continue
            if auto:
                to_hashes[at], to_values[at] = hashes[i], logarithms[i]
                to_views[at] = LINEAR_LANES
                at += 1
            to_hashes[at], to_values[at] = bin_hash(names[i], values[i]), ONE
            to_views[at] = BIN_LANES
            at += 1
    to_offsets[row_offsets.size - 1] = at


@kernel
def expanded_rows(
    replaces: bool, auto: bool, row_offsets: I64, names: U32, hashes: U32, values: F32
) -> tuple[I64, U32, F32, U8]:
    """(row_offsets, feature_hashes, values, views) as the kernels fold them, inside a kernel.

    replaces: the model's numbers are not raw; auto: both views of a number.
    """
    count = numeric_count(names, hashes) if replaces else 0
    if count == 0:
        return row_offsets, hashes, values, np.zeros(values.size, np.uint8)
    size = values.size + (count if auto else 0)
    to_offsets = np.empty(row_offsets.size, np.int64)
    to_hashes, to_values = np.empty(size, np.uint32), np.empty(size, np.float32)
    views = np.zeros(size, np.uint8)
    expand(auto, row_offsets, names, hashes, values, to_offsets, to_hashes, to_values, views)
    return to_offsets, to_hashes, to_values, views


def expanded(numbers: str, batch: ExampleBatch) -> tuple[I64, U32, F32, U8]:
    """(row_offsets, feature_hashes, values, views) as the kernels fold them.

    The batch is not changed; views is uint8[nnz].
    """
    count = 0 if numbers == RAW else numeric_count(batch.name_hashes, batch.feature_hashes)
    if count == 0:
        every = np.zeros(batch.nnz, np.uint8)
        return batch.row_offsets, batch.feature_hashes, batch.values, every
    size = batch.nnz + (count if numbers == AUTO else 0)
    offsets = np.empty_like(batch.row_offsets)
    hashes, values = np.empty(size, np.uint32), np.empty(size, np.float32)
    views = np.zeros(size, np.uint8)
    expand(
        numbers == AUTO, batch.row_offsets, batch.name_hashes, batch.feature_hashes, batch.values,
        offsets, hashes, values, views,
    )  # fmt: skip
    return offsets, hashes, values, views
