"""Columns of values to rows of features, in kernels: what a table (Arrow) needs beside `features`.

A column has items: each belongs to a row, and is a hash and a value. A list column has several a
row, one with nulls fewer than rows. `place_items` puts the items of one column after those of the
columns before it, row by row:

    next   offsets of the rows at first; where the row's next item goes

Texts are hashed from Arrow's buffers, offsets and bytes, without an object for each; columns that
are texts throughout all at once, straight into rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import frozen
from ftrl_core.bits import load_u32
from ftrl_core.hashing import murmur3_32_kernel
from ftrl_core.jit import kernel

Bytes = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]


@kernel
def hash_texts(offsets: I64, data: Bytes, name_hash: int, bytes_max: int) -> U32:
    """Feature hashes of the texts data[offsets[i]:offsets[i + 1]] under a name; of one longer than
    bytes_max nothing."""
    hashes = np.zeros(offsets.size - 1, np.uint32)
    seed = np.uint32(name_hash)
    for i in range(hashes.size):
        if offsets[i + 1] - offsets[i] <= bytes_max:
            hashes[i] = murmur3_32_kernel(data, offsets[i], offsets[i + 1], seed)
    return hashes


@kernel
def hash_text_columns(
    body: Bytes, ends_at: I64, texts_at: I64, name_hashes: U32, rows: int, bytes_max: int
) -> tuple[U32, bool]:
    """Feature hashes uint32[rows * columns] of columns of texts, row by row, and whether all of
    them are at most bytes_max long.

    Column c has rows + 1 ascending int32 offsets from body[ends_at[c]] on, into its texts, which
    begin at body[texts_at[c]]; the caller has checked that all of this is inside the body.
    """
    columns = name_hashes.size
    hashes = np.zeros(rows * columns, np.uint32)
    for c in range(columns):
        at = ends_at[c]
        end = np.int64(load_u32(body, at))
        for r in range(rows):
            first, end = end, np.int64(load_u32(body, at + 4 * (r + 1)))
            if end - first > bytes_max:
                return hashes, False
            hashes[r * columns + c] = murmur3_32_kernel(
                body, texts_at[c] + first, texts_at[c] + end, name_hashes[c]
            )
    return hashes, True


@kernel
def place_items(
    rows: I64, name_hash: int, hashes: U32, values: F32, following: I64,
    out_names: U32, out_hashes: U32, out_values: F32,
) -> None:  # fmt: skip
    """Put each item where its row's next one goes; `following` and the out arrays change."""
    for i in range(rows.size):
        at = following[rows[i]]
        out_names[at] = np.uint32(name_hash)
        out_hashes[at] = hashes[i]
        out_values[at] = values[i]
        following[rows[i]] = at + 1


def warm_up() -> None:
    """Compile, or load from the cache, the kernels above, for arguments as they will be."""
    offsets, body = frozen(np.array([0, 1], np.int64)), frozen(np.zeros(8, np.uint8))
    place, name, value = np.zeros(1, np.int64), np.zeros(1, np.uint32), np.zeros(1, np.float32)
    hashes = hash_texts(offsets, body, 1, 8)
    hash_text_columns(body, place, place, name, 1, 8)
    place_items(place, 1, hashes, value, place, name, hashes, value)
