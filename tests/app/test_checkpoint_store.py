"""begin, put, commit, drop and restore against a real server, refusal by refusal."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from app.checkpoint_garbage import CheckpointGarbage
from app.checkpoint_store import CheckpointStore, DamagedItem
from app.errors import (
    CheckpointRefused,
    LogFull,
    LogRegressed,
    ModelExists,
    ModelGone,
    WrongEpoch,
    WrongIncarnation,
)
from app.event_log import DeleteControl, RestoreControl, SkipControl
from app.model_index import ModelRow
from ftrl_core.errors import BadCheckpoint
from ftrl_core.position import Position
from tests.app.model_in_redis import ModelInRedis, draw, opened

pytestmark = pytest.mark.compat


@pytest.fixture
async def model(redis_url: str) -> AsyncIterator[ModelInRedis]:
    async with opened(redis_url) as made:
        yield made


@dataclass(frozen=True)
class Named:
    """A manifest of the tests: JSON of two lists of generation names."""

    generations: Sequence[str]
    page_generation: NDArray[np.int32]
    segment_generation: NDArray[np.int32]


def encode(pages: Sequence[str | None], segments: Sequence[str] = ()) -> bytes:
    return json.dumps([list(pages), list(segments)]).encode()


def decode(manifest: bytes) -> Named:
    try:
        pages, segments = json.loads(manifest)
    except ValueError as error:
        raise BadCheckpoint("not a manifest") from error
    names = sorted({name for name in pages + segments if name})
    page_generation = [names.index(name) if name else -1 for name in pages]
    segment_generation = [names.index(name) for name in segments]
    return Named(names, np.array(page_generation, np.int32), np.array(segment_generation, np.int32))


async def commit(
    model: ModelInRedis, base: str | None, pages: list[str | None], written: Sequence[int]
) -> str:
    """Checkpoint: `written` are new, the rest as in `pages`, which is updated in place."""
    await model.append(b"x")
    generation = await model.store.begin(base, model.at)
    data = {index: f"{generation}:{index}".encode() for index in written}
    await model.store.put_pages(generation, data, {0: b"state of " + generation.encode()})
    for index in written:
        pages[index] = generation
    manifest = encode(pages, [generation])
    await model.store.commit(generation, manifest, model.at, model.nonce, len(written), 1)
    return generation


async def refusal(call: object) -> str:
    with pytest.raises(CheckpointRefused) as caught:
        await call  # type: ignore[misc]
    return caught.value.reason


async def test_a_checkpoint_is_read_back(model: ModelInRedis) -> None:
    """5 MiB of pages, so several rounds of puts and reads; missing ones are None."""
    pages = {index: bytes([index % 251]) * 32768 for index in range(160)}
    segments = {0: b"metrics", 1: b"ring" * 300_000}
    await model.append(b"x")
    generation = await model.store.begin(None, model.at)
    assert generation.split("-")[0] == "1"
    await model.store.put_pages(generation, pages, segments)
    await model.store.put_pages(generation, {3: pages[3]})  # repeated: counted once
    arguments = (generation, b"manifest", model.at, model.nonce, 160, 2)
    assert await model.store.commit(*arguments) is True
    assert await model.store.commit(*arguments) is False  # repeated after an unknown outcome
    assert await model.store.newest() == (generation, b"manifest")
    read = await model.store.read_pages([(generation, index) for index in (*range(160), 999)])
    assert read == [*pages.values(), None]
    names = [(generation, 0), (generation, 1), (generation, 2)]
    assert await model.store.read_segments(names) == [segments[0], segments[1], None]
    head = await model.log.head()
    assert (head.manifest, head.manifest_seq) == (generation, model.at.seq)


async def test_two_manifests_are_kept(model: ModelInRedis) -> None:
    assert await model.store.kept() == []
    assert await model.store.newest() is None
    names: list[str] = []
    for _ in range(3):
        await model.append(b"x")
        names.append(await model.checkpoint({}, names[-1] if names else None))
        assert [item.generation for item in await model.store.kept()] == names[:-3:-1]
    other = CheckpointStore(model.connections, model.keys, draw())
    with pytest.raises(WrongIncarnation):
        await other.kept()
    await model.ask("DEL", model.keys.manifest(names[-1]))  # lost: the older one is left
    assert [item.generation for item in await model.store.kept()] == [names[-2]]


async def test_the_log_is_trimmed_to_the_older_manifest(model: ModelInRedis) -> None:
    """By begin only, never above it, with exact bytes; not at all when trimming is off."""
    base: str | None = None
    older = 0
    for size in (10, 2000, 5, 700, 30):
        await model.append(b"x" * size, b"y" * size)
        base = await model.checkpoint({0: b"page"}, base)
        await model.append(b"z" * size)
        await model.store.begin(base, model.at, trim=False)
        assert (await model.log.head()).trimmed_seq == older
        await model.store.begin(base, model.at)
        entries = await model.entries()
        older = int(await model.meta("previous_seq"))
        assert entries[0].position.seq == older + 1
        head = await model.log.head()
        assert head.log_bytes == sum(len(entry.payload) + 128 for entry in entries)
        assert head.trimmed_seq == older


async def test_begin_is_refused_without_a_kept_base(model: ModelInRedis) -> None:
    assert await refusal(model.store.begin("1-0000000000000000", model.at)) == "base_gone"
    first = await model.checkpoint({}, None)
    await model.store.begin(None, model.at)
    await model.append(b"x")
    second = await model.checkpoint({}, first)
    assert await refusal(model.store.begin(None, model.at)) == "base_gone"
    await model.append(b"x")
    await model.checkpoint({}, second)
    assert await refusal(model.store.begin(first, model.at)) == "base_gone"


async def test_a_generation_dies_with_its_base(model: ModelInRedis) -> None:
    """After two commits of others, put and commit are refused and nothing is left of it."""
    pages: list[str | None] = [None] * 4
    base = await commit(model, None, pages, [0, 1])
    late = await model.store.begin(base, model.at)
    await model.store.put_pages(late, {0: b"late"}, {0: b"late"})
    for _ in range(2):
        await model.store.put_pages(late, {1: b"late"})
        base = await commit(model, base, pages, [0])
    assert await refusal(model.store.put_pages(late, {2: b"later"})) == "dead"
    call = model.store.commit(late, b"", model.at, model.nonce, 2, 1)
    assert await refusal(call) == "dead"
    assert await CheckpointGarbage(model.store).drop_unnamed(decode) > 0
    assert not {key for key in await model.all_keys() if late in key}
    assert await refusal(model.store.put_pages(late, {2: b"later"})) == "unregistered"
    call = model.store.commit(late, b"", model.at, model.nonce, 2, 1)
    assert await refusal(call) == "unregistered"


async def test_only_so_many_checkpoints_stay_open(model: ModelInRedis) -> None:
    """A process that dies before every commit does not fill the memory."""
    names = [await model.store.begin(None, model.at) for _ in range(9)]
    assert await refusal(model.store.put_pages(names[0], {0: b""})) == "dead"
    for name in names[1:]:
        await model.store.put_pages(name, {0: b""})


async def test_each_refusal_of_commit(model: ModelInRedis) -> None:
    await model.append(b"x")
    first = await model.checkpoint({}, None)
    await model.append(b"y")
    generation = await model.store.begin(first, model.at)
    await model.store.put_pages(generation, {0: b"page"}, {0: b"state"})
    store, at, nonce = model.store, model.at, model.nonce

    async def reason(position: Position = at, mark: str = nonce, pages: int = 1, s: int = 1) -> str:
        return await refusal(store.commit(generation, b"", position, mark, pages, s))

    before = await model.dump()
    assert await reason(pages=2) == "incomplete"
    assert await reason(s=0) == "incomplete"
    assert await refusal(store.commit("7-" + draw(), b"", at, nonce, 1, 1)) == "unregistered"
    with pytest.raises(WrongEpoch):
        await store.commit(generation, b"", Position(2, at.seq), nonce, 1, 1)
    for position, mark in ((at, draw()), (Position(1, 9), nonce), (Position(1, 1), nonce)):
        with pytest.raises(LogRegressed):
            await store.commit(generation, b"", position, mark, 1, 1)
    entries = await model.entries()
    for entry in entries[:2]:  # below the newest manifest, and at it
        assert await reason(entry.position, entry.nonce) == "not_newer"
    other = CheckpointStore(model.connections, model.keys, draw())
    with pytest.raises(WrongIncarnation):
        await other.commit(generation, b"", at, nonce, 1, 1)
    assert await model.dump() == before
    await store.commit(generation, b"", at, nonce, 1, 1)
    assert await refusal(store.put_pages(generation, {1: b"late"})) == "closed"
    await model.append(b"z")
    await model.checkpoint({}, generation)
    await model.append(b"z")
    await model.checkpoint({}, generation)
    assert await refusal(store.commit(generation, b"", at, nonce, 1, 1)) == "closed"


async def test_a_cut_below_the_head_commits_with_its_own_bytes(model: ModelInRedis) -> None:
    """Others appended between cut and commit; a cut of a history that a skip left is refused."""
    await model.append(b"x" * 10)
    at, nonce = model.at, model.nonce
    generation = await model.store.begin(None, at)
    await model.append(b"y" * 99)
    await model.store.commit(generation, b"", at, nonce, 0, 0)
    assert int(await model.meta("manifest_bytes")) == len(b"create") + 10 + 2 * 128
    generation = await model.store.begin(generation, model.at)
    at, nonce = model.at, model.nonce
    await model.append(b"skip", control=SkipControl(99))
    with pytest.raises(WrongEpoch):
        await model.store.commit(generation, b"", at, nonce, 0, 0)


async def test_a_full_log_empties_without_new_entries(model: ModelInRedis) -> None:
    """An equal position is taken then; begin trims up to it, also when memory is full."""
    cap = 10_000
    base: str | None = None
    for _ in range(8):
        await model.append(b"x" * 1000, cap=cap)
    with pytest.raises(LogFull):
        await model.append(b"x" * 1000, cap=cap)
    base = await model.checkpoint({}, None)
    again = await model.store.begin(base, model.at)
    call = model.store.commit(again, b"", model.at, model.nonce, 0, 0)
    assert await refusal(call) == "not_newer"
    await model.store.commit(again, b"", model.at, model.nonce, 0, 0, log_is_full=True)
    assert (await model.log.head()).log_bytes > cap - 1128
    await model.ask("CONFIG", "SET", "maxmemory", "1")
    base = await model.store.begin(again, model.at)
    await model.ask("CONFIG", "SET", "maxmemory", "0")
    assert (await model.log.head()).log_bytes == 0
    assert await model.entries() == []
    await model.store.commit(base, b"", model.at, model.nonce, 0, 0, log_is_full=True)
    await model.append(b"x" * 1000, cap=cap)


async def test_drop_leaves_what_is_named_and_nothing_else(model: ModelInRedis) -> None:
    """Pages of many generations, some superseded one by one; a stray page of a buried one too."""
    garbage = CheckpointGarbage(model.store)
    pages: list[str | None] = [None] * 6
    base: str | None = None
    for written in ([0, 1, 2, 3], [1], [2, 4], [1, 2], [0, 4], [3], [5, 1]):
        kept_pages = list(pages)
        base = await commit(model, base, pages, written)
        await garbage.drop_unnamed(decode)
        named = {(name, i) for old in (pages, kept_pages) for i, name in enumerate(old) if name}
        stored = {key.split(":page:")[1] for key in await model.all_keys() if ":page:" in key}
        assert stored == {f"{name}:{index}" for name, index in named}
    assert await garbage.drop_unnamed(decode) == 0
    kept = {item.generation for item in await model.store.kept()}
    keys = await model.all_keys()
    assert {key.split(":manifest:")[1] for key in keys if ":manifest:" in key} == kept
    assert {key.split(":")[-2] for key in keys if ":state:" in key} == kept
    rows = {bytes(name).decode() for name in await model.ask("HKEYS", model.keys.generations)}
    assert rows == kept | {name for name, _ in named}


async def test_drop_decides_by_what_is_kept_now(model: ModelInRedis) -> None:
    """A damaged kept manifest stops it; a damaged old one only delays."""
    garbage = CheckpointGarbage(model.store)
    pages: list[str | None] = [None] * 3
    first = await commit(model, None, pages, [0, 1])
    second = await commit(model, first, pages, [0])
    third = await commit(model, second, pages, [2])
    await model.ask("SET", model.keys.manifest(first), "damaged")
    fourth = await commit(model, third, pages, [0, 1])
    await garbage.drop_unnamed(decode)
    fifth = await commit(model, fourth, pages, [0])
    await garbage.drop_unnamed(decode)
    assert not {key for key in await model.all_keys() if f":{first}:" in key}
    await model.ask("SET", model.keys.manifest(fifth), "damaged")
    before = await model.dump()
    with pytest.raises(BadCheckpoint):
        await garbage.drop_unnamed(decode)
    assert await model.dump() == before


async def test_damaged_items_are_listed_until_buried(model: ModelInRedis) -> None:
    pages: list[str | None] = [None] * 2
    first = await commit(model, None, pages, [0, 1])
    items = [DamagedItem(first, True, 1), DamagedItem(first, False, 0)]
    for item in [*items, items[0]]:
        await model.store.mark_damaged(item)
    assert set(await model.store.damaged()) == set(items)
    base = first
    for _ in range(3):
        base = await commit(model, base, pages, [0, 1])
    await CheckpointGarbage(model.store).drop_unnamed(decode)
    assert await model.store.damaged() == []


async def registered_restore(model: ModelInRedis) -> str:
    generation = await model.store.register_restore(model.at)
    await model.store.put_pages(generation, {0: b"a", 7: b"b"}, {0: b"c"})
    await model.store.put_manifest(generation, encode([generation] + [None] * 6 + [generation]))
    return generation


async def test_a_restore_begins_an_epoch_and_pins(model: ModelInRedis) -> None:
    """Refused unless every page is there; kept until both manifests lie past its entry."""
    garbage = CheckpointGarbage(model.store)
    generation = await registered_restore(model)
    for control, reason in (
        (RestoreControl(generation, 3, 1), "incomplete"),
        (RestoreControl(generation, 2, 0), "incomplete"),
        (RestoreControl("9-" + draw(), 2, 1), "unregistered"),
        (RestoreControl(await model.store.begin(None, model.at), 0, 0), "closed"),
    ):
        assert await refusal(model.append(b"restore", control=control)) == reason
    control = RestoreControl(generation, 2, 1, '{"restored": true}')
    appended = await model.append(b"restore", control=control)
    assert (appended.first, model.at) == (Position(2, 2), Position(2, 2))
    assert (await model.log.head()).configuration == '{"restored": true}'
    again = await refusal(model.append(b"restore", control=RestoreControl(generation, 2, 1)))
    assert again == "closed"
    pages: list[str | None] = [None] * 8
    base: str | None = None
    for _ in range(2):
        assert await model.store.read_pages([(generation, 0), (generation, 7)]) == [b"a", b"b"]
        assert await model.store.read_manifest(generation) is not None
        base = await commit(model, base, pages, [0])
        await garbage.drop_unnamed(decode)
    assert not {key for key in await model.all_keys() if generation in key}


async def test_a_restore_that_never_came_is_dropped(model: ModelInRedis) -> None:
    generation = await registered_restore(model)
    pages: list[str | None] = [None] * 8
    base: str | None = None
    for _ in range(15):
        base = await commit(model, base, pages, [0])
    await model.store.put_pages(generation, {1: b"still"})
    base = await commit(model, base, pages, [0])
    call = model.append(b"restore", control=RestoreControl(generation, 3, 1))
    assert await refusal(call) == "dead"
    await CheckpointGarbage(model.store).drop_unnamed(decode)
    assert not {key for key in await model.all_keys() if generation in key}


async def test_a_deleted_model_is_removed_and_made_again(model: ModelInRedis) -> None:
    """Everything is refused from the entry on; no key is left; the tombstone stays."""
    garbage, name = CheckpointGarbage(model.store), model.keys.model
    pages: list[str | None] = [None] * 2
    base = await commit(model, None, pages, [0, 1])
    opened_late = await model.store.begin(base, model.at)
    await model.store.put_pages(opened_late, {0: b"page"})
    assert await refusal(garbage.drop_all()) == "in_use"
    await model.append(b"delete", control=DeleteControl())
    for call in (
        model.store.begin(base, model.at),
        model.store.put_pages(opened_late, {1: b"page"}),
        model.store.commit(opened_late, b"", model.at, model.nonce, 1, 0),
    ):
        with pytest.raises(ModelGone):
            await call
    await model.index.bury(name, model.incarnation)
    with pytest.raises(ModelExists) as exists:
        await model.index.create(name, draw(), draw(), b"create", "{}")
    assert exists.value.deleting
    assert await refusal(model.index.finish_delete(name, model.incarnation)) == "live"
    for _ in range(2):  # again is done already
        await garbage.drop_all()
        await model.index.finish_delete(name, model.incarnation)
    assert await model.all_keys() == {"ctr:models"}
    assert await model.index.rows() == {name: ModelRow(model.incarnation, deleted=True)}
    again = ModelInRedis(model.connections, model.keys)
    await again.create()
    assert await model.index.rows() == {name: ModelRow(again.incarnation, deleted=False)}
    with pytest.raises(WrongIncarnation):
        await model.store.begin(None, model.at)
    with pytest.raises(WrongIncarnation):
        await model.index.finish_delete(name, model.incarnation)
