"""Redis dies, hangs, or comes back with an older disk: what every replica does and says.

With the embedded server's policy (fsync always) nothing acknowledged is lost by a kill. The older
disk is made by hand, and stands for a failover to an asynchronous replica or a restored backup.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.errors import RedisAway, Unavailable
from app.hub import Hub
from app.replica import ModelReplica
from ftrl_core.position import Position
from tests.recovery.harness import (
    Disk,
    assert_agree,
    batch_of,
    default_of,
    hub_on,
    state_of,
    until,
)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(23)


async def _learn_until_accepted(replica: ModelReplica, rows: int, first_id: int) -> int:
    """What a client does: the same batch again until it is acknowledged; how often it was sent."""
    batch = batch_of(np.random.default_rng(first_id), rows, first_id=first_id)
    for sent in range(1, 200):
        try:
            outcome = await replica.learn(batch, covered=True)
        except Unavailable as error:
            assert error.outcome in ("not_learned", "unknown"), error  # noqa: PT017
            await asyncio.sleep(0.03)
        else:
            assert outcome.accepted + outcome.duplicates == rows
            return sent
    raise AssertionError("never accepted")


async def test_redis_killed_and_started_again(
    disk: Disk, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(disk.url, tmp_path, idle_seconds=0.2) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 50))
        state = await state_of(replica)
        disk.kill()
        await until(lambda: not replica.can_learn(), "it is noticed", 3.0)
        started = time.monotonic()
        with pytest.raises(Unavailable) as refusal:
            await replica.learn(batch_of(random, 5))
        assert time.monotonic() - started < 0.1
        assert (refusal.value.outcome, refusal.value.type_slug) == ("not_learned", "redis-away")
        replica.predict(batch_of(random, 5))
        ready, body = hub.ready()
        assert (ready, body["learn"]) == (True, False)
        stale = replica.stale_seconds()
        await asyncio.sleep(0.1)
        assert replica.stale_seconds() > stale > 0
        async with asyncio.timeout(1.0):  # figures need no Redis
            assert await state_of(replica) == state
        disk.start()
        await until(replica.can_learn, "it is back", 1.5)
        assert replica.stale_seconds() == 0.0
        assert await state_of(replica) == state
        assert (await replica.learn(batch_of(random, 5))).accepted == 5
        assert replica._owner.log_regressions == 0


async def test_waiting_for_redis_does_not_spin(disk: Disk, tmp_path: Path) -> None:
    async with hub_on(disk.url, tmp_path) as hub:
        replica = await default_of(hub)
        disk.kill()
        await until(lambda: not replica.can_learn(), "it is noticed", 3.0)
        with pytest.raises(RedisAway):
            await replica.configure({"table_bits": 13})
        spent = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - spent < 0.2
        disk.start()
        await until(replica.can_learn, "it is back")


async def test_redis_hangs_and_goes_on(
    disk: Disk, tmp_path: Path, random: np.random.Generator
) -> None:
    """The call in flight is of unknown outcome; those after it are refused at once."""
    async with hub_on(disk.url, tmp_path, socket_timeout=0.3) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 50))
        batch = batch_of(random, 5, first_id=1)
        disk.freeze()
        with pytest.raises(Unavailable) as refusal:
            await replica.learn(batch, covered=True)
        assert refusal.value.outcome == "unknown"
        assert refusal.value.retry_after
        started = time.monotonic()
        with pytest.raises(Unavailable) as refusal:
            await replica.learn(batch, covered=True)
        assert refusal.value.outcome == "not_learned"
        assert time.monotonic() - started < 0.1
        replica.predict(batch)
        assert replica.stale_seconds() > 0
        disk.thaw()
        await until(replica.can_learn, "it goes on")
        outcome = await replica.learn(batch, covered=True)
        assert outcome.accepted + outcome.duplicates == 5
        assert replica.require_model().examples == 55
        async with hub_on(disk.url, tmp_path / "b") as other:
            await assert_agree(replica, await default_of(other))


async def test_killed_again_and_again_under_learning_counts_every_event_once(
    disk: Disk, tmp_path: Path
) -> None:
    async with (
        hub_on(disk.url, tmp_path / "a", idle_seconds=0.1, checkpoint_log_bytes=20_000) as a,
        hub_on(disk.url, tmp_path / "b", idle_seconds=0.1, checkpoint_log_bytes=20_000) as b,
    ):
        replicas = [await default_of(a), await default_of(b)]
        stop = asyncio.Event()
        acknowledged = 0

        async def client(number: int) -> None:
            nonlocal acknowledged
            for turn in range(10_000):
                if stop.is_set():
                    return
                first_id = 1 + (number * 10_000 + turn) * 20
                await _learn_until_accepted(replicas[turn % 2], 20, first_id)
                acknowledged += 20

        clients = [asyncio.create_task(client(n)) for n in range(4)]
        for _ in range(3):
            await asyncio.sleep(0.2)
            disk.kill()
            disk.start()
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*clients)
        await assert_agree(*replicas)
        assert replicas[0].require_model().examples == acknowledged > 500


async def _converged(replicas: Sequence[ModelReplica]) -> tuple[str, str]:
    await until(lambda: all(r.can_learn() for r in replicas), "all are live again")
    return await assert_agree(*replicas)


async def test_an_older_disk_is_noticed_by_every_replica(
    disk: Disk, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(disk.url, tmp_path / "a") as a, hub_on(disk.url, tmp_path / "b") as b:
        replicas = [await default_of(a), await default_of(b)]
        await replicas[0].learn(batch_of(random, 50))
        await replicas[0].checkpoint()
        old = await assert_agree(*replicas)
        aside = disk.copy_aside()
        await replicas[1].learn(batch_of(random, 50))
        await replicas[0].checkpoint()
        await assert_agree(*replicas)
        disk.return_to(aside)
        await until(lambda: all(r._owner.log_regressions for r in replicas), "both notice")
        assert await _converged(replicas) == old
        await replicas[0].learn(batch_of(random, 10))
        await replicas[1].learn(batch_of(random, 10))
        await _converged(replicas)


async def _grow(hub: Hub, replica: ModelReplica, entries: int) -> None:
    for _ in range(entries):
        await replica.learn(batch_of(np.random.default_rng(entries), 3))


@pytest.mark.parametrize("entries", [1, 2, 5])
async def test_an_older_disk_is_noticed_also_when_others_wrote_on_meanwhile(
    disk: Disk, tmp_path: Path, random: np.random.Generator, entries: int
) -> None:
    """The lost history was two entries long: the new one ends before, at, and after its end."""
    async with hub_on(disk.url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 50))
        aside = disk.copy_aside()
        await _grow(a, one, 2)
        step = one._owner._step
        one._owner._step = _asleep  # type: ignore[method-assign]
        disk.return_to(aside)
        async with hub_on(disk.url, tmp_path / "b") as b:
            two = await default_of(b)
            await _grow(b, two, entries)
            one._owner._step = step  # type: ignore[method-assign]
            await until(lambda: one._owner.log_regressions == 1, "it is noticed")
            await _converged([one, two])


async def _asleep() -> None:
    """A step that does nothing, as if the process were stopped."""
    await asyncio.sleep(0.01)


async def test_a_lost_restore_is_noticed_though_the_new_history_is_longer(
    disk: Disk, tmp_path: Path, random: np.random.Generator
) -> None:
    """As stream ids 2-4 is greater than 1-9: reading on from it would find nothing for ever."""
    async with hub_on(disk.url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 50))
        aside = disk.copy_aside()
        assert await one.restore(one.require_model()) == Position(2, 3)
        step = one._owner._step
        one._owner._step = _asleep  # type: ignore[method-assign]
        disk.return_to(aside)
        async with hub_on(disk.url, tmp_path / "b") as b:
            two = await default_of(b)
            await _grow(b, two, 6)
            one._owner._step = step  # type: ignore[method-assign]
            await until(lambda: one._owner.log_regressions == 1, "it is noticed", 3.0)
            await _converged([one, two])


async def test_an_unreadable_entry_that_was_lost_stops_nobody(
    disk: Disk, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(disk.url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 50))
        aside = disk.copy_aside()
        writer = replica._owner._writer
        await writer.append(replica.incarnation, [(b"not a payload", "a" * 16)])
        await until(lambda: replica.state == "stuck", "it cannot be read")
        disk.return_to(aside)
        await until(replica.can_learn, "there is nothing to skip any more", 4.0)
        assert (await replica.learn(batch_of(random, 5))).accepted == 5
