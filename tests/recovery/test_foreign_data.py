"""Somebody else writes under our keys: noticed, named, and over when it is taken away.

An id that no append of ours gave makes every later append impossible, since ids only grow; a
key of another type makes reading impossible. Predictions go on from memory, which is not in doubt;
where the log itself contradicts memory, nothing is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import AppError, Unavailable
from app.hub import Hub
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from tests.recovery.harness import assert_agree, batch_of, default_of, hub_on, until

KEYS = ModelKeys("ctr", "default")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(53)


async def _ask(hub: Hub, *command: Any) -> Any:
    return await hub.connections.write_command(*command)


async def _is_refused(replica: ModelReplica, words: str) -> None:
    """Refused again and again for the same reason, with predictions going on."""
    for _ in range(3):
        with pytest.raises(Unavailable, match=words) as refusal:
            await replica.learn(batch_of(np.random.default_rng(1), 1))
        assert refusal.value.outcome == "not_learned"
        assert not replica.can_learn()
        replica.predict(batch_of(np.random.default_rng(1), 1))
        await asyncio.sleep(0.15)


@pytest.mark.parametrize("entry_id", ["*", "1-3"])
async def test_junk_in_the_stream(
    redis_url: str,
    tmp_path: Path,
    random: np.random.Generator,
    entry_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also under the very next id. Deleting the entry does not help, for a stream remembers its
    last id for ever; deleting the stream does, once a checkpoint holds all of it."""
    caplog.set_level(logging.WARNING)
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 20))
        junk = await _ask(hub, "XADD", KEYS.log, entry_id, "field", "value")
        await _is_refused(replica, "somebody else")
        assert len(caplog.records) == 1
        ready, told = hub.ready()
        assert (ready, told["learn"]) == (True, False)
        async with hub_on(redis_url, tmp_path / "other") as other:  # cannot know what is true
            late = await other.get("default")
            await until(lambda: "does not follow" in late.detail, "it is named")
            assert not other.ready()[0]
        await _ask(hub, "XDEL", KEYS.log, junk)
        await _is_refused(replica, "somebody else")
        await replica.checkpoint()
        await _ask(hub, "DEL", KEYS.log)
        await until(replica.can_learn, "it is taken away", 2.0)
        assert (await replica.learn(batch_of(random, 5))).accepted == 5
        assert replica._owner.log_regressions == 0


async def test_a_forged_entry_of_the_log_and_its_head(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Meta says that it belongs, the chain says that it does not: nothing is served until it is
    gone, and the attempts to load are spaced out."""
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 20))
        head = (await _ask(hub, "HGET", KEYS.meta, "nonce")).decode()
        forged = ("n", "f" * 16, "p", "e" * 16, "t", "1", "c", "1", "b", "payload")
        await _ask(hub, "COPY", KEYS.log, "aside")
        await _ask(hub, "XADD", KEYS.log, "1-3", *forged)
        await _ask(hub, "HSET", KEYS.meta, "seq", "3", "nonce", "f" * 16)
        await until(lambda: replica.state == "doubtful", "it is noticed", 3.0)
        await asyncio.sleep(1.0)
        assert not hub.ready()[0]
        assert replica._owner.log_regressions < 6
        with pytest.raises(Unavailable):
            replica.predict(batch_of(random, 1))
        with pytest.raises(Unavailable) as refusal:
            await replica.learn(batch_of(random, 1))
        assert refusal.value.outcome == "not_learned"
        await _ask(hub, "RENAME", "aside", KEYS.log)
        await _ask(hub, "HSET", KEYS.meta, "seq", "2", "nonce", head)
        await until(replica.can_learn, "it is gone", 8.0)
        assert replica.require_model().examples == 20


@pytest.mark.parametrize("name", ["meta", "log", "producers", "generations"])
async def test_a_key_of_another_type(
    redis_url: str, tmp_path: Path, random: np.random.Generator, name: str
) -> None:
    """What was there is moved back in the end, as an operator would from a backup."""
    key = getattr(KEYS, name)
    async with hub_on(redis_url, tmp_path / "a") as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 20))
        await replica.checkpoint()
        await _ask(hub, "RENAME", key, "aside")
        await _ask(hub, "SET", key, "not ours")
        if name != "generations":  # which an append does not read
            await _is_refused(replica, "somebody else|does not answer")
        with contextlib.suppress(AppError):
            await replica.checkpoint()
        replica.predict(batch_of(random, 1))
        await _ask(hub, "DEL", key)
        await _ask(hub, "RENAME", "aside", key)
        await until(replica.can_learn, "it is back", 5.0)
        assert (await replica.learn(batch_of(random, 5))).accepted == 5
        await replica.checkpoint()
        async with hub_on(redis_url, tmp_path / "b") as other:
            await assert_agree(replica, await default_of(other))


@pytest.mark.parametrize("field", ["seq", "epoch", "time", "bytes_total", "manifest_seq"])
async def test_damaged_meta(
    redis_url: str, tmp_path: Path, random: np.random.Generator, field: str
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 20))
        right = await _ask(hub, "HGET", KEYS.meta, field)
        await _ask(hub, "HSET", KEYS.meta, field, "\x00junk")
        await until(lambda: not replica.can_learn(), "it is noticed", 3.0)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await replica.learn(batch_of(random, 1))
            await asyncio.sleep(0.2)
        await _ask(hub, "HSET", KEYS.meta, field, right)
        await until(replica.can_learn, "it is right again", 5.0)
        assert (await replica.learn(batch_of(random, 5))).accepted == 5
