"""Loading and calling the Lua scripts, and turning their refusals into errors.

A script is sent by its SHA-1 and only on NOSCRIPT (a restarted or flushed server) with its text;
NOSCRIPT means that nothing was executed, so calling again is safe even for an append. Redis
Functions would survive a restart, yet loading one is an administrator's command that many servers
forbid, and two versions of the service would fight over one name.

`when_full`: allowed though Redis is over its maxmemory. So are the scripts of a checkpoint, for it
is what lets the log be trimmed, and control entries, for they are how an operator gets out; all are
small beside the log, or replace as much as they write. Examples are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, NoReturn

from redis.exceptions import NoScriptError, ResponseError

from app.errors import (
    CheckpointRefused,
    ForeignKey,
    LogFull,
    LogRegressed,
    ModelExists,
    ModelGone,
    ProducerUnknown,
    RedisRefused,
    SkipRefused,
    StaleBatch,
    WrongEpoch,
    WrongIncarnation,
)
from app.failpoints import failpoint
from app.redis_connections import Argument, Command, RedisConnections, as_log_error

WHEN_FULL = b"#!lua flags=allow-oom\n"


class Script:
    """One script of app/lua, behind common.lua."""

    def __init__(self, name: str, *, when_full: bool = False) -> None:
        folder = files("app") / "lua"
        text = b"".join((folder / f"{part}.lua").read_bytes() for part in ("common", name))
        self.text = WHEN_FULL + text if when_full else text
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()
        self._before, self._after = f"{name}.before", f"{name}.after"

    def command(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Command:
        """The EVALSHA command of one call."""
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)

    async def call(
        self,
        connections: RedisConnections,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *,
        durably: bool = False,
    ) -> list[Any]:
        """Call once; the words after 'ok'. Raises the error that the refusal stands for.

        `durably`: what it writes will be acknowledged (RedisConnections.append_command).
        """
        command = self.command(keys, arguments)
        send = connections.append_command if durably else connections.write_command
        failpoint(self._before)
        try:
            reply = await send(*command)
        except NoScriptError:
            reply = await self._call_by_text(send, command)
        failpoint(self._after)
        return accepted(reply)

    async def call_many(
        self, connections: RedisConnections, commands: Sequence[Command]
    ) -> list[list[Any]]:
        """Send calls (of `command`) in one go; each is a transaction of its own.

        Raises the first error after every reply has been read.
        """
        failpoint(self._before)
        replies = await connections.write_commands(commands)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            await self.load(connections)
            replies = await connections.write_commands(commands)
        failpoint(self._after)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise as_log_error(reply) from reply
        return [accepted(reply) for reply in replies]

    async def _call_by_text(self, send: Callable[..., Awaitable[Any]], command: Command) -> Any:
        """In one command, for between loading and calling the script could be forgotten again."""
        try:
            return await send("EVAL", self.text, *command[2:])
        except NoScriptError as error:
            raise RedisRefused("Redis takes no scripts") from error

    async def load(self, connections: RedisConnections) -> None:
        """Make the script known to the server."""
        await connections.write_command("SCRIPT", "LOAD", self.text)


def accepted(reply: list[Any]) -> list[Any]:
    """What follows 'ok' in a script's reply; raises for a refusal."""
    if reply[0] != b"ok":
        _raise_refusal([bytes(word).decode() for word in reply])
    return reply[1:]


def _raise_refusal(words: list[str]) -> NoReturn:
    match words:
        case ["gone"]:
            raise ModelGone("the model does not exist")
        case ["exists", incarnation, state]:
            raise ModelExists(incarnation, deleting=state == "deleted")
        case ["foreign"]:
            raise ForeignKey("keys of this model exist without its meta")
        case ["ended", last]:
            raise ForeignKey(f"the log ends with {last}, which somebody else wrote")
        case ["incarnation", live]:
            raise WrongIncarnation(live)
        case ["epoch", current]:
            raise WrongEpoch(int(current))
        case ["stale_batch"]:
            raise StaleBatch("the producer has appended a later batch since")
        case ["producer_unknown"]:
            raise ProducerUnknown("the producer is unknown, or starts from too old a position")
        case ["regressed", head]:
            raise LogRegressed(f"the log ends at {head} and does not hold the caller's position")
        case ["full", used, cap]:
            raise LogFull(f"the log holds {used} of at most {cap} bytes until the next checkpoint")
        case ["skip"]:
            raise SkipRefused("a kept checkpoint is at or past the position")
        case ["checkpoint", reason]:
            raise CheckpointRefused(reason)
    raise AssertionError(f"a script replied {words!r}")
