"""Hashes: MurmurHash3 for features, XXH64 for checksums and event ids.

    feature ("name" = "value")   murmur3_32(value, seed = murmur3_32(name, seed = hash_seed))
    feature (name: number, true) murmur3_32(name, seed = hash_seed)
    event id, idempotency key    xxh64(text, seed = hash_seed), 0 moved to 1 (0 means "none")
    checksum                     xxh64(bytes, seed = 0)

The name seeds the value's hash, so 'a=b' under one name never meets 'a' with the value '=b', and
names stay apart from values in the log. MurmurHash3 x86-32 because Vowpal Wabbit and scikit-learn
use it; XXH64 because one core checks several gigabytes a second with it and 64 bits leave a damaged
entry no chance in practice. Sources: A. Appleby, MurmurHash3 (SMHasher); Y. Collet, the XXH64
specification. Both are pinned by golden vectors in the tests.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.bits import load_u32, load_u64
from ftrl_core.jit import kernel

Bytes = npt.NDArray[np.uint8]

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


@kernel
def rotate_left_32(x: np.uint32, r: int) -> np.uint32:
    """x rotated left by r bits, 0 < r < 32."""
    return np.uint32((np.uint32(x) << np.uint32(r)) | (np.uint32(x) >> np.uint32(32 - r)))


@kernel
def rotate_left_64(x: np.uint64, r: int) -> np.uint64:
    """x rotated left by r bits, 0 < r < 64."""
    return (x << np.uint64(r)) | (x >> np.uint64(64 - r))


@kernel
def murmur3_32_kernel(buf: Bytes, start: int, end: int, seed: np.uint32) -> np.uint32:
    """MurmurHash3 x86-32 of buf[start:end]."""
    c1 = np.uint32(0xCC9E2D51)
    c2 = np.uint32(0x1B873593)
    h = np.uint32(seed)
    length = end - start
    i = start
    for _ in range(length // 4):
        k = load_u32(buf, i)
        k = np.uint32(rotate_left_32(np.uint32(k * c1), 15) * c2)
        h = np.uint32(rotate_left_32(np.uint32(h ^ k), 13) * np.uint32(5) + np.uint32(0xE6546B64))
        i += 4
    tail = length & 3
    if tail:
        k = np.uint32(0)
        for j in range(tail):
            k |= np.uint32(np.uint32(buf[i + j]) << np.uint32(8 * j))
        h ^= np.uint32(rotate_left_32(np.uint32(k * c1), 15) * c2)
    h ^= np.uint32(length)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@kernel
def _xxh64_round(acc: np.uint64, lane: np.uint64) -> np.uint64:
    return rotate_left_64(acc + lane * _P2, 31) * _P1


@kernel
def _xxh64_body(buf: Bytes, start: int, end: int, seed: np.uint64) -> np.uint64:
    """The accumulators after all whole stripes of 32 bytes, merged; needs one stripe at least."""
    v1 = seed + _P1 + _P2
    v2 = seed + _P2
    v3 = seed
    v4 = seed - _P1
    i = start
    while i + 32 <= end:
        v1 = _xxh64_round(v1, load_u64(buf, i))
        v2 = _xxh64_round(v2, load_u64(buf, i + 8))
        v3 = _xxh64_round(v3, load_u64(buf, i + 16))
        v4 = _xxh64_round(v4, load_u64(buf, i + 24))
        i += 32
    h = rotate_left_64(v1, 1) + rotate_left_64(v2, 7)
    h += rotate_left_64(v3, 12) + rotate_left_64(v4, 18)
    for v in (v1, v2, v3, v4):
        h = (h ^ _xxh64_round(np.uint64(0), v)) * _P1 + _P4
    return h


@kernel
def xxh64_kernel(buf: Bytes, start: int, end: int, seed: np.uint64) -> np.uint64:
    """XXH64 of buf[start:end]."""
    length = end - start
    if length >= 32:
        h = _xxh64_body(buf, start, end, np.uint64(seed))
    else:
        h = np.uint64(seed) + _P5
    h += np.uint64(length)
    i = start + (length // 32) * 32
    while i + 8 <= end:
        h ^= _xxh64_round(np.uint64(0), load_u64(buf, i))
        h = rotate_left_64(h, 27) * _P1 + _P4
        i += 8
    if i + 4 <= end:
        k = np.uint64(load_u32(buf, i))
        h = rotate_left_64(h ^ (k * _P1), 23) * _P2 + _P3
        i += 4
    while i < end:
        h = rotate_left_64(h ^ (np.uint64(buf[i]) * _P5), 11) * _P1
        i += 1
    h = (h ^ (h >> np.uint64(33))) * _P2
    h = (h ^ (h >> np.uint64(29))) * _P3
    return h ^ (h >> np.uint64(32))


def _bytes_array(data: bytes | bytearray | memoryview) -> Bytes:
    return np.frombuffer(data, np.uint8)


def murmur3_32(data: bytes | memoryview, seed: int = 0) -> int:
    """MurmurHash3 x86-32 of `data`; seed and result are below 2^32."""
    return int(murmur3_32_kernel(_bytes_array(data), 0, len(data), np.uint32(seed)))


def xxh64(data: bytes | bytearray | memoryview, seed: int = 0) -> int:
    """XXH64 of `data`; seed and result are below 2^64."""
    buf = _bytes_array(data)
    return int(xxh64_kernel(buf, 0, buf.size, np.uint64(seed)))


def name_hash(name: str, hash_seed: int) -> int:
    """Hash of a feature's name: the seed of its values' hashes, and the hash of a number."""
    return murmur3_32(name.encode(), hash_seed)


def feature_hash(value: str, name: int) -> int:
    """Hash of a categorical value under the name whose hash is `name`."""
    return murmur3_32(value.encode(), name)


def event_id_hash(text: str, hash_seed: int) -> int:
    """64-bit hash of an event id or key, never 0; an integer id is hashed as its decimal form."""
    return xxh64(text.encode(), hash_seed) or 1
