"""Labels, weights and event ids of many examples: checked and made into a batch's arrays at once.

The rules are those of `features.Reader`. Here they are only told apart into good and bad, in one
kernel for all rows, because a call of NumPy for each rule costs a single example more than its
features do; the first bad row is read again by the slow path, which words the refusal.

The hash of an event id is `hashing.event_id_hash` of its text, and 0 where there is none, so the
UTF-8 of an absent id is empty.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import NO_LABEL
from ftrl_core.hashing import xxh64_kernel
from ftrl_core.jit import kernel
from ftrl_core.limits import Limits

Bytes = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_NO_TEXT, _NO_LENGTHS = np.zeros(1, np.uint8), np.empty(0, np.int64)  # an empty one has no address
_TINY = 1e-30  # features.TINY: smaller weights are zero


@kernel
def _set_labels(given: F64, labels: Bytes) -> int:
    """Fill `labels`; the first row whose label is neither 0 nor 1, or the number of rows."""
    if given.size == 0:
        labels[:] = NO_LABEL
        return labels.size
    for row in range(labels.size):
        if given[row] != 0.0 and given[row] != 1.0:
            return row
        labels[row] = 1 if given[row] == 1.0 else 0
    return labels.size


@kernel
def _set_weights(given: F64, weight_max: float, weights: F32) -> int:
    """Fill `weights`; the first row out of range (or NaN), or the number of rows."""
    for row in range(weights.size):
        if not 0.0 <= given[row] <= weight_max:
            return row
        weights[row] = np.float32(0.0 if given[row] < _TINY else given[row])
    return weights.size


@kernel
def is_good_id(text: Bytes, start: int, end: int, chars_max: int) -> bool:
    """Whether the UTF-8 has at most chars_max characters and no control character (Cc)."""
    chars = 0
    for i in range(start, end):
        c = text[i]
        if c < 32 or c == 127:
            return False
        if c == 0xC2 and text[i + 1] < 0xA0:  # U+0080 to U+009F
            return False
        chars += (c & 0xC0) != 0x80
    return chars <= chars_max


@kernel
def _set_event_ids(
    text: Bytes, lengths: I64, hash_seed: np.uint64, chars_max: int, event_ids: U64
) -> int:
    """Fill `event_ids`; the first row with a bad id, or the number of rows."""
    start = 0
    for row in range(lengths.size):
        end = start + lengths[row]
        if not is_good_id(text, start, end, chars_max):
            return row
        event_ids[row] = 0
        if end > start:
            event_ids[row] = max(xxh64_kernel(text, start, end, hash_seed), np.uint64(1))
        start = end
    return event_ids.size


@kernel
def _settle(
    labels: F64,
    weights: F64,
    ids: Bytes,
    id_lengths: I64,
    hash_seed: np.uint64,
    weight_max: float,
    chars_max: int,
) -> tuple[Bytes, F32, U64, int]:
    rows = weights.size
    out_labels = np.empty(rows, np.uint8)
    out_weights = np.empty(rows, np.float32)
    out_ids = np.zeros(rows, np.uint64)
    bad = min(_set_labels(labels, out_labels), _set_weights(weights, weight_max, out_weights))
    bad = min(bad, _set_event_ids(ids, id_lengths, hash_seed, chars_max, out_ids))
    return out_labels, out_weights, out_ids, bad


def settle_fields(
    labels: F64, weights: F64, ids: list[bytes], hash_seed: int, limits: Limits
) -> tuple[Bytes, F32, U64, int]:
    """Labels uint8[rows], weights float32[rows] and event ids uint64[rows] of a batch.

    labels  float64[rows], or of size 0 where labels are ignored
    weights float64[rows]
    ids     one UTF-8 text a row, empty where there is none, or none at all
    The last result is the first row that breaks a rule, or the number of rows: unless it is the
    latter the arrays are not filled.
    """
    text, lengths = _NO_TEXT, _NO_LENGTHS
    if ids:
        text = np.frombuffer(bytearray().join([*ids, b"\0"]), np.uint8)
        lengths = np.array([len(data) for data in ids], np.int64)
    out_labels, out_weights, out_ids, bad = _settle(
        labels, weights, text, lengths, np.uint64(hash_seed), limits.weight, limits.id_chars
    )
    return out_labels, out_weights, out_ids, int(bad)
