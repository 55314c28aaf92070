"""Event ids of many examples to 64-bit hashes at once, with the rules that an id must keep.

The hash is `hashing.event_id_hash` of each text; 0 means that there is none, so an empty text gives
0. One kernel over the joined UTF-8 bytes, because a call for each id would cost more than everything
else that is done for an example.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.hashing import xxh64_kernel
from ftrl_core.jit import kernel

Bytes = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@kernel
def _is_good_id(buf: Bytes, start: int, end: int, chars_max: int) -> bool:
    """Whether the UTF-8 text has at most chars_max characters and no control character (Cc)."""
    chars = 0
    for i in range(start, end):
        c = buf[i]
        if c < 32 or c == 127:
            return False
        if c == 0xC2 and i + 1 < end and buf[i + 1] < 0xA0:  # U+0080 to U+009F
            return False
        chars += (c & 0xC0) != 0x80
    return chars <= chars_max


@kernel
def _hash_ids(buf: Bytes, lengths: I64, seed: np.uint64, chars_max: int, out: U64) -> int:
    start = 0
    for row in range(lengths.size):
        end = start + lengths[row]
        if not _is_good_id(buf, start, end, chars_max):
            return row
        out[row] = 0
        if end > start:
            out[row] = max(xxh64_kernel(buf, start, end, seed), np.uint64(1))
        start = end
    return -1


def hash_event_ids(texts: list[bytes], hash_seed: int, chars_max: int) -> tuple[U64, int]:
    """Hashes of the ids given as UTF-8: (uint64[rows], row of the first bad id or -1).

    An empty text is no id, its hash 0. After a bad id the hashes are undefined.
    """
    buf = np.frombuffer(bytearray().join(texts), np.uint8)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    hashes = np.empty(len(texts), np.uint64)
    bad: int = _hash_ids(buf, lengths, np.uint64(hash_seed), chars_max, hashes)
    return hashes, bad
