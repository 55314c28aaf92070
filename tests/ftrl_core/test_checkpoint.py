"""Cuts and manifests: chains of increments, damage refused, a page that changed by itself found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ftrl_core import checkpoint
from ftrl_core.batch import ExampleBatch
from ftrl_core.checkpoint import CORE, IDS, NAMES, Cut, Manifest, cut
from ftrl_core.entry import ControlEntry
from ftrl_core.errors import BadCheckpoint
from ftrl_core.hashing import xxh64
from ftrl_core.model import Model
from ftrl_core.position import Position
from tests.oracle.streams import ONE_RATE, folded, load, payloads, random_batch

# 16 pages, 3 segments of ids
CONFIG = {**ONE_RATE, "table_bits": 16, "deduplication_window": 20_000}


def local_batch(rng: np.random.Generator, pages: list[int], rows: int = 8) -> ExampleBatch:
    """Examples that touch only these pages of the table."""
    batch = random_batch(rng, rows, features=6, ids=10**9)
    inside = rng.integers(0, 4096, batch.nnz) + 4096 * rng.choice(pages, batch.nnz)
    return replace(batch, feature_hashes=inside.astype(np.uint32))


def chain(model: Model, rng: np.random.Generator, count: int) -> tuple[Manifest, dict[str, Cut]]:
    """Learn and cut `count` times; the last manifest and every cut by its generation."""
    manifest: Manifest | None = None
    cuts: dict[str, Cut] = {}
    for number in range(count):
        for _ in range(int(rng.integers(0, 3))):
            pages = rng.choice(16, int(rng.integers(1, 4)), replace=False).tolist()
            model.learn(local_batch(rng, pages))
        if number == 2:
            position = Position(1, model.position.seq + 1)
            model.apply(position, ControlEntry("names", {"names": ["ad", "ü"]}))
        if rng.random() < 0.3:
            model.pass_over(Position(1, model.position.seq + 1))
        taken = cut(model, manifest.position.seq if manifest else -1)
        cuts[f"{number}-g"] = taken
        manifest = Manifest.advance(manifest, taken, f"{number}-g", f"{number:016x}")
    assert manifest is not None
    return manifest, cuts


def test_a_chain_of_increments_loads_to_the_model(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(8):
        model = Model(CONFIG)
        manifest, cuts = chain(model, rng, 8)
        copy = load(manifest, cuts)
        assert copy.state_digest() == model.state_digest()
        assert copy.position == manifest.position == model.position
        batch = local_batch(rng, list(range(16)), 50)
        assert copy.learn(batch).tobytes() == model.learn(batch).tobytes()
        assert copy.state_digest() == model.state_digest()
        assert copy.stats() == model.stats()
        assert copy.names.in_order() == model.names.in_order() == ["ad", "ü"]


def test_a_loaded_model_goes_on_with_the_chain(seed: int) -> None:
    """Any replica may write the next increment: a loaded one makes the same bytes."""
    rng = np.random.default_rng(seed)
    model = Model(CONFIG)
    manifest, cuts = chain(model, rng, 4)
    copy = load(manifest, cuts)
    batch = local_batch(rng, [3, 9])
    model.learn(batch)
    copy.learn(batch)
    ours, theirs = (cut(m, manifest.position.seq) for m in (model, copy))
    assert {i: bytes(p) for i, p in ours.pages.items()} == {
        i: bytes(p) for i, p in theirs.pages.items()
    }
    assert set(ours.pages) <= {3, 9}
    assert ours.segments == theirs.segments
    next_manifests = [Manifest.advance(manifest, c, "n", "0" * 16) for c in (ours, theirs)]
    assert next_manifests[0].encode() == next_manifests[1].encode()


def test_an_increment_holds_only_what_changed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = Model(CONFIG)
    manifest, _ = chain(model, rng, 5)
    model.learn(local_batch(rng, [7]))
    taken = cut(model, manifest.position.seq)
    assert list(taken.pages) == [7]
    assert NAMES not in taken.segments
    assert set(taken.segments) <= {0, 1, 2, IDS, IDS + 1}
    advanced = Manifest.advance(manifest, taken, "new", "0" * 16)
    new = advanced.generations.index("new")
    assert np.flatnonzero(advanced.page_generation == new).tolist() == [7]
    for i in range(16):
        if i != 7 and manifest.page_generation[i] >= 0:
            before = manifest.generations[manifest.page_generation[i]]
            assert advanced.generations[advanced.page_generation[i]] == before


def test_a_cut_at_an_equal_position_is_empty() -> None:
    model = folded({"table_bits": 10}, payloads(1, 2))
    whole = cut(model, -1)
    manifest = Manifest.advance(None, whole, "a", "0" * 16)
    again = cut(model, model.position.seq)
    assert (again.pages, again.segments) == ({}, {})
    advanced = Manifest.advance(manifest, again, "b", "0" * 16)
    assert advanced.encode() == manifest.encode()


def test_generations_that_nothing_names_are_dropped() -> None:
    model = Model({"table_bits": 8, "deduplication_window": 0})
    manifest: Manifest | None = None
    for number in range(5):
        model.learn(random_batch(np.random.default_rng(number), 20))
        taken = cut(model, manifest.position.seq if manifest else -1)
        manifest = Manifest.advance(manifest, taken, f"g{number}", "0" * 16)
        assert manifest.generations == (f"g{number}",)


def test_a_cut_is_a_copy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = Model(CONFIG)
    model.learn(local_batch(rng, [0, 1]))
    taken = cut(model, -1)
    pages = {i: bytes(p) for i, p in taken.pages.items()}
    sums = taken.page_checksums.copy()
    model.learn(local_batch(rng, [0, 1, 2]))
    model.digest()
    assert {i: bytes(p) for i, p in taken.pages.items()} == pages
    assert (taken.page_checksums == sums).all()
    manifest = Manifest.advance(None, taken, "a", "0" * 16)
    assert load(manifest, {"a": taken}).digest() == taken.digest


@pytest.mark.parametrize("size", [0, 32768, 1 << 20])
def test_a_buffer_is_used_when_it_is_large_enough(size: int) -> None:
    model = Model(CONFIG)
    model.learn(local_batch(np.random.default_rng(1), [4, 5]))
    buffer = np.zeros(size, np.uint8)
    taken = cut(model, -1, buffer)
    assert len(taken.pages) == 2
    assert bool(buffer.any()) is (size >= 65536)
    assert bytes(taken.pages[5]) == bytes(model.table.page(5))


def test_damaged_pages_are_written_though_clean() -> None:
    model = Model(CONFIG)
    rng = np.random.default_rng(1)
    model.learn(local_batch(rng, [4, 5]))
    first = cut(model, -1)
    manifest = Manifest.advance(None, first, "a", "0" * 16)
    model.learn(local_batch(rng, [6]))
    taken = cut(model, manifest.position.seq, damaged=[5, 9, 99])
    assert list(taken.pages) == [5, 6]
    advanced = Manifest.advance(manifest, taken, "b", "0" * 16)
    assert advanced.generations[advanced.page_generation[5]] == "b"
    assert advanced.generations[advanced.page_generation[4]] == "a"
    assert load(advanced, {"a": first, "b": taken}).state_digest() == model.state_digest()


def test_checksums_of_segments_are_those_of_their_contents() -> None:
    """Kept from cut to cut, also when the ring of ids begins anew over an old segment."""
    model = Model({**CONFIG, "deduplication_window": 9000})
    rng = np.random.default_rng(1)
    for first in range(1, 20_000, 4000):
        batch = local_batch(rng, [4], 4000)
        ids = np.arange(first, first + 4000, dtype=np.uint64)
        model.learn(replace(batch, event_ids=ids))
        sums = [checkpoint.segment_checksum(c) for c in checkpoint.state_segments(model)]
        assert cut(model, model.position.seq).segment_checksums.tolist() == sums


def test_damaged_segments_are_written_though_clean() -> None:
    model = Model({**CONFIG, "deduplication_window": 100_000})
    rng = np.random.default_rng(1)
    model.learn(local_batch(rng, [4], 9_000))
    first = cut(model, -1)
    manifest = Manifest.advance(None, first, "a", "0" * 16)
    model.learn(local_batch(rng, [6]))
    seq = manifest.position.seq
    assert IDS not in cut(model, seq).segments
    taken = cut(model, seq, damaged_segments=[IDS, IDS + 5])
    assert IDS in taken.segments
    assert IDS + 5 not in taken.segments, "an empty segment is written nowhere"
    advanced = Manifest.advance(manifest, taken, "b", "0" * 16)
    assert load(advanced, {"a": first, "b": taken}).state_digest() == model.state_digest()


def test_a_page_that_no_entry_touched_is_a_fault() -> None:
    """A flipped bit in memory must not become the checkpoint."""
    model = Model(CONFIG)
    rng = np.random.default_rng(1)
    model.learn(local_batch(rng, [4, 5]))
    manifest = Manifest.advance(None, cut(model, -1), "a", "0" * 16)
    model.learn(local_batch(rng, [6]))
    taken = cut(model, manifest.position.seq)
    for page in (4, 7):
        sums = taken.page_checksums.copy()
        sums[page] ^= np.uint64(1)
        with pytest.raises(BadCheckpoint):
            Manifest.advance(manifest, replace(taken, page_checksums=sums), "b", "0" * 16)
    sums = taken.segment_checksums.copy()
    sums[IDS + 1] = 5
    with pytest.raises(BadCheckpoint):
        Manifest.advance(manifest, replace(taken, segment_checksums=sums), "b", "0" * 16)
    with pytest.raises(BadCheckpoint):
        Manifest.advance(None, taken, "b", "0" * 16)


def a_manifest() -> Manifest:
    model = folded(
        {**ONE_RATE, "table_bits": 14, "deduplication_window": 9_000}, payloads(1, 3, ids=99)
    )
    return Manifest.advance(None, cut(model, -1), "5-00ff00ff00ff00ff", "0123456789abcdef")


def test_manifest_round_trip() -> None:
    manifest = a_manifest()
    content = manifest.encode()
    back = Manifest.decode(content)
    for name in Manifest.__dataclass_fields__:
        found, expected = getattr(back, name), getattr(manifest, name)
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype
            assert found.tolist() == expected.tolist()
        else:
            assert found == expected
    assert back.encode() == content


def test_a_damaged_manifest_is_refused() -> None:
    content = a_manifest().encode()
    offsets = {*range(0, len(content), 97), *range(16), *range(len(content) - 9, len(content))}
    for offset in sorted(offsets):
        damaged = bytearray(content)
        damaged[offset] ^= 0x55
        with pytest.raises(BadCheckpoint):
            Manifest.decode(bytes(damaged))
    for size in [*range(0, len(content), 41), len(content) - 1]:
        with pytest.raises(BadCheckpoint):
            Manifest.decode(content[:size])
    with pytest.raises(BadCheckpoint):
        Manifest.decode(content + b"\0")


def resealed(content: bytes, old: bytes, new: bytes) -> bytes:
    """The manifest with part of its header replaced and length and checksum made right."""
    size = int.from_bytes(content[4:8], "little")
    text = content[8 : 8 + size].replace(old, new)
    assert text != content[8 : 8 + size]
    body = content[:4] + len(text).to_bytes(4, "little") + text + content[8 + size : -8]
    return body + xxh64(body).to_bytes(8, "little")


@pytest.mark.parametrize(("old", "new"), [
    (b'"position":"1-3"', b'"position":"1"'),
    (b'"position":"1-3"', b'"position":3'),
    (b'"pages":4', b'"pages":5'),
    (b'"pages":4', b'"pages":"4"'),
    (b'"nonce"', b'"nothing"'),
    (b'"table_bits":14', b'"table_bits":99'),
    (b'"fold_version":1', b'"fold_version":2'),
    (b'"fold_version":1', b'"fold_version":1,"of_a_later_version":1'),
    (b"{", b"["),
])  # fmt: skip
def test_a_manifest_of_another_version_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(BadCheckpoint):
        Manifest.decode(resealed(a_manifest().encode(), old, new))


@pytest.mark.parametrize("zero_at", [None, 0, 100, 32767])
def test_page_checksum(zero_at: int | None) -> None:
    content = bytearray(32768)
    if zero_at is not None:
        content[zero_at] = 1
    assert bool(checkpoint.page_checksum(bytes(content))) is (zero_at is not None)
    assert checkpoint.segment_checksum(b"") == 0
    assert checkpoint.segment_checksum(b"\0") != 0


def test_floats_survive_the_core_segment() -> None:
    model: Any = folded({"table_bits": 8}, payloads(1, 2))
    model.bias[:] = [-1 / 3, 1e-300, 5e-324, 0.1, 1 / 3, 1e-300, 5e-324, 0.1]
    model.coefficients.posterior[:] = [1 / 3, 1e-300, 5e-324, 2 / 3]
    copy = load(Manifest.advance(None, cut(model, -1), "a", "0" * 16), {"a": cut(model, -1)})
    assert copy.bias.tobytes() == model.bias.tobytes()
    assert copy.state_digest() == model.state_digest()
    assert CORE in cut(model, -1).segments
