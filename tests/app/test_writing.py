"""Appending for a replica: silence, repeats, refusals, and other writers in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from app import writing
from app.errors import AppendUnknown, RedisAway, Unavailable
from app.event_log import Append, Appended, EventLog
from ftrl_core.position import Position
from tests.recovery.harness import assert_agree, batch_of, default_of, hub_on, until


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(31)


async def test_a_reply_that_is_lost_is_asked_for_again_and_nothing_is_appended_twice(
    redis_url: str, tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        send, calls = EventLog.append, []

        async def lose_every_other_reply(log: EventLog, append: Append) -> Appended:
            calls.append(append)
            appended = await send(log, append)
            if len(calls) % 2:
                raise AppendUnknown("the reply was lost")
            return appended

        monkeypatch.setattr(EventLog, "append", lose_every_other_reply)
        for number in range(5):
            outcome = await replica.learn(batch_of(random, 10))
            assert outcome.position == Position(1, 2 + number)
        assert len(calls) == 10
        assert replica.require_model().examples == 50


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_silence_that_lasts_is_told_as_unknown_and_then_cleared_up(
    redis_url: str,
    tmp_path: Path,
    random: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    arrives: bool,
) -> None:
    monkeypatch.setattr(writing, "REPEAT_SECONDS", 0.1)
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 10))
        send = EventLog.append

        async def silence(log: EventLog, append: Append) -> Appended:
            if arrives:
                await send(log, append)
            raise AppendUnknown("no reply")

        monkeypatch.setattr(EventLog, "append", silence)
        batch = batch_of(random, 7, first_id=1)
        for covered in (True, False):
            with pytest.raises(Unavailable) as refusal:
                await replica.learn(batch, covered=covered)
            assert refusal.value.outcome == "unknown"
            assert (refusal.value.retry_after is not None) is covered
            await until(replica.can_learn, "Redis is found again")
        monkeypatch.setattr(EventLog, "append", send)
        outcome = await replica.learn(batch, covered=True)
        assert outcome.duplicates == (7 if arrives else 0)
        assert replica.require_model().examples == 17


async def test_a_read_that_fails_after_the_append_is_never_told_as_not_learned(
    redis_url: str, tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's entry came first, so ours have to be read back, and Redis goes away then."""
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        follower = one._owner.follower
        catch_up = follower.catch_up

        async def fail_once() -> None:
            monkeypatch.setattr(follower, "catch_up", catch_up)
            raise RedisAway("gone in between")

        async def append_behind_other(log: EventLog, append: Append) -> Appended:
            monkeypatch.setattr(EventLog, "append", send)
            await two.learn(batch_of(random, 1))
            monkeypatch.setattr(follower, "catch_up", fail_once)
            return await send(log, append)

        send = EventLog.append
        monkeypatch.setattr(EventLog, "append", append_behind_other)
        with pytest.raises(Unavailable) as refusal:
            await one.learn(batch_of(random, 5))
        assert refusal.value.outcome == "unknown"
        await until(one.can_learn, "Redis is found again")
        await assert_agree(one, two)
        assert one.require_model().examples == 6


async def test_a_producer_that_was_evicted_begins_anew(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 5))
        await hub.connections.write_command("DEL", "{ctr:default}:producers")
        assert (await replica.learn(batch_of(random, 5))).accepted == 5
        assert (await replica.learn(batch_of(random, 5))).position == Position(1, 4)


async def test_a_learner_waits_for_a_restore_it_has_not_read_and_appends_after_it(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        await assert_agree(one, two)
        look = two._owner._look
        asleep = asyncio.Event()

        async def look_later() -> None:
            await (look() if asleep.is_set() else asyncio.sleep(0.01))

        two._owner._look = look_later  # type: ignore[method-assign]
        position = await one.restore(one.require_model())
        outcome = await two.learn(batch_of(random, 5))
        assert outcome.accepted == 5
        assert outcome.position == Position(2, position.seq + 1)
        asleep.set()
        await assert_agree(one, two)
