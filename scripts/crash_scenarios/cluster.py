"""Nodes on one server: each the whole application with connections of its own, able to die.

A death is that of a process: nothing of it runs on, no call of it reaches Redis any more, and who
waits for its answer gets none. The same data directory may be started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from app import recovery, replica_owner, writing
from app.hub import Hub
from app.main import create_app
from app.redis_connections import RedisConnections
from app.replica import ModelReplica
from app.settings import load_settings
from ftrl_core import entry
from scripts.crash_scenarios.history import History
from scripts.crash_scenarios.network import Network
from tests.recovery.harness import NEVER_SECONDS, Disk, until, until_async

WAIT_SECONDS = 20.0


class Fault(AssertionError):
    """Something that must not be."""


class Reply(NamedTuple):
    """A status, and the document."""

    status: int
    body: Any


def hasten() -> None:
    """Limits so small that a run of a second meets them: entries of a few rows, short patience."""
    entry.FEATURES_MAX = 36
    writing.REPEAT_SECONDS = 0.25
    writing.REPEAT_PAUSE_SECONDS = 0.01
    replica_owner.HEAD_SECONDS = 0.25
    replica_owner.PROBE_SECONDS = 0.05


class Node:
    """One service."""

    def __init__(self, cluster: Cluster, number: int, **settings: Any) -> None:
        self.cluster, self.number, self._settings = cluster, number, settings
        self.network: Network
        self.hub: Hub
        self.app: FastAPI
        self._connections: RedisConnections

    @property
    def is_dead(self) -> bool:
        return self.network.dead.is_set()

    @property
    def replica(self) -> ModelReplica | None:
        """The replica of `default`, once it is begun."""
        return self.hub._replicas.get("default")

    async def start(self) -> Node:
        """Start, or start again after a death."""
        cluster = self.cluster
        self._connections = RedisConnections.from_url(cluster.disk.url, socket_timeout=2.0)
        draw = random.Random(cluster.draw.random())
        self.network = Network(draw, cluster.redis, cluster.history.tap)
        self.network.attach(self._connections)
        folder = cluster.folder / f"node-{self.number}"
        folder.mkdir(exist_ok=True)
        settings = load_settings(
            redis_url=cluster.disk.url,
            data_dir=folder,
            snapshot_dir=cluster.folder / "snapshots",
            checkpoint_idle_seconds=NEVER_SECONDS,
            **{**cluster.settings, **self._settings},
        )
        self.hub = Hub(settings, self._connections)
        self.app = create_app(settings, self.hub)
        await self.hub.start(cluster.config)
        return self

    async def ready(self, seconds: float = WAIT_SECONDS) -> Node:
        """Wait until /readyz says so; Fault when it does not."""

        async def is_ready() -> bool:
            reply = await self.call("GET", "/readyz")
            return reply is not None and reply.status == 200

        try:
            await until_async(is_ready, "ready", seconds)
        except AssertionError as error:
            detail = self.replica.detail if self.replica else "no replica"
            raise Fault(f"node {self.number} does not get ready: {detail}") from error
        return self

    async def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Reply | None:
        """A request; None when the node dies before it answers."""
        if self.is_dead:
            return None
        asking = asyncio.create_task(_ask(self.app, method, path, body, headers or {}))
        dying = asyncio.create_task(self.network.dead.wait())
        await asyncio.wait({asking, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if asking.done():
            return asking.result()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return None

    def kill(self) -> None:
        """Die here and now."""
        self.network.dead.set()

    def deafen(self) -> None:
        """Lose every message about new entries from here on: they are only hints."""
        if self.replica is not None:
            self.replica._owner._tasks[1].cancel()

    async def bury(self) -> None:
        """Let nothing of a dead node run on."""
        self.kill()
        for replica in self.hub.loaded():
            owner = replica._owner
            writing_task = owner.checkpoints._task
            tasks = [*owner._tasks, *([writing_task] if writing_task else [])]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=2.0)
        with contextlib.suppress(Exception):
            await self._connections.aclose()
        self.app.state.snapshots.close()

    async def stop(self) -> None:
        """End in good order."""
        if self.is_dead:
            await self.bury()
            return
        await asyncio.wait_for(self.hub.close(), WAIT_SECONDS)
        await self._connections.aclose()
        self.app.state.snapshots.close()


class _Refusals(logging.Handler):
    """Collects what loaders say of checkpoints that they will not use."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class Cluster:
    """The server, the nodes, and the model's history."""

    def __init__(self, folder: Path, draw: random.Random, config: dict[str, Any]) -> None:
        self.folder, self.draw, self.config = folder, draw, config
        self.settings: dict[str, Any] = {}
        self.disk = Disk(folder)
        retry = Retry(ConstantBackoff(0.02), 50)  # the server is killed now and then
        self.redis: Any = Redis.from_url(self.disk.url, retry=retry)
        self.history = History(self.redis)
        self.nodes: list[Node] = []
        self._colds = 0
        self._refusals = _Refusals()
        recovery.log.addHandler(self._refusals)

    @property
    def refused(self) -> list[str]:
        """Checkpoints that a loader would not use, in its words."""
        return self._refusals.texts

    async def start(self, count: int) -> None:
        """Start so many nodes and wait for them."""
        for number in range(count):
            node = await Node(self, number).start()
            self.nodes.append(await node.ready())

    @asynccontextmanager
    async def cold(self, **settings: Any) -> AsyncIterator[Node]:
        """A fresh node, started but not waited for."""
        self._colds += 1
        node = await Node(self, 100 + self._colds, **settings).start()
        try:
            yield node
        finally:
            await node.bury()  # as abruptly as it came: it writes no checkpoint

    async def meta(self, *names: str) -> list[int]:
        """Numbers in meta."""
        values = await self.redis.hmget("{ctr:default}:meta", list(names))
        return [int(value) for value in values]

    async def quiet(self) -> None:
        """End all faults, start what is dead, and wait until every node is at the head."""
        for number, node in enumerate(self.nodes):
            node.network.calm, node.network.kill_in, node.network.over = True, None, True
            node.network.read_seconds = 0.0
            node.network.readable.set()
            if node.is_dead:
                await node.bury()
                self.nodes[number] = await node.start()
        for node in self.nodes:
            await node.network.settle()
            await node.ready()
        await self.caught_up(*self.nodes)

    async def caught_up(self, *nodes: Node) -> None:
        """Wait until each is at the head of the log; Fault when it does not get there."""

        async def at_head(node: Node) -> bool:
            epoch, seq = await self.meta("epoch", "seq")
            replica = node.replica
            model = replica.model if replica else None
            return model is not None and model.position == (epoch, seq)

        for node in nodes:
            try:
                await until_async(partial(at_head, node), "at the head", WAIT_SECONDS)
            except AssertionError as error:
                replica = node.replica
                at = replica.model.position if replica and replica.model else None
                detail = replica.detail if replica else "no replica"
                head = await self.meta("epoch", "seq")
                raise Fault(f"node {node.number} stays at {at} of {head}: {detail}") from error

    async def close(self) -> None:
        """Stop all, in whatever state."""
        recovery.log.removeHandler(self._refusals)
        for node in self.nodes:
            with contextlib.suppress(Exception):
                await node.bury()
        await self.redis.aclose()
        self.disk.close()


async def checkpoint(node: Node) -> bool:
    """Have the node checkpoint; whether the newest manifest is at its position now."""
    replica = node.replica
    if replica is None or node.is_dead:
        return False
    task = asyncio.create_task(replica.checkpoint())
    dying = asyncio.create_task(node.network.dead.wait())
    await asyncio.wait({task, dying}, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_SECONDS)
    dying.cancel()
    if not task.done():
        task.cancel()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await task
        return replica.checkpoint_seq() >= replica.require_model().position.seq
    return False


async def _ask(app: FastAPI, method: str, target: str, body: Any, headers: dict[str, str]) -> Reply:
    path, _, query = target.partition("?")
    raw = isinstance(body, bytes | AsyncIterator)
    if not raw:
        body = b"" if body is None else json.dumps(body).encode()
    kind = "application/octet-stream" if raw else "application/json"
    told = {"content-type": kind, **headers}
    pieces = body if isinstance(body, AsyncIterator) else _one_piece(body)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in told.items()],
        "client": ("127.0.0.1", 4711),
        "server": ("127.0.0.1", 8000),
    }
    ended, status, reply = False, 0, b""

    async def receive() -> dict[str, Any]:
        nonlocal ended
        if ended:
            await asyncio.Event().wait()
        piece = await anext(pieces, b"")
        ended = not piece
        return {"type": "http.request", "body": piece, "more_body": not ended}

    async def send(message: Any) -> None:
        nonlocal status, reply
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            reply += message.get("body", b"")

    await app(scope, receive, send)
    try:
        return Reply(status, json.loads(reply) if reply else None)
    except ValueError:
        return Reply(status, reply)


async def _one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content


__all__ = ["Cluster", "Fault", "Node", "Reply", "checkpoint", "hasten", "until"]
