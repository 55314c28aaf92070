"""A Redis that answers late, stands still, or whose connections are dead without saying so.

The append in flight is of unknown outcome and said to be; what waits behind it, and what comes
later, is refused at once as not learned. Nothing piles up, and no reply reaches another request.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import RedisAway, Unavailable
from app.hub import Hub
from app.replica import ModelReplica
from tests.recovery.harness import assert_agree, batch_of, default_of, hub_on, until
from tests.recovery.proxy import proxied

TIMEOUT = 0.4  # of a command, in these tests
CLIENTS = 24


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(29)


@pytest.fixture(autouse=True)
def _short_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """In production a command's timeout is longer than repeats are tried for; so here."""
    monkeypatch.setattr("app.writing.REPEAT_SECONDS", TIMEOUT - 0.1)


class Client:
    """Sends batches with ids of its own; each again until it is acknowledged, as a client does."""

    def __init__(self, replica: ModelReplica, number: int) -> None:
        self._replica = replica
        self._number = number
        self.acknowledged = 0
        self.refusals: list[tuple[float, Unavailable]] = []
        self.refusals_pending = False

    async def run(self, stop: asyncio.Event) -> None:
        turn = 0
        while not stop.is_set() or self.refusals_pending:
            first_id = 1 + 10 * (10_000 * self._number + turn)
            batch = batch_of(np.random.default_rng(first_id), 10, first_id=first_id)
            started = time.monotonic()
            try:
                outcome = await self._replica.learn(batch, covered=True)
            except Unavailable as refusal:
                self.refusals.append((time.monotonic() - started, refusal))
                self.refusals_pending = True
                await asyncio.sleep(0.02)
            else:
                assert outcome.accepted + outcome.duplicates == 10
                assert outcome.predictions.shape == (10,)
                self.acknowledged += 10
                self.refusals_pending = False
                turn += 1


async def _under_load(replica: ModelReplica, fault: Any) -> list[Client]:
    """Clients while the fault is on and a little longer; all they sent is counted once."""
    stop = asyncio.Event()
    clients = [Client(replica, number) for number in range(CLIENTS)]
    before = replica.require_model().examples
    tasks = [asyncio.create_task(client.run(stop)) for client in clients]
    await asyncio.sleep(0.2)
    await fault()
    await until(replica.can_learn, "it goes on")
    stop.set()
    async with asyncio.timeout(10.0):
        await asyncio.gather(*tasks)
    acknowledged = sum(client.acknowledged for client in clients)
    assert replica.require_model().examples == before + acknowledged
    return clients


def _check_refusals(clients: list[Client]) -> None:
    """Unknown for what was in flight, after at most one timeout; not learned, at once, for others.

    One group is in flight at a time, and each client has one request, so none has two unknowns.
    """
    for client in clients:
        unknown = [r for _, r in client.refusals if r.outcome == "unknown"]
        assert len(unknown) <= 1
        for seconds, refusal in client.refusals:
            assert seconds < 3 * TIMEOUT + 0.5, refusal
            assert refusal.outcome in ("unknown", "not_learned")
            assert refusal.retry_after
    later = sorted(s for client in clients for s, _ in client.refusals[2:])
    assert len(later) > CLIENTS
    assert later[int(0.95 * len(later))] < 0.1, "later ones are refused at once"


@pytest.mark.parametrize("how", ["a busy script", "CLIENT PAUSE ALL", "CLIENT PAUSE WRITE"])
async def test_a_redis_that_stands_still(
    redis_url: str, tmp_path: Path, how: str, random: np.random.Generator
) -> None:
    """A script is silent first and then answered for by -BUSY."""
    async with (
        hub_on(redis_url, tmp_path / "a", socket_timeout=TIMEOUT) as hub,
        hub_on(redis_url, tmp_path / "operator") as operator,
    ):
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 10))

        async def stand_still() -> None:
            ask = operator.connections.write_command
            if how == "a busy script":
                await ask("CONFIG", "SET", "busy-reply-threshold", "700")
                busy = asyncio.create_task(ask("EVAL", "while true do end", "0"))
                await asyncio.sleep(1.5)
                await ask("SCRIPT", "KILL")
                with pytest.raises(RedisAway, match="killed"):
                    await busy
            else:
                await ask("CLIENT", "PAUSE", "1500", how.split()[-1])
                await asyncio.sleep(1.5)

        clients = await _under_load(replica, stand_still)
        _check_refusals(clients)
        assert any(client.refusals for client in clients)
        await assert_agree(replica, await default_of(operator))


async def test_what_waits_is_bounded(
    redis_url: str, tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first timeout nothing is refused for being late: the queue has a bound."""
    monkeypatch.setattr("app.replica.QUEUE_FEATURES_MAX", 5_000)
    async with hub_on(redis_url, tmp_path, socket_timeout=1.0) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 10))
        await hub.connections.write_command("CLIENT", "PAUSE", "600", "ALL")
        batches = [batch_of(random, 100, first_id=1 + 100 * n) for n in range(40)]
        sent = [asyncio.create_task(replica.learn(batch, covered=True)) for batch in batches]
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        refused = [o for o in outcomes if isinstance(o, Unavailable)]
        assert {(r.type_slug, r.outcome) for r in refused} == {("busy", "not_learned")}
        accepted = [o for o in outcomes if not isinstance(o, BaseException)]
        assert len(accepted) + len(refused) == 40
        assert replica.require_model().examples == 10 + 100 * len(accepted)


async def test_a_connection_that_falls_silent(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Half open: the socket stands, and so do new ones. Later requests do not wait for a timeout
    each, and when the network is back no reply is taken for that of another request."""
    async with (
        proxied(tmp_path, redis_url) as proxy,
        hub_on(proxy.url, tmp_path / "a", socket_timeout=TIMEOUT) as hub,
        hub_on(redis_url, tmp_path / "b") as other,
    ):
        replica = await default_of(hub)

        async def silence() -> None:
            proxy.fall_silent()
            await asyncio.sleep(1.5)
            replica.predict(batch_of(random, 5))
            assert replica.stale_seconds() > 0
            ready, told = hub.ready()
            assert (ready, told["learn"]) == (True, False)
            proxy.speak()

        clients = await _under_load(replica, silence)
        _check_refusals(clients)
        assert replica._owner.log_regressions == 0
        await assert_agree(replica, await default_of(other))


async def test_all_connections_dead_at_once_cost_one_timeout(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """As after a router forgot them: the first that is found dead takes the others with it."""
    async with (
        proxied(tmp_path, redis_url) as proxy,
        hub_on(proxy.url, tmp_path / "a", socket_timeout=TIMEOUT) as hub,
        hub_on(redis_url, tmp_path / "b") as other,
    ):
        one, two = await default_of(hub), await default_of(other)
        await one.learn(batch_of(random, 10))
        await _open_connections(hub, 20)
        proxy.forget()
        started = time.monotonic()
        await asyncio.sleep(1.0 + TIMEOUT)  # noticed by the owner's look, or by the server's watch
        await until(one.can_learn, "it goes on", 3.0)
        assert (await one.learn(batch_of(random, 10))).accepted == 10
        reads = [hub.connections.read_command("PING") for _ in range(20)]
        assert await asyncio.gather(*reads) == [b"PONG"] * 20
        assert time.monotonic() - started < 2.0 + 5 * TIMEOUT
        position = (await two.learn(batch_of(random, 10))).position
        assert await one.wait_for(position, 2.0)
        await _heads_are_heard_again(one, two, random)


async def _open_connections(hub: Hub, count: int) -> None:
    reads = [hub.connections.read_command("PING") for _ in range(count)]
    writes = [hub.connections.write_command("PING") for _ in range(count)]
    assert await asyncio.gather(*reads, *writes) == [b"PONG"] * (2 * count)


async def _heads_are_heard_again(
    one: ModelReplica, two: ModelReplica, random: np.random.Generator
) -> None:
    """The subscription died too: what another replica learns is soon folded without a look."""
    for _ in range(50):
        before = time.monotonic()
        position = (await two.learn(batch_of(random, 1))).position
        await until(lambda: one._owner.reached(position), "folded", 3.0)  # noqa: B023
        if time.monotonic() - before < 0.1 and one._owner._head_due - before > 0.3:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("heads are not heard")
