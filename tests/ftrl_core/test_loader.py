"""The loader: any order, every checksum, and a newer manifest in the middle of loading."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ftrl_core.checkpoint import CORE, IDS, Cut, Manifest, cut, segment_checksum
from ftrl_core.errors import BadCheckpoint
from ftrl_core.loader import Loader
from ftrl_core.model import Model
from tests.oracle.streams import folded, load, payloads, random_batch

CONFIG = {"table_bits": 15, "deduplication_window": 9_000}
Cuts = dict[str, Cut]


def two_checkpoints() -> tuple[Model, list[Manifest], Cuts]:
    """A model, its last two manifests, and the cuts that hold their pages."""
    model = folded(CONFIG, payloads(1, 3, ids=10**6))
    cuts = {"a": cut(model, -1)}
    first = Manifest.advance(None, cuts["a"], "a", "0" * 16)
    few = random_batch(np.random.default_rng(5), 2, features=2)
    model.learn(replace(few, feature_hashes=few.feature_hashes % np.uint32(4096)))
    cuts["b"] = cut(model, first.position.seq)
    second = Manifest.advance(first, cuts["b"], "b", "1" * 16)
    assert 0 < len(cuts["b"].pages) < len(cuts["a"].pages)
    return model, [first, second], cuts


def put_all(loader: Loader, cuts: Cuts, rng: np.random.Generator | None = None) -> None:
    pages, segments = loader.missing_pages(), loader.missing_segments()
    if rng is not None:
        rng.shuffle(pages)
        rng.shuffle(segments)
    for generation, index in pages:
        loader.put_page(int(index), bytes(cuts[generation].pages[int(index)]))
    for generation, index in segments:
        loader.put_segment(int(index), cuts[generation].segments[int(index)])


def test_any_order(seed: int) -> None:
    model, manifests, cuts = two_checkpoints()
    loader = Loader(manifests[1])
    put_all(loader, cuts, np.random.default_rng(seed))
    assert loader.missing_pages() == loader.missing_segments() == []
    assert loader.finish().state_digest() == model.state_digest()


def test_a_wrong_page_is_refused_and_a_right_one_taken_after() -> None:
    model, manifests, cuts = two_checkpoints()
    loader = Loader(manifests[1])
    _, index = loader.missing_pages()[0]
    right = bytes(cuts[loader.missing_pages()[0][0]].pages[index])
    for offset in range(0, len(right), 97):
        wrong = right[:offset] + bytes([right[offset] ^ 0x10]) + right[offset + 1 :]
        with pytest.raises(BadCheckpoint, match=f"page {index}"):
            loader.put_page(index, wrong)
    for wrong in (b"", right[:-1], right + b"\0", right[:4096], bytes(len(right))):
        with pytest.raises(BadCheckpoint):
            loader.put_page(index, wrong)
    put_all(loader, cuts)
    assert loader.finish().state_digest() == model.state_digest()


def test_a_wrong_segment_is_refused() -> None:
    _, manifests, cuts = two_checkpoints()
    loader = Loader(manifests[1])
    for generation, index in loader.missing_segments():
        right = cuts[generation].segments[index]
        for offset in range(0, len(right), 97 if len(right) < 50_000 else 9_973):
            wrong = right[:offset] + bytes([right[offset] ^ 1]) + right[offset + 1 :]
            with pytest.raises(BadCheckpoint, match=f"segment {index}"):
                loader.put_segment(index, wrong)
        for wrong in (b"", right[:-1], right + b"x"):
            with pytest.raises(BadCheckpoint):
                loader.put_segment(index, wrong)


def test_pages_swapped_are_refused() -> None:
    _, manifests, cuts = two_checkpoints()
    loader = Loader(manifests[0])
    (_, i), (_, j) = loader.missing_pages()[:2]
    with pytest.raises(BadCheckpoint):
        loader.put_page(i, bytes(cuts["a"].pages[j]))


@pytest.mark.parametrize("loaded", [0.0, 0.5, 1.0])
def test_a_newer_manifest_in_the_middle(loaded: float, seed: int) -> None:
    """What both name with one generation and checksum is kept: a slow loader always finishes."""
    model, (first, second), cuts = two_checkpoints()
    loader = Loader(first)
    pages = loader.missing_pages()
    rng = np.random.default_rng(seed)
    chosen = [p for p in pages if rng.random() < loaded]
    for _, index in chosen:
        loader.put_page(index, bytes(cuts["a"].pages[index]))
    for _, index in loader.missing_segments():
        loader.put_segment(index, cuts["a"].segments[index])
    loader.retarget(second)
    missing = {index for _, index in loader.missing_pages()}
    rewritten = set(cuts["b"].pages)
    assert missing == rewritten | {index for p in pages if p not in chosen for index in [p[1]]}
    assert IDS not in {index for _, index in loader.missing_segments()}
    put_all(loader, cuts)
    assert loader.finish().state_digest() == model.state_digest()


def test_a_newer_manifest_of_another_configuration_starts_afresh() -> None:
    _, (first, _), cuts = two_checkpoints()
    other = folded({**CONFIG, "hash_seed": 9, "table_bits": 13}, payloads(3, 2))
    cuts["c"] = cut(other, -1)
    loader = Loader(first)
    put_all(loader, cuts)
    loader.retarget(Manifest.advance(None, cuts["c"], "c", "2" * 16))
    assert loader.missing_pages()
    put_all(loader, cuts)
    assert loader.finish().state_digest() == other.state_digest()


def test_a_manifest_whose_counts_are_not_its_configurations() -> None:
    _, (first, _), _ = two_checkpoints()
    other = folded({**CONFIG, "table_bits": 14}, payloads(1, 1)).config
    with pytest.raises(BadCheckpoint, match="counts"):
        Loader(replace(first, config=other))


def test_a_digest_that_is_not_the_manifests() -> None:
    _, (first, _), cuts = two_checkpoints()
    with pytest.raises(BadCheckpoint, match="digest"):
        load(replace(first, digest="0" * 32), cuts)


@pytest.mark.parametrize("core", [
    b"[]", b"{", b"{}", b"\xff", b'{"bias": 3}', b'{"bias": ["0x0p+0", "x"]}', b"null",
])  # fmt: skip
def test_a_core_that_cannot_be_read(core: bytes) -> None:
    """A right checksum over another version's state."""
    _, (first, _), cuts = two_checkpoints()
    sums = first.segment_checksums.copy()
    sums[CORE] = segment_checksum(core)
    segments = {**cuts["a"].segments, CORE: core}
    with pytest.raises(BadCheckpoint, match="state"):
        load(replace(first, segment_checksums=sums), {"a": replace(cuts["a"], segments=segments)})


@pytest.mark.parametrize("change", [{"remembered": 7}, {"scored": 1}, {"bias": ["0x0p+0"] * 3}])
def test_a_core_that_does_not_fit_the_rest(change: dict[str, object]) -> None:
    _, (first, _), cuts = two_checkpoints()
    core = {**json.loads(cuts["a"].segments[CORE]), **change}
    content = json.dumps(core).encode()
    sums = first.segment_checksums.copy()
    sums[CORE] = segment_checksum(content)
    segments = {**cuts["a"].segments, CORE: content}
    with pytest.raises(BadCheckpoint, match="state"):
        load(replace(first, segment_checksums=sums), {"a": replace(cuts["a"], segments=segments)})


def test_a_model_that_learned_nothing() -> None:
    model = Model({"table_bits": 13, "deduplication_window": 0})
    taken = cut(model, -1)
    manifest = Manifest.advance(None, taken, "a", "0" * 16)
    assert (manifest.page_generation == -1).all()
    assert load(manifest, {"a": taken}).state_digest() == model.state_digest()
