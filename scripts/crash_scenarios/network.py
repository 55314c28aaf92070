"""The calls of one node to Redis, each of which may fail in any of the ways in which calls fail.

Stands before the connection pools that app.redis_connections takes connections from, so all code of
the service runs as it is. Writes only, since reads change nothing:

    undelivered   no connection: surely not executed
    cut           the connection breaks before the bytes arrive; the caller cannot know
    lost          executed, but the reply is lost
    late          the caller sees a broken connection, and the bytes arrive later all the same
    kill          the node dies at this call, before or after it is executed
    slow          it takes a while

A node that died makes no further call: whatever it was about to do waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from app.lua_scripts import Script
from app.redis_connections import Command, RedisConnections

FATES = {"cut": 0.03, "lost": 0.05, "late": 0.04, "undelivered": 0.03, "slow": 0.06}
BURST_SECONDS = (0.1, 0.5)
BURSTS = 0.35  # share of failures after which the node's calls go on failing for a while
LATE_SECONDS = (0.0, 0.4)


class Network:
    """What may happen to the calls of one node, drawn from a seed."""

    def __init__(
        self, draw: random.Random, direct: Any, before_begin: Callable[[], Awaitable[None]]
    ) -> None:
        self.dead = asyncio.Event()
        self.calm = True
        self.readable = asyncio.Event()  # cleared: reads wait, as on a stopped machine
        self.readable.set()
        self.read_seconds = 0.0  # of each read at most
        self.kill_in: int | None = None  # calls until the node dies
        self.over = False  # nobody dies any more, whatever was drawn before
        self._draw = draw
        self._direct = direct
        self._before_begin = before_begin
        self._begin_sha = Script("begin", when_full=True).sha
        self._burst: tuple[str, float] = ("", 0.0)
        self._late: set[asyncio.Task[None]] = set()

    def attach(self, connections: RedisConnections) -> None:
        """Stand before the pools for writes and for reads."""
        for client, writes in ((connections.write, True), (connections.read, False)):
            cast(Any, client).connection_pool = _Pool(client.connection_pool, self, writes)

    async def settle(self) -> None:
        """Wait until nothing is on its way any more."""
        await asyncio.gather(*self._late, return_exceptions=True)

    async def hang(self) -> None:
        """What a dead node does."""
        await asyncio.Event().wait()

    async def enter(self, writes: bool) -> str:
        """Before a connection is taken: the fate of this call."""
        if self.dead.is_set():
            await self.hang()
        if not writes:
            await self.readable.wait()
            if self.read_seconds:
                await asyncio.sleep(self._draw.uniform(0.0, self.read_seconds))
            return ""
        fate = self._fate()
        if fate == "undelivered":
            raise RedisConnectionError("nobody answers")
        if fate == "slow":
            await asyncio.sleep(self._draw.uniform(0.0, 0.03))
        return fate

    def _fate(self) -> str:
        if self.kill_in is not None:
            self.kill_in -= 1
            if self.kill_in < 0:
                return self._draw.choice(["kill before", "kill after"])
        if self.calm:
            return ""
        kind, until = self._burst
        if time.monotonic() < until:
            return kind
        dice = self._draw.random()
        for fate, share in FATES.items():
            dice -= share
            if dice < 0:
                if fate != "slow" and self._draw.random() < BURSTS:
                    kind = self._draw.choice(["undelivered", "undelivered", "lost", "cut"])
                    self._burst = (kind, time.monotonic() + self._draw.uniform(*BURST_SECONDS))
                return fate
        return ""

    async def watch_begin(self, commands: Sequence[Command]) -> None:
        """begin.lua trims: look at the log first."""
        if any(len(c) > 1 and c[1] == self._begin_sha for c in commands):
            await self._before_begin()

    def send_later(self, commands: Sequence[Command]) -> None:
        """Have the commands arrive after a while, whoever sent them."""
        task = asyncio.create_task(self._arrive(commands, self._draw.uniform(*LATE_SECONDS)))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _arrive(self, commands: Sequence[Command], seconds: float) -> None:
        await asyncio.sleep(seconds)
        with contextlib.suppress(RedisError, OSError):
            await self.watch_begin(commands)
            for command in commands:
                with contextlib.suppress(ResponseError):
                    await self._direct.execute_command(*command)


class _Pool:
    """A pool whose connections are of this network."""

    def __init__(self, pool: Any, network: Network, writes: bool) -> None:
        self._pool, self._network, self._writes = pool, network, writes
        self._wires: dict[Any, _Wire] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def get_connection(self) -> Any:
        fate = await self._network.enter(self._writes)
        connection = await self._pool.get_connection()
        self._wires[connection] = _Wire(connection, self._network, fate)
        return connection

    async def release(self, connection: Any) -> None:
        wire = self._wires.pop(connection)
        wire.take_off()
        if wire.torn:
            await connection.disconnect()
        await self._pool.release(connection)


class _Wire:
    """One use of one connection: stands before its methods until it is given back.

    What happens, happens to the first script called, and not to questions asked before it.
    """

    METHODS = ("pack_commands", "send_packed_command", "read_response")

    def __init__(self, connection: Any, network: Network, fate: str) -> None:
        self.torn = False  # not every reply was read
        self._network, self._fate, self._now = network, fate, ""
        self._commands: Sequence[Command] = ()
        self._unread = 0
        self._connection = connection
        self._real = {name: getattr(connection, name) for name in self.METHODS}
        for name in self.METHODS:
            setattr(connection, name, getattr(self, name))

    def take_off(self) -> None:
        """Leave the connection as it was."""
        for name in self.METHODS:
            delattr(self._connection, name)

    def pack_commands(self, commands: Sequence[Command]) -> Any:
        self._commands, self._unread, self.torn = commands, len(commands), True
        if any(command[0] == "EVALSHA" for command in commands):
            self._now, self._fate = self._fate, ""
        return self._real["pack_commands"](commands)

    async def send_packed_command(self, packed: Any) -> None:
        await self._network.watch_begin(self._commands)
        if self._now == "kill before":
            await self._die()
        if self._now == "late":
            self._network.send_later(self._commands)
        if self._now in ("cut", "late"):
            raise RedisConnectionError("the connection broke")
        await self._real["send_packed_command"](packed)

    async def read_response(self) -> Any:
        try:
            return await self._real["read_response"]()
        finally:
            self._unread -= 1
            if self._unread == 0:
                now, self._now, self.torn = self._now, "", False
                if now == "kill after":
                    await self._die()
                if now == "lost":
                    self.torn = True
                    raise RedisConnectionError("the connection broke")

    async def _die(self) -> None:
        if self._network.over:
            return
        self._network.dead.set()
        await self._network.hang()
