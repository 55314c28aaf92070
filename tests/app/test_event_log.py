"""The log against a real server: ids, chain, repeated and late batches, and every refusal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.errors import (
    AppendUnknown,
    ForeignKey,
    LogError,
    LogFull,
    LogRegressed,
    ModelGone,
    ProducerUnknown,
    RedisAway,
    SkipRefused,
    StaleBatch,
    WrongEpoch,
    WrongIncarnation,
)
from app.event_log import Append, ConfigureControl, DeleteControl, EventLog, SkipControl
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from ftrl_core.position import START, Position
from tests.app.model_in_redis import ModelInRedis, draw, opened

pytestmark = pytest.mark.compat


@pytest.fixture
async def model(redis_url: str) -> AsyncIterator[ModelInRedis]:
    async with opened(redis_url) as made:
        yield made


async def refused(model: ModelInRedis, batch: Append, error: type[LogError]) -> LogError:
    """The error of the append, after checking that it wrote nothing."""
    before = await model.dump()
    with pytest.raises(error) as caught:
        await model.log.append(batch)
    assert await model.dump() == before
    return caught.value


async def test_ids_are_dense_and_nonces_chain(model: ModelInRedis) -> None:
    """Single entries and groups: seq grows by one, each p is the n before, time never goes back."""
    for size in (1, 3, 1, 40, 2):
        before = model.at, model.nonce
        appended = await model.append(*[b"x" * size] * size)
        assert appended.first == Position(1, before[0].seq + 1)
        assert appended.last == Position(1, before[0].seq + size)
        assert (appended.previous, appended.previous_nonce) == before
        assert len(appended.time_ms) == size
        assert not appended.again
    position, nonce, time_ms = START, model.incarnation, 0
    for entry in await model.entries():
        assert entry.follows(position, nonce)
        assert entry.time_ms >= time_ms > 0 or position == START
        position, nonce, time_ms = entry.position, entry.nonce, entry.time_ms
    assert (position, nonce) == (model.at, model.nonce) == (Position(1, 48), model.nonce)


async def test_head_tells_what_was_appended(model: ModelInRedis) -> None:
    head = await model.log.head()
    assert (head.incarnation, head.deleted, head.position) == (
        model.incarnation,
        False,
        Position(1, 1),
    )
    assert (head.configuration, head.manifest, head.manifest_seq) == ("{}", None, 0)
    await model.append(b"x" * 100, b"y" * 50)
    later = await model.log.head()
    assert (later.position, later.nonce) == (model.at, model.nonce)
    assert later.log_bytes - head.log_bytes == 150 + 2 * 128
    assert later.time_ms >= head.created_ms > 1_600_000_000_000


async def test_a_model_that_is_not_there(redis_url: str) -> None:
    connections = RedisConnections.from_url(redis_url)
    made = ModelInRedis(connections, ModelKeys("ctr", "never"))
    with pytest.raises(ModelGone):
        await made.log.head()
    with pytest.raises(ModelGone):
        await made.log.append(made.batch(b"x"))
    assert await made.entries() == []
    await connections.aclose()


async def test_a_repeated_batch_is_appended_once(model: ModelInRedis) -> None:
    """Its old reply comes again, also after others appended; nothing is written."""
    batch = model.batch(b"a", b"b")
    first = await model.log.append(batch)
    other = replace(model.batch(b"c"), producer=draw(), batch_number=1)
    await model.log.append(other)
    before = await model.dump()
    again = await model.log.append(batch)
    assert again == replace(first, again=True)
    assert await model.dump() == before


async def test_a_late_copy_is_stale(model: ModelInRedis) -> None:
    await model.append(b"x")
    late = model.batch(b"given up")
    await refused(model, replace(late, batch_number=1), StaleBatch)  # other nonces: another call
    model.batch_number += 1
    await model.append(b"next")
    await refused(model, late, StaleBatch)


async def test_another_epoch_or_incarnation_is_refused(model: ModelInRedis) -> None:
    error = await refused(model, replace(model.batch(b"x"), epoch=2), WrongEpoch)
    assert isinstance(error, WrongEpoch)
    assert error.epoch == 1
    wrong = await refused(model, replace(model.batch(b"x"), incarnation=draw()), WrongIncarnation)
    assert isinstance(wrong, WrongIncarnation)
    assert wrong.incarnation == model.incarnation


async def test_a_regressed_log_is_refused(model: ModelInRedis) -> None:
    """Beyond the head, another nonce at the head, another nonce further down, another model's."""
    for _ in range(3):
        await model.append(b"x")
    cases: list[dict[str, Any]] = [
        {"after": Position(1, 5)},
        {"after_nonce": draw()},
        {"after": Position(1, 2), "after_nonce": draw()},
        {"after": Position(2, 2), "after_nonce": (await model.entries())[1].nonce},
        {"after": START, "after_nonce": draw()},
    ]
    for changes in cases:
        await refused(model, model.batch(b"y", **changes), LogRegressed)


async def test_an_earlier_position_in_the_log_is_fine(model: ModelInRedis) -> None:
    """Somebody else appended meanwhile: the reply's previous position is not the caller's."""
    second = (await model.append(b"x")).first
    nonce = model.nonce
    await model.append(b"y")
    for after, after_nonce in ((second, nonce), (START, model.incarnation)):
        batch = model.batch(b"z", after=after, after_nonce=after_nonce)
        appended = await model.send(batch)
        assert appended.previous.seq == appended.first.seq - 1 > after.seq


async def test_a_trimmed_position_is_fine(model: ModelInRedis) -> None:
    old = model.at, model.nonce
    base = None
    for _ in range(2):
        await model.append(b"x")
        base = await model.checkpoint({}, base)
    await model.store.begin(base, model.at)
    assert (await model.entries())[0].position.seq > old[0].seq
    batch = model.batch(b"y", after=old[0], after_nonce=old[1])
    assert (await model.log.append(batch)).previous == model.at


async def test_a_full_log_refuses_whole_groups(model: ModelInRedis) -> None:
    """All or nothing at the cap, to the byte; entries without a cap still go through."""
    used = (await model.log.head()).log_bytes
    cap = used + 2 * (100 + 128)
    error = await refused(model, model.batch(*[b"x" * 100] * 3, cap=cap), LogFull)
    assert isinstance(error, LogFull)
    assert error.retry_after > 0
    await refused(model, model.batch(b"x" * 100, b"x" * 101, cap=cap), LogFull)
    await model.append(b"x" * 100, b"x" * 100, cap=cap)
    await refused(model, model.batch(b"", cap=cap), LogFull)
    await model.append(b"control")


async def test_a_skip_begins_an_epoch(model: ModelInRedis) -> None:
    await model.append(b"x")
    at, nonce = model.at, model.nonce
    appended = await model.append(b"skip", control=SkipControl(2))
    assert (appended.previous, appended.first, appended.last) == (at, (2, 3), (2, 3))
    await refused(model, model.batch(b"y", epoch=1, after=at, after_nonce=nonce), WrongEpoch)
    await model.append(b"y")
    assert [str(entry.position) for entry in await model.entries()] == ["1-1", "1-2", "2-3", "2-4"]
    assert [entry.position.seq for entry in await model.log.read(at)] == [3, 4]


async def test_a_skip_below_a_checkpoint_is_refused(model: ModelInRedis) -> None:
    await model.append(b"x")
    await model.checkpoint({}, None)
    await refused(model, model.batch(b"skip", control=SkipControl(2)), SkipRefused)
    await model.append(b"skip", control=SkipControl(3))


async def test_nothing_follows_a_delete(model: ModelInRedis) -> None:
    """But the delete itself may be repeated."""
    batch = model.batch(b"delete", control=DeleteControl())
    first = await model.send(batch)
    assert (await model.log.append(batch)) == replace(first, again=True)
    assert (await model.log.head()).deleted
    model.at, model.nonce = first.last, batch.entries[0][1]
    await refused(model, model.batch(b"x"), ModelGone)


async def test_configure_is_kept_in_meta(model: ModelInRedis) -> None:
    await model.append(b"configure", control=ConfigureControl('{"table_bits": 3}'))
    assert (await model.log.head()).configuration == '{"table_bits": 3}'


async def test_an_evicted_producer_is_never_taken_for_new(model: ModelInRedis) -> None:
    """Neither by a later batch nor by a late copy of its first one."""
    first = replace(model.batch(b"once"), producer="early")
    appended = await model.log.append(first)
    for _ in range(1024):
        last = await model.log.append(
            replace(
                model.batch(b""),
                producer=draw(),
                batch_number=1,
                after=START,
                after_nonce=model.incarnation,
            )
        )
    assert await model.ask("HLEN", model.keys.producers) == 1024
    await refused(model, first, ProducerUnknown)
    await refused(model, replace(first, batch_number=2), ProducerUnknown)
    entries = await model.entries()
    assert [entry.payload for entry in entries].count(b"once") == 1
    at: dict[str, Any] = {"after": last.last, "after_nonce": entries[-1].nonce}
    await refused(model, model.batch(b"x", producer="early", batch_number=2, **at), ProducerUnknown)
    fresh = await model.log.append(model.batch(b"x", producer=draw(), batch_number=1, **at))
    assert fresh.first.seq == last.last.seq + 1 > appended.first.seq


async def test_a_script_flush_changes_nothing(model: ModelInRedis) -> None:
    for _ in range(5):
        await model.ask("SCRIPT", "FLUSH")
        await model.append(b"x")
    assert model.at == Position(1, 6)


async def test_a_timed_out_append_is_unknown_and_may_be_repeated(redis_url: str) -> None:
    """The stalled call is executed late; the repeated one finds it and gives its positions."""
    async with opened(redis_url, socket_timeout=0.3) as model:
        batch = model.batch(b"x", b"y")
        await model.ask("CLIENT", "PAUSE", 1000, "WRITE")
        with pytest.raises(AppendUnknown):
            await model.log.append(batch)
        await asyncio.sleep(1.0)
        appended = await model.log.append(batch)
        assert (appended.first, appended.last) == (Position(1, 2), Position(1, 3))
        assert await model.ask("XLEN", model.keys.log) == 3


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), "OOM"),
        (("REPLICAOF", "127.0.0.1", "1"), "READONLY"),
        (("ACL", "SETUSER", "default", "-xadd"), "NOPERM|can't run this command|ACL"),
    ],
)
async def test_error_replies_mean_not_appended(
    model: ModelInRedis, command: tuple[str, ...], words: str
) -> None:
    await model.append(b"x")
    await model.ask(*command)
    with pytest.raises(RedisAway, match=words):
        await model.append(b"y")


async def test_a_password_set_meanwhile_is_redis_away(redis_url: str) -> None:
    async with opened(redis_url) as model:
        await model.ask("CONFIG", "SET", "requirepass", "secret")
        late = RedisConnections.from_url(redis_url)
        with pytest.raises(RedisAway, match="Authentication required"):
            await EventLog(late, model.keys).append(model.batch(b"x"))
        await late.aclose()
        await model.ask("CONFIG", "SET", "requirepass", "")


async def test_a_server_that_is_not_there(tmp_path: object) -> None:
    connections = RedisConnections.from_url(f"unix://{tmp_path}/nothing.sock")
    log = EventLog(connections, ModelKeys("ctr", "m"))
    with pytest.raises(RedisAway):
        await log.head()
    batch = Append(draw(), 1, draw(), 1, START, draw(), [(b"x", draw())], 0)
    with pytest.raises(RedisAway):
        await log.append(batch)
    with pytest.raises(RedisAway):
        await anext(aiter(log.subscribe()))
    await connections.aclose()


async def test_foreign_writers_are_named(model: ModelInRedis) -> None:
    """An entry under a clock id, then another type under the key; an alien entry never follows."""
    await model.ask("XADD", model.keys.log, "*", "field", "value")
    alien = (await model.entries())[-1]
    assert not alien.follows(model.at, model.nonce)
    assert (alien.nonce, alien.payload, alien.time_ms) == ("", b"", 0)
    with pytest.raises(ForeignKey, match="somebody else"):
        await model.append(b"x")
    await model.ask("SET", model.keys.log, "not a stream")
    with pytest.raises(ForeignKey, match="somebody else"):
        await model.append(b"x")
    with pytest.raises(ForeignKey, match="somebody else"):
        await model.entries()
    await model.ask("DEL", model.keys.meta)
    await model.ask("HSET", model.keys.meta, "incarnation", "x")
    with pytest.raises(ForeignKey, match="damaged"):
        await model.log.head()


async def test_reading_is_bounded(model: ModelInRedis) -> None:
    sizes = [10, 5000, 20000, 10, 10, 300] * 20
    await model.append(*(b"x" * size for size in sizes))
    assert len(await model.log.read(START, max_entries=7)) == 7
    some = await model.log.read(START, max_bytes=100_000)
    assert 1 <= len(some) < 60
    assert len(await model.log.read(START, max_bytes=1)) >= 1
    assert len(await model.entries()) == len(sizes) + 1
    assert await model.log.read(model.at) == []


async def test_heads_are_published(model: ModelInRedis) -> None:
    """First the head as it stands, then each new one."""
    async with contextlib.aclosing(model.log.subscribe()) as heads:
        assert await anext(heads) == (model.at, model.nonce)
        for _ in range(3):
            await model.append(b"x", b"y")
            assert await anext(heads) == (model.at, model.nonce)
