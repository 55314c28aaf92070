"""Scenarios in which what is stored is damaged, or replaced by a snapshot.

damage     a bit of a page, a state segment, a manifest or an entry; an entry nobody can read
restore    snapshots of this and of another model restored under traffic, then a fall-back
upload     snapshot files damaged, cut short, seen before they are whole
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

from scripts.crash_scenarios.clients import Client, Journal
from scripts.crash_scenarios.cluster import Cluster, Fault, Node, Reply, checkpoint
from scripts.crash_scenarios.history import History
from scripts.crash_scenarios.judge import agree
from scripts.crash_scenarios.scenarios import (
    Traffic,
    clients_of,
    config_of,
    finish,
    must_checkpoint,
)
from tests.oracle.exact import ExactFold
from tests.recovery.harness import until_async

TAG = "{ctr:default}"
OTHER = {"hash_seed": 7}
OK, MADE, REFUSED, ABSENT = 200, 201, 422, 404


async def damage(cluster: Cluster, journal: Journal, draw: random.Random) -> None:
    """A bit changes in Redis; or something is in the log that cannot be read."""
    cluster.config = config_of(draw)
    await cluster.start(2)
    clients = clients_of(cluster, journal)
    for _ in range(draw.randint(1, 3)):
        async with Traffic(clients):
            await asyncio.sleep(draw.uniform(0.03, 0.15))
        await checkpoint(draw.choice(cluster.nodes))
    await clients[0].deliver(clients[0].new_request(kind="ids"))
    async with Traffic(clients):
        await asyncio.sleep(draw.uniform(0.0, 0.05))
    await cluster.quiet()
    await cluster.history.tap()
    for kind in draw.sample(["page", "state", "manifest"], 3):
        await _damaged_checkpoint(cluster, clients[0], draw, kind)
    excused = frozenset[int]()
    target = draw.choice(["entry", "entry", "poison", "nothing"])
    if target != "nothing":
        excused = await _unreadable(cluster, clients[0], draw, target)
    await finish(cluster, journal, clients, strict=not excused, excused=excused, damaged=True)


async def _damaged_checkpoint(
    cluster: Cluster, client: Client, draw: random.Random, kind: str
) -> None:
    """A fresh replica serves rightly or not at all, until one that has it all writes it again."""
    await _change_a_bit(cluster, draw, kind)
    async with cluster.cold() as cold:
        await asyncio.sleep(0.1)
        if cold.replica is not None and cold.replica.model is not None:
            await cluster.caught_up(cold)
            await cluster.history.tap()
            await agree(cluster.history.fold(), *cluster.nodes, cold)
        for _ in range(2):
            await client.deliver(client.new_request(kind="ids"))
            await checkpoint(cluster.nodes[0])
        await cold.ready()
        await cluster.caught_up(*cluster.nodes, cold)
        await cluster.history.tap()
        await agree(cluster.history.fold(), *cluster.nodes, cold)


async def _change_a_bit(cluster: Cluster, draw: random.Random, kind: str) -> None:
    """One bit of a value of this kind."""
    keys = sorted(await cluster.redis.keys(f"{TAG}:{kind}:*"))
    if kind == "manifest":
        (newest,) = await cluster.redis.hmget(f"{TAG}:meta", ["manifest"])
        keys = [f"{TAG}:manifest:{newest.decode()}".encode()]
    key = draw.choice(keys)
    value = bytearray(await cluster.redis.get(key))
    _flip(value, draw)
    await cluster.redis.set(key, bytes(value))


def _flip(content: bytearray, draw: random.Random, below: int | None = None) -> None:
    content[draw.randrange(min(below or len(content), len(content)))] ^= 1 << draw.randrange(8)


async def _unreadable(
    cluster: Cluster, client: Client, draw: random.Random, target: str
) -> frozenset[int]:
    """An entry cannot be read: replicas that need it stop before it, until it is skipped."""
    (newest,) = await cluster.meta("manifest_seq")
    if target != "poison" and newest == cluster.history.entries[-1].seq:
        await client.deliver(client.new_request(rows=1, kind="ids"))
        await cluster.caught_up(*cluster.nodes)
        await cluster.history.tap()
    if target == "poison":
        owner = cluster.nodes[0].replica
        assert owner is not None
        await owner._owner.job(lambda: owner._owner.append_control(b"junk", None))
        (seq,) = await cluster.meta("seq")
        if draw.random() < 0.5:  # who is stuck must not append behind it
            await _stopped(cluster.nodes[1], seq)
    else:
        seq = draw.randint(newest + 1, cluster.history.entries[-1].seq)
        await _damage_entry(cluster, seq, draw)
    async with cluster.cold() as cold:
        await _stopped(cold, seq)
        request = client.new_request(kind="bare")
        outcome = await client.send(request, cold)
        if outcome != "not_learned":
            raise Fault(f"stopped before {seq}, a replica answers a learn request with {outcome}")
        epoch = next(e.epoch for e in cluster.history.entries) if target == "entry" else 1
        reply = await cold.call("POST", "/admin/skip", {"position": f"{epoch}-{seq}"})
        if reply is None or reply.status != OK:
            raise Fault(f"{seq} cannot be skipped: {reply}")
        await cluster.caught_up(*cluster.nodes, cold)
        await cluster.history.tap()
        await agree(cluster.history.fold(), *cluster.nodes, cold)
    return frozenset(range(seq, (await cluster.meta("seq"))[0] + 1))


async def _damage_entry(cluster: Cluster, seq: int, draw: random.Random) -> None:
    """Write the stream anew with one bit of one payload changed."""
    entries = await cluster.redis.xrange(f"{TAG}:log")
    pipeline = cluster.redis.pipeline(transaction=True)
    pipeline.delete(f"{TAG}:log")
    for name, fields in entries:
        if int(name.decode().split("-")[1]) == seq:
            payload = bytearray(fields[b"b"])
            _flip(payload, draw)
            fields[b"b"] = bytes(payload)
        pipeline.xadd(f"{TAG}:log", fields, id=name)
    await pipeline.execute()


async def _stopped(node: Node, seq: int) -> None:
    async def is_stuck() -> bool:
        reply = await node.call("GET", "/readyz")
        told = reply.body["models"].get("default", {}) if reply is not None else {}
        return told.get("state") == "stuck" and f"-{seq} " in told["detail"]

    try:
        await until_async(is_stuck, "stuck", 6.0)
    except AssertionError as error:
        detail = node.replica.detail if node.replica else ""
        raise Fault(f"a replica does not stop before {seq}: {detail}") from error


async def restore(cluster: Cluster, journal: Journal, draw: random.Random) -> None:
    """Snapshots come back under traffic; what was learned before them stays a duplicate."""
    cluster.config = config_of(draw)
    await cluster.start(2)
    calm, wild = cluster.nodes
    clients = clients_of(cluster, journal, again=0.4)
    async with Traffic(clients):
        await asyncio.sleep(draw.uniform(0.05, 0.2))
    taken = _expect(await calm.call("POST", "/admin/snapshots", {"name": "one"}), MADE)
    snapshots: dict[int, ExactFold | int] = {}
    sources: dict[str, ExactFold | int] = {"one": int(taken["position"].split("-")[1])}
    if draw.random() < 0.8:
        sources["foreign"] = await _foreign(cluster, calm, draw)
    await checkpoint(calm)
    wild.network.calm = draw.random() < 0.5
    if draw.random() < 0.6:
        wild.deafen()
    for _ in range(draw.randint(1, 2)):
        name = draw.choice([*sources])
        async with Traffic(clients):
            await asyncio.sleep(draw.uniform(0.0, 0.15))
            before = (await cluster.meta("epoch"))[0]
            told = _expect(await calm.call("POST", f"/admin/snapshots/{name}/restore"), OK)
            epoch, seq = map(int, told["position"].split("-"))
            if epoch <= before:
                raise Fault(f"restored at {epoch}-{seq}: no new epoch")
            snapshots[seq] = sources[name]
            await asyncio.sleep(draw.uniform(0.0, 0.15))
        await _fall_back(cluster, clients[0], draw, snapshots)
    await cluster.quiet()
    told = _expect(await calm.call("POST", "/admin/snapshots/one/restore"), OK)
    snapshots[int(told["position"].split("-")[1])] = sources["one"]
    await cluster.caught_up(*cluster.nodes)
    await must_checkpoint(cluster)  # nothing was learned since: all pages are the restore's
    await finish(cluster, journal, clients, strict=False, snapshots=snapshots, damaged=True)


async def _fall_back(
    cluster: Cluster,
    client: Client,
    draw: random.Random,
    snapshots: dict[int, ExactFold | int],
) -> None:
    """With the newest manifest damaged, a fresh replica replays the restore entry."""
    await cluster.quiet()
    await checkpoint(cluster.nodes[0])
    if draw.random() < 0.7:
        await _change_a_bit(cluster, draw, "manifest")
    async with cluster.cold() as cold:
        await cold.ready()
        await cluster.caught_up(*cluster.nodes, cold)
        await cluster.history.tap()
        await agree(cluster.history.fold(snapshots), *cluster.nodes, cold)
    for _ in range(2):  # two whole manifests again
        await client.deliver(client.new_request(kind="ids"))
        await checkpoint(cluster.nodes[0])


async def _foreign(cluster: Cluster, node: Node, draw: random.Random) -> ExactFold:
    """A snapshot of another model under another hash seed, uploaded as one of this."""
    config = {**cluster.config, **OTHER}
    _expect(await node.call("PUT", "/models/other", config), MADE)
    rows = [
        {"features": {"u": f"u{draw.randrange(9)}"}, "label": draw.randrange(2)} for _ in range(9)
    ]
    _expect(await node.call("POST", "/models/other/learn", {"examples": rows}), OK)
    _expect(await node.call("POST", "/models/other/admin/snapshots", {"name": "two"}), MADE)
    reply = await node.call("GET", "/models/other/admin/snapshots/two/file")
    assert reply is not None
    _expect(await node.call("PUT", "/admin/snapshots/foreign/file", reply.body), MADE)
    history = History(cluster.redis, "other")
    await history.tap()
    return history.fold().fold


def _expect(reply: Reply | None, status: int) -> Any:
    if reply is None or reply.status != status:
        raise Fault(f"wanted {status}, got {reply}")
    return reply.body


async def upload(cluster: Cluster, journal: Journal, draw: random.Random) -> None:
    """Files that are not whole are refused, and never seen."""
    cluster.config = config_of(draw)
    await cluster.start(1)
    node, clients = cluster.nodes[0], clients_of(cluster, journal)
    async with Traffic(clients):
        await asyncio.sleep(0.1)
    _expect(await node.call("POST", "/admin/snapshots", {"name": "one"}), MADE)
    reply = await node.call("GET", "/admin/snapshots/one/file")
    assert reply is not None
    for number in range(8):
        content = bytearray(reply.body)
        if draw.random() < 0.2:
            del content[draw.randrange(len(content)) :]
        else:
            _flip(content, draw, draw.choice([1000, None]))
        told = await node.call("PUT", f"/admin/snapshots/bad{number}/file", bytes(content))
        if told is None or told.status != REFUSED:
            raise Fault(f"a damaged file is answered {told}")
    await _half_seen(node, reply.body)
    path = cluster.folder / "snapshots" / "default" / "one.cfs"
    content = bytearray(path.read_bytes())
    _flip(content, draw, draw.choice([1000, None]))
    path.write_bytes(content)
    told = await node.call("POST", "/admin/snapshots/one/restore")
    if told is None or told.status != REFUSED:
        raise Fault(f"a file damaged on disk is restored: {told}")
    await finish(cluster, journal, clients, strict=True)


async def _half_seen(node: Node, content: bytes) -> None:
    """A snapshot that is on its way is in no list, nor is one whose sender went away."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield content[: len(content) // 2]
        arrived.set()
        await go_on.wait()
        yield content[len(content) // 2 :]

    sending = asyncio.create_task(node.call("PUT", "/admin/snapshots/half/file", pieces()))
    await arrived.wait()
    await asyncio.sleep(0.02)
    listed = _expect(await node.call("GET", "/admin/snapshots"), OK)["snapshots"]
    if [one["name"] for one in listed] != ["one"]:
        raise Fault(f"seen before they are whole: {[one['name'] for one in listed]}")
    _expect(await node.call("POST", "/admin/snapshots/half/restore"), ABSENT)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    listed = _expect(await node.call("GET", "/admin/snapshots"), OK)["snapshots"]
    if [one["name"] for one in listed] != ["one"]:
        raise Fault("a snapshot whose sender went away is listed")
