"""From Redis to a model: a restart gives the same bits, also from a damaged checkpoint.

A page is damaged by overwriting its key: the server's append-only file has no checksum either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.checkpoint_garbage import CheckpointGarbage
from app.errors import CheckpointRefused, Unavailable
from app.hub import Hub
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from ftrl_core.checkpoint import IDS, Manifest
from ftrl_core.model import Model
from tests.recovery.harness import (
    append_raw,
    assert_agree,
    batch_of,
    default_of,
    hub_on,
    state_of,
    until,
)

KEYS = ModelKeys("ctr", "default")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(17)


async def _ask(hub: Hub, *command: Any) -> Any:
    return await hub.connections.write_command(*command)


async def _newest(replica: ModelReplica) -> Manifest:
    newest = await replica._owner.store.newest()
    assert newest is not None
    return Manifest.decode(newest.manifest)


def _page_key(manifest: Manifest, index: int) -> str:
    return KEYS.page(manifest.generations[manifest.page_generation[index]], index)


async def test_a_restart_gives_the_same_state_and_predictions(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    probe = batch_of(random, 100)
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        for first in range(1, 2000, 400):
            await replica.learn(batch_of(random, 400, first_id=first))
        await replica.checkpoint()
        await replica.learn(batch_of(random, 100), idempotency_key=5, body_hash=1)
        state, predicted = await state_of(replica), replica.predict(probe)[1]
        async with hub_on(redis_url, tmp_path / "crashed") as other:  # checkpoint and a tail
            again = await default_of(other)
            assert await state_of(again) == state
            assert np.array_equal(again.predict(probe)[1], predicted)
            repeated = await again.learn(batch_of(random, 100), idempotency_key=5, body_hash=1)
            assert repeated.accepted == 0
        state = await assert_agree(replica)
    async with hub_on(redis_url, tmp_path) as hub:  # the last checkpoint alone
        assert await state_of(await default_of(hub)) == state


async def test_a_restart_between_the_entries_of_one_request_keeps_its_verdict(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """The continued entries of a duplicate are duplicates, though its key was seen long before."""
    rows = 12_000
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        batch = batch_of(random, rows)
        await one.learn(batch, idempotency_key=3, body_hash=3)
        await one.learn(batch, idempotency_key=3, body_hash=3)
        seqs = one.require_model().position.seq
        assert seqs == 1 + 2 * 3
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = await b.get("default")
            model = two.require_model()
            assert (model.examples, model.duplicates) == (rows, rows)
            await assert_agree(one, two)


async def test_a_damaged_page_is_replaced_by_the_checkpoint_before_and_then_mended(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Both pages changed between the two checkpoints, so the older one is whole."""
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        for _ in range(2):
            await one.learn(batch_of(random, 300))
            await one.checkpoint()
        state = await state_of(one)
        damaged = _page_key(await _newest(one), 0)
        await _ask(a, "SET", damaged, b"x" * 32768)
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = await default_of(b)
            assert await state_of(two) == state
            await one.learn(batch_of(random, 1, features=0))  # touches no page at all
            await one.checkpoint()
            manifest = await _newest(one)
            assert _page_key(manifest, 0) != damaged, "written again though clean"
            await assert_agree(one, two)
        await one.learn(batch_of(random, 300))
        await one.checkpoint()
        async with hub_on(redis_url, tmp_path / "c") as c:
            await assert_agree(one, await default_of(c))


async def test_a_page_missing_from_the_newest_checkpoint_is_no_reason_to_wait(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        for _ in range(2):
            await one.learn(batch_of(random, 300))
            await one.checkpoint()
        await _ask(a, "DEL", _page_key(await _newest(one), 0))
        async with hub_on(redis_url, tmp_path / "b") as b:
            await assert_agree(one, await default_of(b))


@pytest.mark.parametrize("kind", ["page", "segment"])
async def test_what_both_checkpoints_name_is_mended_by_who_has_it_in_memory(
    redis_url: str, tmp_path: Path, random: np.random.Generator, kind: str
) -> None:
    """Until then a new replica is not ready, and says why; it never serves what it cannot check."""
    config = {"table_bits": 13, "deduplication_window": 20_000}
    async with hub_on(redis_url, tmp_path / "a", config=config) as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 10_000, first_id=1))
        for _ in range(3):  # the log is trimmed past the beginning
            await one.checkpoint()
            await one.learn(batch_of(random, 1, features=0, first_id=15_000))
        manifest = await _newest(one)
        if kind == "page":
            damaged = _page_key(manifest, 1)
        else:
            generation = manifest.generations[manifest.segment_generation[IDS]]
            damaged = KEYS.state(generation, IDS)
        await _ask(a, "SETRANGE", damaged, 40, b"damage")
        async with hub_on(redis_url, tmp_path / "b") as b:
            (two,) = b.loaded()
            await until(lambda: "cannot be loaded" in two.detail, "it is told why")
            assert not b.ready()[0]
            with pytest.raises(Unavailable):
                two.predict(batch_of(random, 1))
            await one.learn(batch_of(random, 1, features=0))
            await one.checkpoint()
            await until(two.can_learn, "the next checkpoint has it again")
            await assert_agree(one, two)


async def test_a_damaged_manifest_is_passed_over_and_written_anew(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        for _ in range(2):
            await one.learn(batch_of(random, 300))
            await one.checkpoint()
        newest = await one._owner.store.newest()
        assert newest is not None
        await _ask(a, "SETRANGE", KEYS.manifest(newest.generation), 30, b"damage")
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = await default_of(b)
            await assert_agree(one, two)
            await two.learn(batch_of(random, 300))
            await two.checkpoint()
            assert (await _newest(two)).position == two.require_model().position
        async with hub_on(redis_url, tmp_path / "c") as c:
            await assert_agree(one, await default_of(c))


async def test_a_lost_log_without_a_readable_checkpoint_is_said_and_not_guessed(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        for _ in range(4):
            await one.learn(batch_of(random, 50))
            await one.checkpoint()
        for kept in await one._owner.store.kept_generations():
            await _ask(a, "SET", KEYS.manifest(kept), b"nothing")
        async with hub_on(redis_url, tmp_path / "b") as b:
            (two,) = b.loaded()
            await until(lambda: "cannot be loaded" in two.detail, "it is told why")
            assert "trimmed" in two.detail
            assert not b.ready()[0]


async def test_a_deleted_model_is_not_loaded_from_what_is_left_of_it(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """The pages that a restore names are removed before the log is."""
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 20))
        await one.restore(Model(one.require_model().config))
        await one.append_delete()
        await CheckpointGarbage(one._owner.store).drop_all()
        async with hub_on(redis_url, tmp_path / "b") as b:
            await until(lambda: b.loaded()[0].state == "deleted", "it is said to be deleted")
            assert b.loaded()[0]._owner.log_regressions == 0


async def test_a_replica_before_an_unreadable_entry_hears_of_the_deletion(
    redis_url: str, tmp_path: Path
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await append_raw(hub, replica, b"nothing that can be read")
        await until(lambda: replica.state == "stuck", "it stays before the entry")
        await replica.append_delete()
        await until(lambda: replica.state == "deleted", "it reads meta")


async def test_a_state_in_meta_that_means_nothing_deletes_nothing(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 20))
        await one.checkpoint()
        state = await state_of(one)
        await _ask(a, "HSET", KEYS.meta, "state", "live!")
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = b.loaded()[0]
            await until(lambda: "is damaged" in two.detail, "it says why it cannot load")
            with pytest.raises(CheckpointRefused):
                await CheckpointGarbage(two._owner.store).drop_all()
            await _ask(a, "HSET", KEYS.meta, "state", "live")
            await until(two.can_learn, "it loads by itself")
            assert await state_of(two) == state


@pytest.mark.parametrize(
    "damage",
    [("HDEL", KEYS.meta, "previous"), ("HSET", KEYS.meta, "previous", b"\xff")],
)
async def test_damaged_names_of_manifests_are_said_and_not_a_failure(
    redis_url: str,
    tmp_path: Path,
    random: np.random.Generator,
    damage: tuple[Any, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 20))
        await one.checkpoint()
        await _ask(a, *damage)
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = b.loaded()[0]
            await until(lambda: two.can_learn() or "is damaged" in two.detail, "it loads or says")
        assert not [record for record in caplog.records if record.exc_info]
