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

A command that times out may have met a connection that died without a word (a router forgot it, a
host vanished), and then the others are as dead: all of them are closed, so that one timeout is
paid and not one for each.

A caller must never cancel a write in mid-command. Should it happen all the same, redis-py closes
the connection, so that no later command can read the reply of this one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
from app.server_facts import ServerFacts, read_server_facts

WRONG_TYPE = "WRONGTYPE"
CONNECTIONS_MAX = 64  # for writes, and for reads; more callers wait for one to become free
SUBSCRIPTIONS_MAX = 1024  # each holds a connection for as long as it lasts

Argument = bytes | bytearray | memoryview | str | int
Command = tuple[Argument, ...]


class _Undelivered(Exception):
    """Internal: no byte of the command was sent."""


class RedisConnections:
    """The write, read and blocking clients of one server. Make it with `from_url`."""

    def __init__(self, url: str, durability: str, socket_timeout: float) -> None:
        self.durability = durability
        self.url_masked = mask_url(url)
        self.write = _client(url, socket_timeout)
        self.read = _client(url, socket_timeout)
        self.blocking = _client(url, None)

    @classmethod
    def from_url(cls, url: str, durability: str = "fsync", *, socket_timeout: float = 5.0) -> Self:
        """Prepare clients for unix://, redis:// or rediss://; nothing is connected yet.

        `durability` is fsync, everysec or provider; `socket_timeout` is in seconds. Raises
        ServerRefused for a URL or a durability that means nothing.
        """
        if durability not in {"fsync", "everysec", "provider"}:
            raise ServerRefused("durability", "durability is fsync, everysec or provider")
        try:
            return cls(url, durability, socket_timeout)
        except ValueError:
            raise ServerRefused(
                "redis_url", f"{mask_url(url)} is not a unix://, redis:// or rediss:// URL"
            ) from None

    async def check_server(self) -> ServerFacts:
        """Facts of the server; ServerRefused when it cannot keep the durability asked for."""
        return await read_server_facts(self.read_command, self.durability, self.url_masked)

    async def write_command(self, *command: Argument) -> Any:
        """Send one command once. NoScriptError passes; else RedisAway (RedisRefused for an error
        reply) or AppendUnknown."""
        return _raise_error_reply((await self.write_commands([command]))[0])

    async def write_commands(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go on one connection and read every reply.

        No MULTI: the server may serve others in between. An error reply stands in the list as an
        exception. Raises RedisAway or AppendUnknown when the connection fails.
        """
        try:
            return await _exchange(self.write, commands)
        except _Undelivered as error:
            raise RedisAway(f"Redis at {self.url_masked} cannot be reached: {error}") from error
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            await self._distrust(error)
            if _is_reply(error) and len(commands) == 1:
                raise RedisRefused(f"Redis refused: {_text(error)}") from error
            raise AppendUnknown(f"Redis did not answer: {_text(error)}") from error

    async def read_command(self, *command: Argument) -> Any:
        """Send a command that changes nothing; RedisAway for every failure."""
        for attempts_left in (1, 0):
            try:
                return _raise_error_reply((await _exchange(self.read, [command]))[0])
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


def _client(url: str, socket_timeout: float | None) -> Redis:
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
        **({} if url.startswith("unix://") else {"socket_keepalive": True}),
    )
    return Redis.from_pool(pool)


async def _exchange(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """Send all, read all; ResponseErrors are returned in place, other failures raised."""
    pool = client.connection_pool
    try:
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    except (RedisError, OSError) as error:
        raise _Undelivered(_text(error)) from error
    try:
        await connection.send_packed_command(connection.pack_commands(commands))
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies
    finally:
        await pool.release(connection)


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
