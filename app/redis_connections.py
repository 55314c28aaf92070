"""The connections to Redis, and the one place where its exceptions become errors of ours.

Three clients, because they wait differently:

    write      no retries at all, 5 s timeout. redis-py retries a timed-out command by default and
               was seen to store one XADD twice; here whoever must repeat a write repeats a script
               call that recognises it.
    read       5 s timeout; a read that met a connection just gone is sent once more.
    blocking   no timeout: subscriptions and blocking reads wait as long as it takes.

A command is packed, sent and answered here and not through `Redis.execute_command`, since only so
is it known whether a failure came before the first byte was sent (RedisAway: surely not executed)
or after (AppendUnknown). An error reply means not executed too: our scripts validate everything
before their first write, and Redis refuses (out of memory, read-only, loading) before that as
well. RESP2 is asked for: one reply shape on every server from 7.0 on, and no maintenance
hand-shake. Replies are bytes; nothing is decoded behind our back.

What is acknowledged goes out by `append_command`. A connection appends only after the server behind
it was asked, on that very connection, whether it keeps the durability promised: after a restart or
a failover another one may answer. With `waitaof` a WAITAOF follows the append on the same
connection, and its numbers are compared. Where the server syncs once a second, WAITAOF is tried out
first: Valkey (9.1.2 measured) and Redis 7.4.0 to 7.4.2 answer it at once, synced or not
(redis#13793), and are refused.
A command that times out may have met a connection that died without a word (a router forgot it, a
host vanished), and then the others are as dead: all of them are closed, so that one timeout is
paid and not one for each.

A caller must never cancel a write in mid-command. Should it happen all the same, redis-py closes
the connection, so that no later command can read the reply of this one.
"""

from __future__ import annotations

import asyncio
import re
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.errors import (
    AppendUnknown,
    ForeignKey,
    LogError,
    RedisAway,
    RedisRefused,
    ServerRefused,
)
from app.failpoints import failpoint
from app.server_facts import QUESTIONS, Promise, ServerFacts, facts_of

WRONG_TYPE = "WRONGTYPE"
CONNECTIONS_MAX = 64  # for writes, and for reads; more callers wait for one to become free
SUBSCRIPTIONS_MAX = 1024  # each holds a connection for as long as it lasts
WAITAOF_MS = 3000  # less than the timeout of a reply; a sync every second takes up to two
WAITAOF = ("WAITAOF", 1, 0, WAITAOF_MS)
# Right after one sync the next is a second away; a server that answers sooner did not wait.
WAITAOF_SECONDS_MIN = 0.3
PROBE_KEY = "{clickfold}:waitaof"

Argument = bytes | bytearray | memoryview | str | int
Command = tuple[Argument, ...]


class _Undelivered(Exception):
    """Internal: no byte of the command was sent."""


class RedisConnections:
    """The write, read and blocking clients of one server. Make it with `from_url`."""

    def __init__(self, url: str, promise: Promise, socket_timeout: float) -> None:
        self.promise = promise
        self.url_masked = mask_url(url)
        self.refusal: ServerRefused | None = None  # why nothing may be appended, as last seen
        self.connected = asyncio.Event()  # a connection was made since this was cleared
        self._checked: weakref.WeakSet[Any] = weakref.WeakSet()  # connections, since they stand
        self._waits_for_sync: set[str] = set()  # run_ids whose WAITAOF was tried out
        self.write = _client(url, socket_timeout, self._on_connect)
        self.read = _client(url, socket_timeout, self._on_connect)
        self.blocking = _client(url, None, self._on_connect)

    @classmethod
    def from_url(
        cls,
        url: str,
        durability: str = "fsync",
        *,
        waitaof: bool = False,
        socket_timeout: float = 5.0,
    ) -> Self:
        """Prepare clients for unix://, redis:// or rediss://; nothing is connected yet.

        `durability` is fsync, everysec or provider; `socket_timeout` is in seconds. Raises
        ServerRefused for a URL or a durability that means nothing.
        """
        if durability not in {"fsync", "everysec", "provider"}:
            raise ServerRefused("durability", "durability is fsync, everysec or provider")
        try:
            return cls(url, Promise(durability, waitaof), socket_timeout)
        except ValueError:
            raise ServerRefused(
                "redis_url", f"{mask_url(url)} is not a unix://, redis:// or rediss:// URL"
            ) from None

    async def _on_connect(self, connection: Any) -> None:
        """What redis-py calls for each connection made: nothing is known of its server yet."""
        await connection.on_connect()
        self._checked.discard(connection)
        self.connected.set()

    async def check_server(self) -> ServerFacts:
        """Facts of the server; ServerRefused, kept as `refusal`, when it cannot keep the promise.

        RedisAway when it does not answer; then `refusal` stays what it was.
        """
        async with self._mapped(commands=0), _borrowed(self.write) as connection:
            return await self._check(connection)

    async def _check(self, connection: Any) -> ServerFacts:
        try:
            facts = facts_of(await _send(connection, QUESTIONS), self.promise, self.url_masked)
            if facts.relies_on_waitaof and facts.run_id not in self._waits_for_sync:
                await self._try_waitaof(connection)
                self._waits_for_sync = {facts.run_id}
        except ServerRefused as refusal:
            self.refusal = refusal
            raise
        self.refusal = None
        self._checked.add(connection)
        return facts

    async def _try_waitaof(self, connection: Any) -> None:
        """Refuse a server whose WAITAOF does not wait, or does not get its sync."""
        for _ in range(2):
            started = time.monotonic()
            replies = await _send(connection, [("SET", PROBE_KEY, "1", "PX", 10_000), WAITAOF])
            seconds = time.monotonic() - started
            if isinstance(replies[0], ResponseError) or not _is_synced(replies[1]):
                detail = f"{self.url_masked} does not sync within {WAITAOF_MS} ms of a WAITAOF"
                raise ServerRefused("waitaof", detail)
        if seconds < WAITAOF_SECONDS_MIN:
            raise ServerRefused(
                "waitaof",
                f"{self.url_masked} answers WAITAOF before it has synced (redis#13793); use"
                " appendfsync always (CONFIG SET appendfsync always)",
            )

    async def append_command(self, *command: Argument) -> Any:
        """Send once what will be acknowledged; returns when it is as durable as promised.

        Raises ServerRefused (nothing was sent), RedisAway, AppendUnknown; NoScriptError passes.
        """
        commands: list[Command] = [command, WAITAOF] if self.promise.waitaof else [command]
        async with self._mapped(commands=0), _borrowed(self.write) as connection:
            if connection not in self._checked:
                await self._check(connection)
            async with self._mapped(commands=len(commands)):
                replies = await _write(connection, commands)
        reply = _raise_error_reply(replies[0])
        if self.promise.waitaof and not _is_synced(replies[1]):
            raise AppendUnknown(f"WAITAOF told of no sync: {replies[1]!r}")
        return reply

    async def write_command(self, *command: Argument) -> Any:
        """Send one command once. NoScriptError passes; else RedisAway (RedisRefused for an error
        reply) or AppendUnknown."""
        return _raise_error_reply((await self.write_commands([command]))[0])

    async def write_commands(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go on one connection and read every reply.

        No MULTI: the server may serve others in between. An error reply stands in the list as an
        exception. Raises RedisAway or AppendUnknown when the connection fails.
        """
        mapped = self._mapped(commands=len(commands))
        async with mapped, _borrowed(self.write) as connection:
            return await _write(connection, commands)

    @asynccontextmanager
    async def _mapped(self, *, commands: int) -> AsyncIterator[None]:
        """Failures as RedisAway, or as AppendUnknown if so many writes were being sent."""
        try:
            yield
        except _Undelivered as error:
            raise RedisAway(f"Redis at {self.url_masked} cannot be reached: {error}") from error
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            await self._distrust(error)
            if _is_reply(error) and commands <= 1:
                kind = RedisRefused if commands else RedisAway
                raise kind(f"Redis refused: {_text(error)}") from error
            silent = f"Redis did not answer: {_text(error)}"
            raise (AppendUnknown(silent) if commands else RedisAway(silent)) from error

    async def read_command(self, *command: Argument) -> Any:
        """Send a command that changes nothing; RedisAway for every failure."""
        for attempts_left in (1, 0):
            try:
                async with _borrowed(self.read) as connection:
                    return _raise_error_reply((await _send(connection, [command]))[0])
            except RedisRefused as error:
                raise RedisAway(error.detail) from error
            except (_Undelivered, RedisConnectionError, RedisTimeoutError, OSError) as error:
                if _is_reply(error):
                    raise RedisAway(f"Redis refused: {_text(error)}") from error
                await self._distrust(error)
                if not (attempts_left and isinstance(error, RedisConnectionError)):
                    detail = f"Redis at {self.url_masked} cannot be reached: {_text(error)}"
                    raise RedisAway(detail) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _distrust(self, error: BaseException) -> None:
        """After a timeout: close what is idle, and end the subscriptions, which begin anew."""
        if isinstance(error, RedisTimeoutError):
            for client in (self.write, self.read):
                await client.connection_pool.disconnect(inuse_connections=False)
            await self.blocking.connection_pool.disconnect()

    async def aclose(self) -> None:
        """Close every connection; the caller has stopped using them."""
        for client in (self.write, self.read, self.blocking):
            await client.aclose()


def mask_url(url: str) -> str:
    """The URL with its password, wherever it stands, replaced by asterisks."""
    masked = re.sub(r"(?<=://)([^/@:?]*):.*@", r"\1:***@", url)
    return re.sub(r"((?:^|[?&])password=)[^&]*", r"\1***", masked)


def as_log_error(error: RedisError) -> LogError:
    """The error of ours for an error reply: nothing was executed."""
    detail = _text(error)
    if detail.startswith(WRONG_TYPE) or "target stream top item" in detail:
        return ForeignKey(f"a key of this model was written by somebody else: {detail}")
    return RedisRefused(f"Redis refused: {detail}")


def _client(
    url: str, socket_timeout: float | None, on_connect: Callable[[Any], Awaitable[None]]
) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX if socket_timeout else SUBSCRIPTIONS_MAX,
        timeout=socket_timeout or 5.0,
        socket_timeout=socket_timeout,
        socket_connect_timeout=socket_timeout or 5.0,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=False,
        client_name="clickfold",
        redis_connect_func=on_connect,
        **({} if url.startswith("unix://") else {"socket_keepalive": True}),
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def _borrowed(client: Redis) -> AsyncIterator[Any]:
    """A connection that stands, for the block; _Undelivered when there is none."""
    pool = client.connection_pool
    try:
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    except (RedisError, OSError) as error:
        raise _Undelivered(_text(error)) from error
    try:
        yield connection
    finally:
        await pool.release(connection)


async def _write(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """`_send` of what changes something."""
    replies = await _send(connection, commands, writes=True)
    failpoint("redis.answered")
    return replies


async def _send(connection: Any, commands: Sequence[Command], *, writes: bool = False) -> list[Any]:
    """Send all, read all; ResponseErrors are returned in place, other failures raised."""
    await connection.send_packed_command(connection.pack_commands(commands))
    if writes:
        failpoint("redis.sent")
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error.with_traceback(None))  # or it would keep all that was sent
    return replies


def _is_synced(reply: Any) -> bool:
    """Whether WAITAOF says that the server's own file is synced."""
    return isinstance(reply, list) and int(reply[0]) >= 1


def _is_reply(error: BaseException) -> bool:
    """Whether Redis itself said it (LOADING, NOAUTH, too many clients), and not the socket."""
    return isinstance(error, AuthenticationError) or (
        isinstance(error, RedisError) and error.status_code is not None
    )


def _raise_error_reply(reply: Any) -> Any:
    if isinstance(reply, NoScriptError):
        raise reply
    if isinstance(reply, ResponseError):
        raise as_log_error(reply) from reply
    return reply


def _text(error: BaseException) -> str:
    """The error's words with its Redis code in front, where it has one."""
    code = error.status_code if isinstance(error, RedisError) else None
    text = str(error) or type(error).__name__
    return f"{code} {text}" if code else text
