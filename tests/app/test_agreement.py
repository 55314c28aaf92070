"""Replicas compare their states: whoever is wrong is found, loads again, and the others go on.

A fault of memory is one bit changed in a replica's table or bias. Found out it must be at the next
comparison, whether the page was touched since or not, under learning and at rest, whoever speaks
first; and the digests must be equal again afterwards.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.agreement import Agreement
from app.errors import Unavailable
from app.lua_scripts import Script
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from ftrl_core.model import Model
from ftrl_core.position import Position
from tests.app.model_in_redis import ModelInRedis, opened
from tests.app.test_folding import damage_stored
from tests.recovery.harness import assert_agree, batch_of, default_of, hub_on, until

RANDOM = np.random.default_rng(5)
OFTEN = 0.1


@asynccontextmanager
async def _replicas(
    url: str, folder: Path, count: int, **settings: Any
) -> AsyncIterator[list[ModelReplica]]:
    """So many machines on one Redis."""
    async with AsyncExitStack() as stack:
        options = {"compare_seconds": OFTEN, **settings}
        hubs = [
            await stack.enter_async_context(hub_on(url, folder / str(i), **options))
            for i in range(count)
        ]
        yield [await default_of(hub) for hub in hubs]


async def _learn_until(replica: ModelReplica, condition: Any, what: str) -> None:
    """Keep learning while waiting, so that comparisons come by the log's time."""
    for _ in range(1000):
        if condition():
            return
        try:
            await replica.learn(batch_of(RANDOM, 20))
        except Unavailable:
            pass
        await asyncio.sleep(0.01)
    raise AssertionError(what)


def _differences(replica: ModelReplica) -> int:
    return replica._owner.agreement.differences


def _comparisons(replica: ModelReplica) -> int:
    return replica._owner.agreement.comparisons


def _compared_here(*replicas: ModelReplica) -> bool:
    """Whether each has compared at the position where it is."""
    return all(r.require_model().position in r._owner.agreement._own for r in replicas)


def _flip_a_bit(replica: ModelReplica) -> None:
    """In a slot that is not zero, whose page may or may not be touched again before it is found."""
    model = replica.require_model()
    cells = model.table.cells.view(np.uint32)
    cells[int(np.flatnonzero(cells)[7])] ^= 1 << 9


def _change_the_bias(replica: ModelReplica) -> None:
    """What no checksum of a page covers."""
    replica.require_model().bias.view(np.uint64)[0] ^= 1 << 20


@pytest.mark.compat
@pytest.mark.parametrize("fault", [_flip_a_bit, _change_the_bias])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("faulty", [0, 1])
async def test_a_fault_of_memory_is_found_under_learning(
    redis_url: str, tmp_path: Path, fault: Any, count: int, faulty: int
) -> None:
    async with _replicas(redis_url, tmp_path, count) as replicas:
        await _learn_until(
            replicas[0], lambda: all(_comparisons(r) > 1 for r in replicas), "all compare"
        )
        assert not any(_differences(r) for r in replicas)
        bad = replicas[faulty]
        fault(bad)
        await _learn_until(replicas[0], lambda: _differences(bad), "it is found out")
        await _learn_until(
            replicas[0], lambda: all(r.can_learn() for r in replicas), "all serve again"
        )
        seen = [_comparisons(r) for r in replicas]
        await _learn_until(
            replicas[0],
            lambda: all(_comparisons(r) > n for r, n in zip(replicas, seen, strict=True)),
            "all agree again",
        )
        await assert_agree(*replicas)
        assert all(r._owner.log_regressions == 0 for r in replicas)


async def test_a_fault_in_an_untouched_page_disturbs_nobody_else(
    redis_url: str, tmp_path: Path
) -> None:
    """At rest: the table's own checksums tell who is at fault."""
    async with _replicas(redis_url, tmp_path, 2) as (good, bad):
        reached = (await good.learn(batch_of(RANDOM, 50))).position
        await bad.wait_for(reached, 5.0)
        await until(lambda: _compared_here(good, bad), "both compare at the head")
        state = await assert_agree(good, bad)
        _flip_a_bit(bad)
        assert bad.require_model().state_digest() == state[1]  # from the page's kept checksum
        await until(lambda: _differences(bad) == 1, "it is found out")
        assert bad.state in ("doubtful", "loading", "live")
        await until(bad.can_learn, "it serves again")
        assert await assert_agree(good, bad) == state
        assert _differences(good) == 0
        stats = await bad.stats()
        assert (stats["digest_differences"], stats["log_regressions"]) == (1, 0)


async def test_while_in_doubt_it_serves_nothing(redis_url: str, tmp_path: Path) -> None:
    async with _replicas(redis_url, tmp_path, 2) as (good, bad):
        reached = (await good.learn(batch_of(RANDOM, 50))).position
        await bad.wait_for(reached, 5.0)
        await until(lambda: _compared_here(good, bad), "both compare")
        load = bad._owner._load
        may_load = asyncio.Event()

        async def load_later() -> None:
            await may_load.wait()
            await load()

        bad._owner._load = load_later  # type: ignore[method-assign]
        _flip_a_bit(bad)
        await until(lambda: bad.state == "doubtful", "it is found out")
        assert "changed in memory" in bad.detail
        with pytest.raises(Unavailable):
            bad.predict(batch_of(RANDOM, 1))
        with pytest.raises(Unavailable) as refusal:
            await bad.learn(batch_of(RANDOM, 1))
        assert refusal.value.outcome == "not_learned"
        assert (await good.learn(batch_of(RANDOM, 5))).accepted == 5
        may_load.set()
        await until(bad.can_learn, "it serves again")
        await assert_agree(good, bad)


async def test_who_computes_otherwise_again_and_again_stays_out(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a processor or a build would whose arithmetic is another one."""
    async with _replicas(redis_url, tmp_path, 3) as replicas:
        *good, odd = replicas
        await replicas[0].learn(batch_of(RANDOM, 50))
        await until(lambda: all(_comparisons(r) for r in replicas), "all compare")
        owner = odd._owner
        digest = Model.agreed_digest

        def otherwise(model: Model) -> str:
            is_odd = model is owner.follower.model
            return "0" * 32 if is_odd else digest(model)

        monkeypatch.setattr(Model, "agreed_digest", otherwise)
        await good[0].learn(batch_of(RANDOM, 50))
        await until(lambda: _differences(odd) >= 3, "it differs after loading too", 20.0)
        await until(lambda: all(r.can_learn() for r in good), "the others go on")
        for _ in range(20):
            assert odd.model is None
            await asyncio.sleep(0.02)
        assert (await good[1].learn(batch_of(RANDOM, 5))).accepted == 5


async def test_a_restarted_replica_compares_with_what_was_said_before(
    redis_url: str, tmp_path: Path
) -> None:
    async with _replicas(redis_url, tmp_path, 1) as (one,):
        await one.learn(batch_of(RANDOM, 50))
        await until(lambda: _compared_here(one), "it compares at the head")
    async with _replicas(redis_url, tmp_path, 1, compare_seconds=3600) as (one,):
        assert (_comparisons(one), _differences(one)) == (1, 0)


async def test_after_a_skip_what_was_said_before_does_not_count(
    redis_url: str, tmp_path: Path
) -> None:
    """All have folded the entry and agreed on it; then it cannot be read, and is skipped."""
    async with _replicas(redis_url, tmp_path, 2) as (one, two):
        await one.learn(batch_of(RANDOM, 20))
        position = (await one.learn(batch_of(RANDOM, 20))).position
        await two.wait_for(position, 5.0)
        await until(lambda: _compared_here(one, two), "both agree")
        await damage_stored(one._connections, position)
        async with hub_on(redis_url, tmp_path / "c", compare_seconds=OFTEN) as c:
            three = await c.get("default")
            await until(lambda: three.state == "stuck", "it cannot read it")
            await three.skip(position)
            everybody = (one, two, three)
            await until(lambda: all(r.can_learn() for r in everybody), "all go on", 20.0)
            seen = [_comparisons(r) for r in everybody]
            await until(
                lambda: all(_comparisons(r) > n for r, n in zip(everybody, seen, strict=True)),
                "all compare again",
            )
            await assert_agree(*everybody)


class _Voices:
    """digest.lua, called as replicas do."""

    def __init__(self, model: ModelInRedis) -> None:
        self.model = model
        self.script = Script("digest")

    async def say(self, position: str, digest: str, votes: int = 1, unsaid: int = 100) -> str:
        arguments = (self.model.incarnation, position, digest, votes, unsaid)
        reply = await self.script.call(self.model.connections, (self.model.keys.meta,), arguments)
        return b" ".join(reply).decode()


@pytest.fixture
async def voices(redis_url: str) -> AsyncIterator[_Voices]:
    async with opened(redis_url) as model:
        await model.ask("HSET", model.keys.meta, "seq", "9")
        yield _Voices(model)


@pytest.mark.compat
async def test_two_that_say_the_same_are_believed(voices: _Voices) -> None:
    assert await voices.say("1-1", "a") == "1-1 a 1"
    assert await voices.say("1-1", "b") == "1-1 a 1"  # differs, and is out
    assert await voices.say("1-1", "c") == "1-1 a 1"
    assert await voices.say("1-1", "b") == "1-1 b 2"
    assert await voices.say("1-1", "a") == "1-1 b 2"
    assert await voices.say("1-1", "a", 2) == "1-1 b 2"  # also after loading anew
    assert await voices.say("1-2", "z") == "1-2 z 1"
    assert await voices.say("1-1", "b") == "1-2 z 1"


@pytest.mark.compat
async def test_one_that_has_loaded_anew_is_believed_against_one(voices: _Voices) -> None:
    await voices.say("1-7", "a")
    await voices.say("1-7", "a", 0)  # the same one, said again
    assert await voices.say("1-7", "b") == "1-7 a 1"
    assert await voices.say("1-7", "b", 2) == "1-7 b 2"


async def test_what_nobody_says_any_more_stands_no_more(voices: _Voices) -> None:
    for _ in range(3):
        await voices.say("1-7", "a")
    assert await voices.say("1-7", "b", 2) == "1-7 a 3"
    await asyncio.sleep(2.1)
    assert await voices.say("1-7", "b", 1, 1) == "1-7 a 3"
    assert await voices.say("1-7", "b", 2, 1) == "1-7 b 2"


async def test_who_has_not_read_the_newest_epoch_says_nothing(voices: _Voices) -> None:
    await voices.model.ask("HSET", voices.model.keys.meta, "epoch", "2")
    assert await voices.say("1-7", "a") == ""
    assert await voices.say("2-8", "a") == "2-8 a 1"


@pytest.mark.parametrize("text", ["", "x", "1-1", "1- abc", "nonsense abc"])
async def test_a_record_that_cannot_be_read_is_none(voices: _Voices, text: str) -> None:
    model = voices.model
    await model.ask("HSET", model.keys.meta, "agreement", text)
    agreement = Agreement(model.connections, ModelKeys("ctr", "m"), secrets.token_hex(8), 1.0)
    agreement.look(await model.log.head())
    assert not agreement.is_due(Position(1, 1), 0, 0)


@pytest.mark.parametrize(
    "text", ["", "x", "1-1", "1- abc 2 - 9", "1-41 abc 1 - 9", "1-1 abc z - 9", "1-1 abc 1 - z"]
)
async def test_a_damaged_record_does_not_silence_comparisons(voices: _Voices, text: str) -> None:
    model = voices.model
    await model.ask("HSET", model.keys.meta, "agreement", text)
    agreement = Agreement(model.connections, ModelKeys("ctr", "m"), secrets.token_hex(8), 1.0)
    agreement.load_from(await model.log.head())
    assert agreement.is_due(Position(1, 9), 1000, 2000)
    assert await voices.say("1-7", "a") == "1-7 a 1"
