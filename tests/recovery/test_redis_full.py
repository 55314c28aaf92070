"""Redis without memory, and a disk without room: refused, said, and over by itself.

Memory: what fills Redis is the log, and what empties it is a checkpoint, which needs memory to be
written. So the scripts of a checkpoint are allowed over the limit (app/lua_scripts.py), as are the
control entries with which an operator gets out; /learn is not.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.embedded_server import EmbeddedServer
from app.errors import Unavailable
from app.group import LearnOutcome
from app.hub import Hub
from app.replica import ModelReplica
from tests.recovery.harness import (
    Disk,
    assert_agree,
    batch_of,
    default_of,
    hub_on,
    until,
)

ROWS = 4000


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(41)


async def _used_memory(hub: Hub) -> int:
    info = bytes(await hub.connections.read_command("INFO", "memory")).decode()
    return int(info.partition("used_memory:")[2].split()[0])


async def _limit_memory(hub: Hub, room: int) -> None:
    limit = await _used_memory(hub) + room
    await hub.connections.write_command("CONFIG", "SET", "maxmemory", limit)


async def test_out_of_memory_is_refused_and_over_after_a_checkpoint(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        await one.learn(batch_of(random, ROWS))
        await _limit_memory(a, 2_000_000)
        accepted, refused = 1, 0
        async with asyncio.timeout(20.0):
            while not refused or accepted < 100:
                try:
                    await one.learn(batch_of(random, ROWS))
                    accepted += 1
                except Unavailable as full:
                    refused += 1
                    told = (full.type_slug, full.outcome, full.retry_after)
                    assert told == ("log-full", "not_learned", 1.0)
                    one.predict(batch_of(random, 1))
                    assert one.stale_seconds() == 0.0
                    await until(one.can_learn, "a checkpoint made room")
        assert one.require_model().examples == accepted * ROWS
        await assert_agree(one, two)
        assert one._owner.log_regressions == 0
        async with hub_on(redis_url, tmp_path / "c") as c:
            await assert_agree(one, await default_of(c))


async def test_an_operator_gets_out_of_a_full_redis(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Nothing can be trimmed here: a live change and a deletion go through all the same."""
    async with hub_on(redis_url, tmp_path, trim=False) as hub:
        other, _ = await hub.create("other", {"table_bits": 10})
        for _ in range(20):
            await other.learn(batch_of(random, ROWS))
        replica = await default_of(hub)
        await replica.learn(batch_of(random, ROWS))
        await _limit_memory(hub, 0)
        with pytest.raises(Unavailable):
            await replica.learn(batch_of(random, ROWS))
        config = await replica.configure({"optimizer": {"learning_rate": 0.07}})
        assert set(config.rates) == {0.07}
        await hub.delete("other")
        await until(replica.can_learn, "the deletion made room")
        assert (await replica.learn(batch_of(random, 10))).accepted == 10


def _mount(folder: Path, *options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        _mount(folder, "size=2m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system can be mounted by root alone: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def _fill(replica: ModelReplica) -> tuple[int, Unavailable]:
    """Learn until the first refusal; what was acknowledged, and the refusal."""
    random = np.random.default_rng(3)
    for turn in range(1000):
        try:
            await replica.learn(batch_of(random, 500, first_id=1 + 500 * turn), covered=True)
        except Unavailable as refusal:
            return turn, refusal
    raise AssertionError("the disk never filled")


async def test_a_full_disk_ends_a_server_that_must_fsync(
    small_disk: Path, tmp_path: Path, random: np.random.Generator
) -> None:
    """It ends rather than acknowledge; with room it is started again and nothing is lost."""
    disk = Disk(small_disk)
    try:
        async with hub_on(disk.url, tmp_path / "a") as hub:
            replica = await default_of(hub)
            turns, refusal = await _fill(replica)
            assert refusal.outcome in ("not_learned", "unknown")
            await until(lambda: not disk.server.is_running(), "the server ends")
            await until(lambda: not replica.can_learn(), "it is noticed")
            with pytest.raises(Unavailable) as away:
                await replica.learn(batch_of(random, 1))
            assert (away.value.outcome, away.value.type_slug) == ("not_learned", "redis-away")
            replica.predict(batch_of(random, 1))
            _mount(small_disk, "remount", "size=64m")
            disk.server.kill()
            disk.start()
            await until(replica.can_learn, "there is room")
            again = await _send(replica, turns)
            assert again.accepted + again.duplicates == 500
            assert replica.require_model().examples == 500 * (turns + 1)
            assert replica._owner.log_regressions == 0
            async with hub_on(disk.url, tmp_path / "b") as other:
                await assert_agree(replica, await default_of(other))
    finally:
        disk.close()


async def _send(replica: ModelReplica, turn: int) -> LearnOutcome:
    batch = batch_of(np.random.default_rng(3), 500, first_id=1 + 500 * turn)
    return await replica.learn(batch, covered=True)


async def test_a_full_disk_under_everysec_is_refused_until_there_is_room(
    small_disk: Path, tmp_path: Path, random: np.random.Generator
) -> None:
    """MISCONF; what was acknowledged just before may be lost, which is what everysec means."""
    with EmbeddedServer.start(small_disk, "bundled", "everysec") as server:
        async with hub_on(server.url, tmp_path, durability="everysec") as hub:
            replica = await default_of(hub)
            turns, refusal = await _fill(replica)
            assert (refusal.outcome, refusal.type_slug) == ("not_learned", "redis-refuses")
            assert "MISCONF" in refusal.detail
            assert refusal.retry_after
            replica.predict(batch_of(random, 1))
            assert not replica.can_learn()
            _mount(small_disk, "remount", "size=64m")
            await until(replica.can_learn, "there is room")
            assert (await _send(replica, turns)).accepted == 500
            assert replica.require_model().examples == 500 * (turns + 1)
