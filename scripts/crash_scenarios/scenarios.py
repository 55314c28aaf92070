"""What happens to a cluster while clients use it; each scenario is a function of a seed.

    calls      calls cut, repeated late, lost; nodes and server killed; checkpoints throughout
    rollback   the server comes back with an older disk, at once followed by other entries
    lag        a stopped reader past whom the log is trimmed to its end; a slow loader
    emptied    the server loses everything

scenarios_of_content.py has those that damage or restore what is stored.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any, Self

from scripts.crash_scenarios.clients import Client, Journal
from scripts.crash_scenarios.cluster import Cluster, Fault, Node, checkpoint
from scripts.crash_scenarios.history import Reading
from scripts.crash_scenarios.judge import agree, judge, orphans, probe_faults
from tests.oracle.exact import ExactFold

CONFIG = {"optimizer": {"learning_rate": 0.1}}
LARGE, SMALL = 4096, 24
CLIENTS = 4


def config_of(draw: random.Random, window: int = LARGE) -> dict[str, Any]:
    """A model of one or many pages."""
    return {**CONFIG, "table_bits": draw.choice([9, 14, 16]), "deduplication_window": window}


class Traffic:
    """Clients at work, for as long as the block lasts."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self.clients = clients
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for client in self.clients:
            client.stopped = False
        self._tasks = [asyncio.create_task(client.run()) for client in self.clients]
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self.clients:
            client.stopped = True
        await asyncio.wait_for(asyncio.gather(*self._tasks), 20.0)


def clients_of(cluster: Cluster, journal: Journal, again: float = 0.2) -> list[Client]:
    """A few clients that use every node."""
    return [Client(journal, cluster.draw, lambda: cluster.nodes, again) for _ in range(CLIENTS)]


async def calls(cluster: Cluster, journal: Journal, draw: random.Random) -> None:
    """Calls fail in every way; nodes die at any call, the server at any time."""
    narrow = draw.random() < 0.25
    cluster.config = config_of(draw, SMALL if narrow else LARGE)
    await cluster.start(2)
    clients = clients_of(cluster, journal, 0.5 if narrow else 0.2)
    ending, working = time.monotonic() + draw.uniform(0.5, 1.5), set[asyncio.Task[Any]]()
    for node in cluster.nodes:
        node.network.calm = draw.random() < 0.2
        if draw.random() < 0.3:
            node.deafen()
    async with Traffic(clients):
        while time.monotonic() < ending:
            await asyncio.sleep(draw.uniform(0.0, 0.06))
            node, dice = draw.choice(cluster.nodes), draw.random()
            if node.is_dead:
                await _start_again(node)
            elif dice < 0.45:
                working.add(asyncio.create_task(checkpoint(node)))
            elif dice < 0.7:
                node.network.kill_in = draw.randrange(8)
            elif dice < 0.74:
                cluster.disk.kill()
                await asyncio.sleep(draw.uniform(0.0, 0.3))
                cluster.disk.start()
    await finish(cluster, journal, clients, strict=not narrow)
    for task in working:
        task.cancel()


async def _start_again(node: Node) -> None:
    await node.bury()
    calm = node.network.calm
    await node.start()
    node.network.calm = calm


async def rollback(cluster: Cluster, journal: Journal, draw: random.Random) -> None:
    """An older disk: replicas that folded what is lost must notice, whatever comes next."""
    cluster.config = config_of(draw)
    await cluster.start(2)
    clients = clients_of(cluster, journal)
    async with Traffic(clients):
        await asyncio.sleep(draw.uniform(0.05, 0.25))
        if draw.random() < 0.7:
            await checkpoint(draw.choice(cluster.nodes))
        await asyncio.sleep(draw.uniform(0.0, 0.1))
        aside = cluster.disk.copy_aside()
        if draw.random() < 0.5:
            await asyncio.sleep(draw.uniform(0.01, 0.1))
    for _ in range(draw.choice([1, 1, 2, 5])):
        await clients[0].deliver(clients[0].new_request(rows=1, kind="ids"))
    await cluster.caught_up(*cluster.nodes)
    (lost,) = await cluster.meta("seq")
    watching = asyncio.create_task(watch_honesty(cluster, journal))
    journal.era += 1
    cluster.disk.return_to(aside)
    idle, other = draw.sample(cluster.nodes, 2)
    busy = Client(journal, draw, lambda: [other])
    assert idle.replica is not None
    if draw.random() < 0.4:
        idle.deafen()
    if draw.random() < 0.5:  # it has looked at the head just now
        idle.replica._owner._head_due = time.monotonic() + 1.0
    beyond = draw.choice([-1, 0, 0, 1, 3])
    while beyond >= 0 and (await cluster.meta("seq"))[0] < lost + beyond:
        await busy.deliver(busy.new_request(rows=1, kind="ids"))
    if draw.random() < 0.4:  # and learns, before it has noticed
        unaware = Client(journal, draw, lambda: [idle])
        await unaware.deliver(unaware.new_request(rows=1, kind="ids"))
    if draw.random() < 0.6:
        await checkpoint(idle)
    await cluster.caught_up(*cluster.nodes)
    if draw.random() < 0.5:
        async with Traffic(clients):
            await asyncio.sleep(0.1)
    watching.cancel()
    await finish(cluster, journal, clients, strict=False)


async def watch_honesty(cluster: Cluster, journal: Journal) -> None:
    """A replica that says that it is not to be trusted must not be ready, nor answer."""
    while True:
        for node in cluster.nodes:
            reply = await node.call("GET", "/readyz")
            told = reply.body if reply is not None else {}
            state = told.get("models", {}).get("default", {}).get("state")
            if state in ("doubtful", "loading") and told.get("ready"):
                journal.faults.append(f"node {node.number} is {state}, and ready")
                return
        await asyncio.sleep(0.005)


async def lag(cluster: Cluster, journal: Journal, draw: random.Random) -> None:
    """The log is full, and trimmed to its end past a replica that stands still."""
    cluster.config = config_of(draw)
    cluster.settings = {"log_bytes_max": draw.choice([6_000, 15_000])}
    await cluster.start(2)
    busy, still = cluster.nodes
    clients = [Client(journal, draw, lambda: [busy]) for _ in range(CLIENTS)]
    await clients[0].deliver(clients[0].new_request())
    await cluster.caught_up(still)
    still.network.readable.clear()
    full = journal.counts.get("not_learned", 0)
    deadline = time.monotonic() + 3.0
    async with Traffic(clients):
        while journal.counts.get("not_learned", 0) == full:
            await asyncio.sleep(0.01)
            if time.monotonic() > deadline:
                break
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        trimmed, seq = await cluster.meta("trimmed_seq", "seq")
        if trimmed == seq:
            break
        await asyncio.sleep(0.02)
    request = clients[0].new_request(rows=1, kind="ids")
    if draw.random() < 0.5:
        still.network.readable.set()
        await cluster.caught_up(still)
    deadline = time.monotonic() + 5.0
    while await clients[0].send(request, busy) != "ack":
        if time.monotonic() > deadline:
            raise Fault("a full log stays full")
        await asyncio.sleep(0.05)
    still.network.readable.set()
    await _slow_loader(cluster, clients, busy)
    await finish(cluster, journal, clients, strict=True)


async def _slow_loader(cluster: Cluster, clients: Sequence[Client], busy: Node) -> None:
    """A replica loads so slowly that checkpoints are committed and dropped meanwhile."""
    async with cluster.cold() as cold:
        cold.network.read_seconds = 0.05
        async with Traffic(clients):
            for _ in range(6):
                await asyncio.sleep(0.02)
                await checkpoint(busy)
            cold.network.read_seconds = 0.0
        await cold.ready()
        await cluster.caught_up(*cluster.nodes, cold)
        await cluster.history.tap()
        await agree(cluster.history.fold(), *cluster.nodes, cold)


async def emptied(cluster: Cluster, journal: Journal, draw: random.Random) -> None:
    """The server loses everything: a node started on it must not begin a new model."""
    cluster.config = config_of(draw)
    await cluster.start(1)
    clients = clients_of(cluster, journal)
    async with Traffic(clients):
        await asyncio.sleep(0.1)
    node = cluster.nodes[0]
    node.kill()
    await node.bury()
    await cluster.redis.flushall()
    await node.start()
    await asyncio.sleep(0.2)
    ready = await node.call("GET", "/readyz")
    if ready is None or ready.status == 200:
        raise Fault("an emptied server is taken for a new place")
    if await clients[0].send(clients[0].new_request(), node) == "ack":
        raise Fault("a node that lost its model learns")


async def finish(
    cluster: Cluster,
    journal: Journal,
    clients: Sequence[Client],
    *,
    strict: bool,
    snapshots: dict[int, ExactFold | int] | None = None,
    excused: frozenset[int] = frozenset(),
    damaged: bool = False,
) -> None:
    """End every fault, and compare all with all: replicas, fresh ones, the log, the journal."""
    await cluster.quiet()
    if cluster.draw.random() < 0.5:
        await must_checkpoint(cluster)
    async with cluster.cold() as cold:
        await cold.ready()
        if not damaged and cluster.refused:
            raise Fault(f"nothing was damaged, and yet: {cluster.refused[0]}")
        acked = [r for r in journal.requests if r.acks and r.covered and r.era == journal.era]
        again = Client(journal, cluster.draw, lambda: [cold])
        for request in cluster.draw.sample(acked, min(4, len(acked))):
            await again.deliver(request)
        await again.deliver(again.new_request())
        await cluster.quiet()
        await cluster.caught_up(cold)
        await cluster.history.tap()
        reading = cluster.history.fold(snapshots, [probe.seq for probe in journal.probes])
        await agree(reading, *cluster.nodes, cold)
    faults = judge(journal, reading, strict=strict, excused=excused)
    faults += probe_faults(journal, reading) if strict and not excused else []
    if faults:
        raise Fault("; ".join(faults[:3]))
    await must_checkpoint(cluster)
    if not excused:
        await _fall_back(cluster, reading)
    for _ in range(2):
        await clients[0].deliver(clients[0].new_request(kind="ids"))
        await must_checkpoint(cluster)
    if left := await orphans(cluster):
        raise Fault(f"nobody will remove {left[:3]}")
    await cluster.history.tap()
    if cluster.history.faults:
        raise Fault(cluster.history.faults[0])


async def _fall_back(cluster: Cluster, reading: Reading) -> None:
    """With the newest manifest damaged, the older one and the log after it serve."""
    (newest,) = await cluster.redis.hmget("{ctr:default}:meta", ["manifest"])
    await cluster.redis.setrange("{ctr:default}:manifest:" + newest.decode(), 40, b"\xff")
    async with cluster.cold() as cold:
        await cold.ready()
        await cluster.caught_up(cold)
        await agree(reading, cold)


async def must_checkpoint(cluster: Cluster) -> None:
    """A healthy cluster can write a checkpoint."""
    deadline = time.monotonic() + 5.0
    while True:
        await checkpoint(cluster.nodes[0])
        newest, seq = await cluster.meta("manifest_seq", "seq")
        if newest == seq:
            return
        if time.monotonic() > deadline:
            raise Fault(f"no checkpoint can be written: the newest is at {newest} of {seq}")
        await asyncio.sleep(0.05)
