"""Hashes against published vectors, other libraries and the oracle's plain Python."""

from __future__ import annotations

import json
from pathlib import Path

import mmh3
import numpy as np
import pytest
import xxhash

from ftrl_core import hashing
from tests.oracle import float64

GOLDENS = Path(__file__).parents[3] / "shared" / "goldens" / "murmur3_32.json"


def random_bytes(rng: np.random.Generator, size: int) -> bytes:
    return rng.integers(0, 256, size).astype(np.uint8).tobytes()


def test_murmur3_golden_vectors() -> None:
    if not GOLDENS.exists():
        pytest.skip(f"the golden vectors are not at {GOLDENS}")
    vectors = [v for v in json.loads(GOLDENS.read_text()) if "key_hex" in v]
    assert len(vectors) > 5
    for vector in vectors:
        key, seed = bytes.fromhex(vector["key_hex"]), vector["seed"] % 2**32
        assert hashing.murmur3_32(key, seed) == vector["u32"] % 2**32, vector
        assert float64.murmur3_32(key, seed) == vector["u32"] % 2**32, vector


@pytest.mark.parametrize("size", [*range(70), 255, 256, 1024, 4097])
def test_against_other_libraries(size: int, seed: int) -> None:
    rng = np.random.default_rng([seed, size])
    data = random_bytes(rng, size)
    for given in (0, 1, 0x9747B28C, 0xFFFFFFFF, int(rng.integers(0, 2**32))):
        expected = mmh3.hash(data, given, signed=False)
        assert hashing.murmur3_32(data, given) == expected
        assert float64.murmur3_32(data, given) == expected
        assert hashing.xxh64(data, given) == xxhash.xxh64_intdigest(data, given)
    assert hashing.xxh64(data, 2**64 - 1) == xxhash.xxh64_intdigest(data, 2**64 - 1)


def test_kernels_hash_a_range_at_any_alignment(seed: int) -> None:
    data = random_bytes(np.random.default_rng(seed), 200)
    buf = np.frombuffer(data, np.uint8)
    for start in range(9):
        for end in (start, start + 1, start + 31, start + 32, start + 67, 200):
            part = data[start:end]
            murmur = hashing.murmur3_32_kernel(buf, start, end, np.uint32(3))
            assert int(murmur) == mmh3.hash(part, 3, signed=False)
            xxh = hashing.xxh64_kernel(buf, start, end, np.uint64(3))
            assert int(xxh) == xxhash.xxh64_intdigest(part, 3)


def test_memory_views_and_writable_buffers() -> None:
    data = bytearray(b"click" * 20)
    assert hashing.xxh64(data) == xxhash.xxh64_intdigest(bytes(data))
    assert hashing.xxh64(memoryview(data)[3:50]) == xxhash.xxh64_intdigest(bytes(data[3:50]))
    assert hashing.murmur3_32(memoryview(data)) == mmh3.hash(bytes(data), 0, signed=False)


@pytest.mark.parametrize("hash_seed", [0, 77, 2**32 - 1])
def test_names_and_values(hash_seed: int) -> None:
    name = hashing.name_hash("bannière", hash_seed)
    assert name == mmh3.hash("bannière".encode(), hash_seed, signed=False)
    assert hashing.feature_hash("値", name) == mmh3.hash("値".encode(), name, signed=False)
    # 'a=b' under one name is not 'a' with the value '=b'
    assert hashing.name_hash("a=b", hash_seed) != hashing.feature_hash(
        "=b", hashing.name_hash("a", hash_seed)
    )


def test_event_ids_are_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hashing.event_id_hash("imp-81", 5) == xxhash.xxh64_intdigest(b"imp-81", 5)
    assert hashing.event_id_hash("", 0) != 0
    monkeypatch.setattr(hashing, "xxh64", lambda data, seed: 0)
    assert hashing.event_id_hash("whatever", 0) == 1
