"""When checkpoints are written and what they do to the log: triggers, trimming, a full log."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import checkpointing
from app.checkpoint_store import IN_FLIGHT_BYTES, Bytes
from app.errors import Unavailable
from app.hub import Hub
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from tests.oracle.streams import ONE_RATE
from tests.recovery.harness import assert_agree, batch_of, default_of, hub_on, until, until_async

KEYS = ModelKeys("ctr", "default")
pytestmark = pytest.mark.compat


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(19)


async def _ask(hub: Hub, *command: Any) -> Any:
    return await hub.connections.write_command(*command)


def _committed(replica: ModelReplica) -> int:
    return replica._owner.checkpoints.committed_seq


async def test_an_idle_replica_checkpoints_and_then_rests(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path, idle_seconds=0.1) as hub:
        replica = await default_of(hub)
        position = (await replica.learn(batch_of(random, 50))).position
        await until(lambda: _committed(replica) == position.seq, "the idle checkpoint", 3.0)
        commits = await _ask(hub, "HGET", KEYS.meta, "commits")
        await asyncio.sleep(0.4)
        assert await _ask(hub, "HGET", KEYS.meta, "commits") == commits


async def test_log_bytes_make_a_checkpoint_due(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path, checkpoint_log_bytes=100_000) as hub:
        replica = await default_of(hub)
        written = []
        for _ in range(12):
            await replica.learn(batch_of(random, 1000))  # 25 KB
            await asyncio.sleep(0.02)
            written.append(_committed(replica))
        assert 1 <= len({seq for seq in written if seq}) <= 4, written


async def test_the_log_is_trimmed_below_the_older_checkpoint_and_never_above_it(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as hub:
        replica = await default_of(hub)
        seqs = []
        for _ in range(5):
            await replica.learn(batch_of(random, 20))
            await replica.checkpoint()
            seqs.append(_committed(replica))
            oldest = (await _ask(hub, "XRANGE", KEYS.log, "-", "+", "COUNT", 1))[0][0]
            trimmed = int(oldest.split(b"-")[1]) - 1
            assert trimmed == (seqs[-3] if len(seqs) > 2 else 0)
    async with hub_on(redis_url, tmp_path / "b", trim=False) as hub:
        replica = await default_of(hub)
        before = await _ask(hub, "XLEN", KEYS.log)
        for _ in range(4):
            await replica.learn(batch_of(random, 20))
            await replica.checkpoint()
        assert await _ask(hub, "XLEN", KEYS.log) == before + 4


async def test_checkpoints_leave_nothing_behind(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path, config={**ONE_RATE, "table_bits": 14}) as hub:
        replica = await default_of(hub)
        for _ in range(6):
            await replica.learn(batch_of(random, 200))
            await replica.checkpoint()
        pages = await _ask(hub, "KEYS", KEYS.page("*", 0).replace(":0", ":*"))
        rows = await _ask(hub, "HLEN", KEYS.generations)
        assert len(pages) <= 2 * 4
        assert rows <= 3


async def test_more_is_sent_at_once_the_more_the_log_grows(
    redis_url: str, tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hub_on(redis_url, tmp_path, checkpoint_log_bytes=30_000) as hub:
        replica = await default_of(hub)
        checkpoints = replica._owner.checkpoints
        store, asked = replica._owner.store, []
        put = store.put_pages

        async def learning_put(*given: Any) -> None:
            asked.append(given[3]())
            for _ in range(10):
                await replica.learn(batch_of(random, 1000))  # 25 KB each
            asked.append(given[3]())
            await put(*given)

        monkeypatch.setattr(store, "put_pages", learning_put)
        await replica.learn(batch_of(random, 1000))
        await replica.checkpoint()
        assert asked[:2] == [IN_FLIGHT_BYTES, IN_FLIGHT_BYTES << checkpointing.HURRY_MAX]
        assert checkpoints.committed_seq > 0


@pytest.mark.parametrize("kept_bytes", [0, 1 << 30])
async def test_a_large_copy_is_not_kept(
    redis_url: str,
    tmp_path: Path,
    random: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    kept_bytes: int,
) -> None:
    monkeypatch.setattr(checkpointing, "BUFFER_KEPT_BYTES", kept_bytes)
    copies: list[weakref.ref[Any]] = []
    touched = checkpointing._touched_memory

    def noted(size: int) -> Any:
        memory = touched(size)
        copies.append(weakref.ref(memory))
        return memory

    monkeypatch.setattr(checkpointing, "_touched_memory", noted)
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        for _ in range(3):
            await replica.learn(batch_of(random, 200))
            await replica.checkpoint()

        lasting = [copy() is not None for copy in copies]
        assert lasting == ([True] if kept_bytes else [False] * 3)


async def test_two_requests_for_a_checkpoint_are_not_written_at_once(
    redis_url: str, tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are sent from one buffer: a second cut in between would change what is sent."""
    async with hub_on(redis_url, tmp_path / "a") as hub:
        replica = await default_of(hub)
        store = replica._owner.store
        put, writing = store.put_pages, 0

        async def slow_put(
            generation: str,
            pages: Mapping[int, Bytes],
            segments: Mapping[int, Bytes],
            in_flight: Callable[[], int],
        ) -> None:
            nonlocal writing
            writing += 1
            assert writing == 1
            await asyncio.sleep(0.05)
            await put(generation, pages, segments, in_flight)
            writing -= 1

        monkeypatch.setattr(store, "put_pages", slow_put)
        await replica.learn(batch_of(random, 100))
        waiting = [asyncio.create_task(replica.checkpoint())]
        for _ in range(3):
            await asyncio.sleep(0.01)
            await replica.learn(batch_of(random, 100))
            waiting.append(asyncio.create_task(replica.checkpoint()))
        await asyncio.gather(*waiting)
        assert _committed(replica) == replica.require_model().position.seq
        async with hub_on(redis_url, tmp_path / "b") as other:
            await assert_agree(replica, await default_of(other))


async def test_giving_up_waiting_for_a_checkpoint_does_not_stop_it(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 100))
        waiting = asyncio.create_task(replica.checkpoint())
        while not replica._owner.checkpoints.running:  # noqa: ASYNC110  a few turns of the loop
            await asyncio.sleep(0)
        waiting.cancel()
        await until(lambda: _committed(replica) > 0, "committed all the same")


async def test_a_full_log_refuses_and_then_makes_room_by_itself(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with (
        hub_on(redis_url, tmp_path / "a", log_bytes_max=60_000) as a,
        hub_on(redis_url, tmp_path / "b", log_bytes_max=60_000) as b,
    ):
        one, two = await default_of(a), await default_of(b)
        learned = refused = 0
        deadline = asyncio.get_running_loop().time() + 10.0
        while learned < 12 and asyncio.get_running_loop().time() < deadline:
            try:
                learned += (await one.learn(batch_of(random, 500))).accepted // 500
            except Unavailable as full:
                refused += 1
                told = (full.type_slug, full.outcome)
                assert told == ("log-full", "not_learned")
                assert full.retry_after  # noqa: PT017
                one.predict(batch_of(random, 1))
                await asyncio.sleep(0.05)
        assert learned == 12
        assert refused
        await until(two.can_learn, "the other replica follows")
        await assert_agree(one, two)


async def test_a_control_entry_goes_through_a_full_log(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path, log_bytes_max=30_000, trim=False) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 500))
        await replica.learn(batch_of(random, 500))
        with pytest.raises(Unavailable):
            await replica.learn(batch_of(random, 500))
        config = await replica.configure({"optimizer": {"learning_rate": 0.07}})
        assert set(config.rates) == {0.07}


async def test_after_a_lost_history_checkpoints_are_counted_anew(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path, idle_seconds=0.1) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 50))
        checkpoints = replica._owner.checkpoints
        checkpoints.committed_seq = 1000  # as of a history that is gone
        replica._owner.follower.nonce = "f" * 16
        await until(lambda: replica._owner.log_regressions == 1, "the memory is dropped", 3.0)
        await until_async(lambda: _is_committed(hub), "a checkpoint is written", 5.0)


async def _is_committed(hub: Hub) -> bool:
    return bool(await _ask(hub, "HGET", KEYS.meta, "manifest_seq") == b"2")
