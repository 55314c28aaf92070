"""Entries that cannot be read, chains that break, and skipping: what a replica does with a log
that is not as it should be. Entries are damaged through a client of the test's own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import Conflict, RedisAway, Unavailable
from app.event_log import LogEntry
from app.folding import Follower
from app.hub import Hub
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from ftrl_core.entry import encode_examples, whole_request
from ftrl_core.model import Model
from ftrl_core.position import Position
from tests.recovery.harness import (
    SMALL,
    append_raw,
    assert_agree,
    batch_of,
    default_of,
    hub_on,
    state_of,
    until,
    until_async,
)

KEYS = ModelKeys("ctr", "default")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


def _damaged(random: np.random.Generator) -> bytes:
    batch = batch_of(random, 3)
    payload = bytearray(encode_examples(batch, whole_request(batch)))
    payload[len(payload) // 2] ^= 1
    return bytes(payload)


async def _until_stuck(replica: ModelReplica) -> None:
    await until(lambda: replica.state == "stuck", "the entry stops the replica")


async def _ask(hub: Hub, *command: Any) -> Any:
    return await hub.connections.write_command(*command)


async def test_an_unreadable_entry_stops_learning_until_it_is_skipped(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    probe = batch_of(random, 5)
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        good = (await one.learn(batch_of(random, 20, first_id=1))).position
        await two.wait_for(good, 5.0)
        predicted = one.predict(probe)[1]
        bad = await append_raw(a, one, _damaged(random))
        for replica in (one, two):
            await _until_stuck(replica)
            position, again = replica.predict(probe)
            assert position == good
            assert np.array_equal(again, predicted)
            assert str(bad) in replica.detail
            with pytest.raises(Unavailable) as refusal:
                await replica.learn(probe)
            assert refusal.value.outcome == "not_learned"
        assert a.ready()[0]
        with pytest.raises(Conflict):
            await one.skip(Position(1, 2))
        await one.skip(bad)
        await until(lambda: one.can_learn() and two.can_learn(), "both go on")
        assert (await two.learn(batch_of(random, 7, first_id=100))).accepted == 7
        at, digest = await assert_agree(one, two)
    async with hub_on(redis_url, tmp_path / "c") as c:  # from its checkpoint, past the entry
        restarted = await default_of(c)
        assert await assert_agree(restarted) == (at, digest)


async def test_a_replica_started_after_the_skip_passes_over_the_entry_too(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 20))
        bad = await append_raw(a, one, b"not a payload")
        await until(lambda: one.state == "stuck", "the entry stops the replica")
        async with hub_on(redis_url, tmp_path / "b") as b:  # stuck from its start
            two = await b.get("default")
            await until(lambda: two.state == "stuck", "the entry stops a new replica")
            await two.skip(bad)
            await until(one.can_learn, "the first goes on")
            await one.learn(batch_of(random, 5))
            state = await assert_agree(one, two)
            async with hub_on(redis_url, tmp_path / "c") as c:  # replays the log from 1-1
                three = await c.get("default")
                await until(three.can_learn, "a third passes over it")
                assert await assert_agree(three) == state


async def test_a_damaged_checkpoint_past_a_skipped_entry_is_gone_round_by_the_log(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 20))
        await one.checkpoint()
        bad = await append_raw(a, one, _damaged(random))
        await _until_stuck(one)
        await one.skip(bad)
        await one.learn(batch_of(random, 20))
        await one.checkpoint()
        state = await state_of(one)
        newest = await one._owner.store.newest()
        assert newest is not None
        await _ask(a, "SET", KEYS.manifest(newest.generation), b"damaged")
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = await b.get("default")
            await until(two.can_learn, "it loads the older one and passes over the entry")
            assert await state_of(two) == state


async def test_a_replica_that_had_folded_a_skipped_entry_gives_it_up(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Damaged after one replica folded it: what counts is what every later reader can read."""
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 20))
        position = (await one.learn(batch_of(random, 20))).position
        await one.learn(batch_of(random, 20))
        await damage_stored(a.connections, position)
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = await b.get("default")
            await until(lambda: two.state == "stuck", "the new replica cannot read it")
            assert one.can_learn()
            await two.skip(position)
            await until(lambda: one.can_learn() and two.can_learn(), "both go on")
            await assert_agree(one, two)
            assert one.require_model().examples == 40


async def damage_stored(connections: RedisConnections, position: Position) -> None:
    """Write the stream anew with one payload damaged, as a bad disk would leave it."""
    entries = await connections.write_command("XRANGE", KEYS.log, "-", "+")
    commands: list[tuple[Any, ...]] = [("DEL", KEYS.log)]
    for name, fields in entries:
        if name.decode() == str(position):
            fields[-1] = fields[-1][:-1] + bytes([fields[-1][-1] ^ 1])
        commands.append(("XADD", KEYS.log, name, *fields))
    await connections.write_commands(commands)


async def test_a_stuck_replica_goes_on_from_a_checkpoint_past_the_entry(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 20))
        position = (await one.learn(batch_of(random, 20))).position
        await one.learn(batch_of(random, 20))
        await damage_stored(a.connections, position)
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = await b.get("default")
            await until(lambda: two.state == "stuck", "the new replica cannot read it")
            await one.checkpoint()
            with pytest.raises((Conflict, Unavailable)):
                await two.skip(position)
            await until(two.can_learn, "the checkpoint is taken instead")
            await assert_agree(one, two)
            assert two.require_model().examples == 60


async def test_a_restore_whose_pages_are_damaged_can_be_skipped(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        position = (await one.learn(batch_of(random, 20))).position
        await two.wait_for(position, 5.0)
        digest = one.require_model().digest()
        store = one._owner.store
        put_manifest = store.put_manifest

        async def damage_then_put(generation: str, manifest: bytes) -> None:
            await _ask(a, "SETRANGE", KEYS.page(generation, 0), 8, b"damage")
            await put_manifest(generation, manifest)

        store.put_manifest = damage_then_put  # type: ignore[method-assign]
        model = one.require_model()
        with pytest.raises(Unavailable):
            await one.restore(model)
        await until(lambda: one.state == "stuck" and two.state == "stuck", "both stay before it")
        await two.skip(Position(2, position.seq + 1))
        await until(lambda: one.can_learn() and two.can_learn(), "both go on")
        await assert_agree(one, two)
        assert one.require_model().digest() == digest


async def test_a_broken_chain_is_answered_by_loading_again(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        await one.learn(batch_of(random, 20))
        await assert_agree(one, two)
        two._owner.follower.nonce = "f" * 16  # memory that belongs to another history
        await one.learn(batch_of(random, 20))
        await until(lambda: two._owner.log_regressions == 1, "the chain is checked")
        await until(two.can_learn, "loaded again")
        await assert_agree(one, two)


async def test_a_model_does_not_begin_in_another_epoch(redis_url: str, tmp_path: Path) -> None:
    """The same damage to the only entry there is."""
    async with hub_on(redis_url, tmp_path / "a") as a:
        await default_of(a)
        ((_, fields),) = await _ask(a, "XRANGE", KEYS.log, "1-1", "1-1")
        await _ask(a, "DEL", KEYS.log)
        await _ask(a, "XADD", KEYS.log, "0-1", *fields)
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = b.loaded()[0]
            await until(lambda: "begins at 0-1" in two.detail, "it cannot be loaded")
            assert two.model is None


async def test_an_epoch_that_nothing_began_is_never_served(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """The last entry's id is damaged; nonces and payload are whole, and nothing follows it."""
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(random, 5))
        ((name, fields),) = await _ask(a, "XRANGE", KEYS.log, "1-2", "1-2")
        await _ask(a, "XDEL", KEYS.log, name)
        await _ask(a, "XADD", KEYS.log, "3-2", *fields)
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = b.loaded()[0]
            await until(lambda: two.state == "stuck", "it stays before it")
            assert two.require_model().position == Position(1, 1)
            assert "another epoch" in two.detail


async def test_an_idle_replica_notices_that_its_position_is_another_entry_now(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 20))
        replica._owner.follower.nonce = "f" * 16
        await until(lambda: replica._owner.log_regressions == 1, "looked at once a second", 3.0)
        await until(replica.can_learn, "loaded again")


async def test_a_log_trimmed_past_a_slow_replica_is_noticed_though_nothing_follows(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """An empty answer means `at the head` only if meta says the same."""
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        await one.learn(batch_of(random, 5))
        await assert_agree(one, two)
        read = two._owner._log.read
        stopped = asyncio.Event()

        async def read_after_the_stop(*arguments: Any, **options: Any) -> Any:
            await stopped.wait()
            return await read(*arguments, **options)

        two._owner._log.read = read_after_the_stop  # type: ignore[method-assign]
        await one.learn(batch_of(random, 5))
        one._owner.checkpoints.log_is_full()
        one._owner.look_soon()
        await until_async(
            lambda: _length_is_zero(a), "both manifests at the head, the log empty", 10.0
        )
        stopped.set()
        await until(lambda: two._owner.log_regressions == 1, "the gap is seen")
        await until(two.can_learn, "loaded again")
        await assert_agree(one, two)


async def _length_is_zero(hub: Hub) -> bool:
    return bool(await _ask(hub, "XLEN", KEYS.log) == 0)


async def test_a_defect_in_the_fold_never_leaves_the_model_without_an_owner(
    redis_url: str, tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        model = replica.require_model()

        def break_down(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(model, "apply", break_down)
        with pytest.raises(Unavailable) as refusal:
            await replica.learn(batch_of(random, 5))
        assert refusal.value.outcome == "unknown"
        await until(replica.can_learn, "loaded again")
        assert replica.require_model().examples == 5


async def test_a_read_ahead_that_fails_waits_for_the_fold(random: np.random.Generator) -> None:
    """Otherwise the owner would go on, and fold, beside a fold that is not over."""
    model, payload = Model(SMALL), encode_examples(b := batch_of(random, 400), whole_request(b))
    entries = [LogEntry(Position(1, i), f"n{i}", f"n{i - 1}", 1, payload) for i in range(1, 41)]

    class Log:
        reads = 0

        async def read(self, _after: Position) -> list[LogEntry]:
            self.reads += 1
            if self.reads > 1:
                raise RedisAway("gone")
            return entries

    log: Any = Log()
    no_restore: Any = None

    async def agree(_model: Model, _last_ms: int, _next_ms: int) -> None:
        pass

    follower = Follower(log, no_restore, agree)
    model.position = Position(1, 0)
    follower.adopt(model, "n0", [])
    with pytest.raises(RedisAway):
        await follower.catch_up()
    assert follower.loaded.position == entries[-1].position
