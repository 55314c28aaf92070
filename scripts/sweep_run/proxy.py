"""A proxy between service and Redis that fails at one byte of one command.

    service ──► request ──► Redis        cut    the first N bytes go on, then both sides are closed
            ◄── reply   ◄──              hold   the first N bytes go on, then nothing any more, in
                                                either direction; both connections stay open
                                         late   as hold; `release` lets through what was held,
                                                as a network does that was only slow

The proxy knows the protocol well enough to tell commands apart: requests go on one by one, replies
are matched with them in order, and what a subscription is sent later counts as the reply of
`MESSAGE`. One fault is armed at a time and strikes the first command of its name. Scripts go by
the name of their file.

Commands on keys are told apart by the kind of their first key: `HGETALL meta`, `MGET page`. A
checkpoint puts short state segments and long ones, which go by names of their own.

It also watches the client: who has given up on a reply and sends another request on the same
connection would take the old reply for the new one. `confused` counts such requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from app.lua_scripts import Script

Mode = Literal["cut", "hold", "late"]
Side = Literal["request", "reply"]
MESSAGE = "MESSAGE"
CHUNK = 1 << 16
LONG_BYTES = 1024
LATE_SECONDS = 0.005
DETAILED = frozenset({"SCRIPT", "CLIENT", "CONFIG"})  # told apart by their second word too
KEY_KIND = re.compile(rb"(?:\}|^[^{:]+):([a-z-]+)")
GIVEN_UP_SECONDS = 0.1  # after a hold; what comes earlier was already on its way


def script_names() -> dict[bytes, str]:
    """SHA-1 -> name of every script of the service."""
    stems = [Path(entry.name).stem for entry in (files("app") / "lua").iterdir()]
    names = [name for name in stems if name != "common"]
    return {
        Script(name, when_full=full).sha.encode(): name for name in names for full in (False, True)
    }


@dataclass(slots=True)
class Fault:
    """Strike the `command`'s request or reply after so many bytes."""

    command: str
    side: Side
    after: int
    mode: Mode = "cut"
    size: int = 0  # of what it struck
    struck: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Seen:
    """Bytes of the largest request and reply of a command."""

    request: int = 0
    reply: int = 0


class Proxy:
    """Listens on `path`, forwards to the server's socket; use it as a context manager."""

    def __init__(self, server: Path, path: Path) -> None:
        self._server, self.path = server, path
        self._scripts = script_names()
        self._fault: Fault | None = None
        self._links: set[_Link] = set()
        self.seen: dict[str, Seen] = {}
        self.confused = 0

    @property
    def url(self) -> str:
        """For app.redis_connections."""
        return f"unix://{self.path}"

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_unix_server(self._accept, self.path, limit=CHUNK)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        await asyncio.gather(*(link.end() for link in list(self._links)))

    def arm(self, fault: Fault | None) -> None:
        """The next fault; None for none."""
        self._fault = fault

    async def release(self) -> None:
        """Let through what was late, and give it time to be executed."""
        late = [link for link in self._links if link.release()]
        if late:
            await asyncio.sleep(LATE_SECONDS)

    async def drop(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(link.end() for link in list(self._links)))

    def name_of(self, request: bytes) -> str:
        """A command's name: a script's, or its first word, or its first two."""
        words = _words(request)
        first = words[0].decode("ascii", "replace").upper()
        if first == "EVALSHA":
            name = self._scripts.get(words[1], first)
            found = KEY_KIND.search(words[5]) if name == "put" else None
            kind = found[1].decode() if found else ""
            is_long = kind == "state" and len(request) > LONG_BYTES
            return " ".join(word for word in (name, "long" if is_long else "", kind) if word)
        if len(words) == 1 or first == "EVAL":  # of a script that the server does not know yet
            return first
        if first in DETAILED:
            return f"{first} {words[1].decode('ascii', 'replace').upper()}"
        kind = KEY_KIND.search(words[1])
        return f"{first} {kind[1].decode()}" if kind else first

    def struck(self, command: str, side: Side) -> Fault | None:
        """The fault, if it is this one's; it is then no longer armed."""
        fault = self._fault
        if fault is None or (fault.command, fault.side) != (command, side):
            return None
        self._fault = None
        fault.struck.set()
        return fault

    def note(self, command: str, side: Side, size: int) -> None:
        """Keep the largest size seen."""
        seen = self.seen.setdefault(command, Seen())
        setattr(seen, side, max(getattr(seen, side), size))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            ends = await asyncio.open_unix_connection(str(self._server), limit=CHUNK)
        except OSError:
            writer.close()
            return
        link = _Link(self, (reader, writer), ends)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection of the service and its counterpart to Redis."""

    def __init__(self, proxy: Proxy, client: Ends, server: Ends) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._waiting: deque[str] = deque()  # names of requests without a reply yet
        self._held: list[tuple[asyncio.StreamWriter, bytes]] = []
        self._holding: Fault | None = None
        self._held_at = 0.0
        self._owes = False  # a reply, or the rest of one
        self._released = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Until either side closes or a cut comes."""
        self._tasks = [asyncio.create_task(self._requests()), asyncio.create_task(self._replies())]
        try:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self.end()

    async def end(self) -> None:
        """Close both sides."""
        for task in self._tasks:
            task.cancel()
        for _, writer in (self._client, self._server):
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> bool:
        """Send on what was held, if its fault was only lateness; whether it was."""
        if self._holding is None or self._holding.mode != "late":
            return False
        self._holding = None
        for writer, content in self._held:
            if not writer.is_closing():
                writer.write(content)
        self._held.clear()
        self._released.set()
        return True

    async def _requests(self) -> None:
        pending = b""
        with contextlib.suppress(OSError):
            while chunk := await self._client[0].read(CHUNK):
                pending += chunk
                if self._holding:
                    self._judge_request()
                while (end := _end_of(pending, 0)) is not None:
                    request, pending = pending[:end], pending[end:]
                    name = self._proxy.name_of(request)
                    self._waiting.append(name)
                    if await self._pass("request", name, request, self._server[1]):
                        return
        if self._holding is not None and self._holding.mode == "late":
            await self._released.wait()  # the client has gone, its request is still under way

    def _judge_request(self) -> None:
        """A request on a silent connection: for the first, nothing may be owed any more."""
        now = time.monotonic()
        self._proxy.confused += self._owes and now > self._held_at + GIVEN_UP_SECONDS
        self._owes, self._held_at = True, now

    async def _replies(self) -> None:
        pending = b""
        with contextlib.suppress(OSError):
            while chunk := await self._server[0].read(CHUNK):
                pending += chunk
                while (end := _end_of(pending, 0)) is not None:
                    reply, pending = pending[:end], pending[end:]
                    name = self._waiting.popleft() if self._waiting else MESSAGE
                    if await self._pass("reply", name, reply, self._client[1]):
                        return

    async def _pass(self, side: Side, name: str, content: bytes, to: asyncio.StreamWriter) -> bool:
        """Send on, as far as the fault lets; whether the connection is to be closed."""
        self._proxy.note(name, side, len(content))
        if self._holding is not None:
            self._held.append((to, content))
            return False
        fault = self._proxy.struck(name, side)
        if fault is None:
            to.write(content)
            await to.drain()
            return False
        fault.size = len(content)
        to.write(content[: fault.after])
        with contextlib.suppress(OSError):
            await to.drain()
        if fault.mode == "cut":
            return True
        self._holding, self._held_at = fault, time.monotonic()
        self._owes = side == "request" or fault.after < fault.size
        self._held.append((to, content[fault.after :]))
        return False


def _end_of(content: bytes, at: int) -> int | None:
    """Where the value at `at` ends in the protocol, or None while it is incomplete."""
    line = content.find(b"\r\n", at)
    if line < 0:
        return None
    mark, after = content[at : at + 1], line + 2
    if mark == b"$":
        size = int(content[at + 1 : line])
        end = after if size < 0 else after + size + 2
        return end if end <= len(content) else None
    if mark == b"*":
        where: int | None = after
        for _ in range(int(content[at + 1 : line])):
            if where is None:
                return None
            where = _end_of(content, where)
        return where
    return after


def _words(request: bytes) -> list[bytes]:
    """The first words of a request, as many as a name needs."""
    words, at = [], request.index(b"\r\n") + 2
    while at < len(request) and len(words) < 6:
        line = request.index(b"\r\n", at)
        size = int(request[at + 1 : line])
        words.append(request[line + 2 : line + 2 + size])
        at = line + 4 + size
    return words
