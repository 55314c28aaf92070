"""What goes on beside learning on a live Redis: clocks that jump, scripts forgotten, the AOF
rewritten, restores under load. None of it may cost an event, count one twice, or part replicas."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import Conflict, Unavailable
from app.hub import Hub
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from tests.recovery.harness import assert_agree, batch_of, default_of, hub_on, until

KEYS = ModelKeys("ctr", "default")
DAY_MS = 86_400_000


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(59)


async def _ask(hub: Hub, *command: Any) -> Any:
    return await hub.connections.write_command(*command)


async def _times(hub: Hub) -> list[int]:
    return [int(entry[1][5]) for entry in await _ask(hub, "XRANGE", KEYS.log, "-", "+")]


async def test_append_times_never_go_back(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Redis' clock was a day ahead and is right again: its last time stands in meta. Ids, chain
    and window do not depend on it, and figures made from it are never negative."""
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        batch = batch_of(random, 10, first_id=1)
        await one.learn(batch, covered=True)
        ahead = int(time.time() * 1000) + DAY_MS
        await _ask(a, "HSET", KEYS.meta, "time", ahead)
        for _ in range(3):
            await two.learn(batch_of(random, 10))
        assert (await one.learn(batch, covered=True)).duplicates == 10
        times = await _times(a)
        assert times == sorted(times)
        assert times[-1] == ahead
        await assert_agree(one, two)
        await one.checkpoint()
        stats = await one.stats()
        assert stats["deduplication_window_seconds"] >= 0
        assert stats["stale_seconds"] == 0


@pytest.mark.parametrize("days", [-1, 1])
async def test_our_own_clock_jumps(
    redis_url: str,
    tmp_path: Path,
    random: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    days: int,
) -> None:
    async with hub_on(redis_url, tmp_path / "a", idle_seconds=0.1) as hub:
        replica = await default_of(hub)
        batch = batch_of(random, 10, first_id=1)
        await replica.learn(batch, covered=True)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + days * 86_400)
        assert (await replica.learn(batch, covered=True)).duplicates == 10
        assert (await replica.learn(batch_of(random, 10))).accepted == 10
        await replica.checkpoint()
        stats = await replica.stats()
        assert stats["deduplication_window_seconds"] >= 0
        assert (replica.can_learn(), replica.stale_seconds()) == (True, 0.0)


class _Load:
    """Two replicas learning as fast as they can, every event once."""

    def __init__(self, *replicas: ModelReplica) -> None:
        self._replicas = replicas
        self._stop = asyncio.Event()
        self.accepted = 0
        self.slowest = 0.0
        self._tasks = [asyncio.create_task(self._run(n)) for n in range(8)]

    async def _run(self, number: int) -> None:
        replica = self._replicas[number % len(self._replicas)]
        turn = 0
        while not self._stop.is_set():
            turn += 1
            first_id = 10 * (100_000 * number + turn)
            batch = batch_of(np.random.default_rng(turn), 10, first_id=first_id)
            started = time.monotonic()
            try:
                outcome = await replica.learn(batch, covered=True)
            except Unavailable as refusal:
                assert refusal.outcome == "not_learned", refusal  # noqa: PT017
                await asyncio.sleep(0.01)
                continue
            self.slowest = max(self.slowest, time.monotonic() - started)
            assert outcome.duplicates == 0
            self.accepted += outcome.accepted

    async def end(self) -> int:
        """Stop, and how many examples were accepted."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        return self.accepted


async def test_scripts_forgotten_and_the_log_rewritten_under_load(
    redis_url: str, tmp_path: Path
) -> None:
    """SCRIPT FLUSH between loading a script and calling it, again and again; BGREWRITEAOF too."""
    options: dict[str, Any] = {"idle_seconds": 0.05, "checkpoint_log_bytes": 20_000}
    async with (
        hub_on(redis_url, tmp_path / "a", **options) as a,
        hub_on(redis_url, tmp_path / "b", **options) as b,
    ):
        one, two = await default_of(a), await default_of(b)
        load = _Load(one, two)
        for turn in range(200):
            await _ask(a, "SCRIPT", "FLUSH")
            if turn % 50 == 10:
                await _ask(a, "BGREWRITEAOF")
            await asyncio.sleep(0.005)
        accepted = await load.end()
        assert load.slowest < 2.0
        await assert_agree(one, two)
        assert one.require_model().examples == accepted > 500
        assert one._owner.log_regressions == two._owner.log_regressions == 0


async def test_restores_while_learning_and_against_each_other(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """What was accepted before a restore is given up by it and what comes after is kept: examples
    are those of the restored model and what was accepted behind the entry of the last restore."""
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        await one.learn(batch_of(random, 50))
        await assert_agree(one, two)
        async with hub_on(redis_url, tmp_path / "c") as c:
            content = (await default_of(c)).require_model()
        load = _Load(one, two)
        won = lost = 0
        for _ in range(6):
            await asyncio.sleep(0.05)
            results = await asyncio.gather(
                one.restore(content), two.restore(content), return_exceptions=True
            )
            conflicts = [r for r in results if isinstance(r, Conflict)]
            assert all(c.slug == "restored-meanwhile" for c in conflicts), results
            won += len(results) - len(conflicts)
            lost += len(conflicts)
        await load.end()
        await until(lambda: one.can_learn() and two.can_learn(), "both follow")
        await assert_agree(one, two)
        assert won >= 6
        epochs = [entry[0].split(b"-") for entry in await _ask(a, "XRANGE", KEYS.log, "-", "+")]
        assert [int(seq) for _, seq in epochs] == list(range(1, len(epochs) + 1))
        assert sorted(int(epoch) for epoch, _ in epochs) == [int(epoch) for epoch, _ in epochs]
        assert one.require_model().position.epoch == 1 + won
