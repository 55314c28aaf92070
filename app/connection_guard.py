"""What a process spends on connections: how many, for how long, and on how large a head.

uvicorn has no deadline for the head or the body of a request nor for the taking of a reply, and no
bound on a head. Here every connection is looked at once in SWEEP_SECONDS, and the clock of what it
does now is one that no single byte starts again:

    made, or answered ──► a head arrives ──► a body arrives ──► answering ──► the reply is taken
      idle_seconds          head_seconds      body_seconds       no limit      reply_seconds
      (a new one has to
      send its first head
      in head_seconds)

So a request costs nothing here but two stores of the time; the sweep takes about a microsecond for
each connection.

When there are as many connections as may be, room is made by closing the oldest that has never sent
a whole request, then the oldest that waits for one: whoever opens connections and sends nothing
shuts out himself, and neither a probe nor a learner nor a client that predicts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

SWEEP_SECONDS = 0.5
PIPELINED_MAX = 256  # requests of one connection that wait for the one before them
# What a body may take beyond body_seconds: the time of its bytes at this rate (snapshot files).
BODY_BYTES_PER_SECOND = 64 << 10
STOPPING_SECONDS = 2.0  # for the rest of a body, when the service stops


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of the connections of one process; 0 connections of an address: no bound."""

    connections: int = 4096
    connections_per_address: int = 0
    head_bytes: int = 32 << 10
    head_fields: int = 100
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    reply_seconds: float = 30.0
    idle_seconds: float = 75.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem that is answered without the application; its row in the catalogue is the same."""

    slug: str
    status: int
    title: str
    detail: str
    retry_after: int | None = None


BAD_REQUEST = Refusal(
    "bad-request", 400, "The request is malformed", "the bytes are no request of HTTP/1.1"
)
HEAD_TIMEOUT = Refusal(
    "head-timeout", 408, "The head did not arrive in time", "the head took too long to arrive"
)
BODY_TIMEOUT = Refusal(
    "body-timeout", 408, "The body did not arrive in time", "the body took too long to arrive"
)
HEAD_TOO_LARGE = Refusal(
    "head-too-large", 431, "The head is too large", "the head has too many bytes or fields"
)
BUSY = Refusal("busy", 503, "Too much is in flight", "there are as many connections as may be", 1)
TOO_MANY_CONNECTIONS = Refusal(
    "too-many-connections",
    429,
    "The address has too many connections",
    "close some, or keep and use them again",
    1,
)
STOPPING = Refusal(
    "stopping", 503, "The service is stopping", "the rest of the body did not come any more", 1
)
REFUSALS = (
    BAD_REQUEST, HEAD_TIMEOUT, BODY_TIMEOUT, HEAD_TOO_LARGE, BUSY, TOO_MANY_CONNECTIONS, STOPPING,
)  # fmt: skip


class Connection(Protocol):
    """What the guard asks of a connection."""

    address: str

    def is_waiting(self) -> bool:
        """Whether no request of it is being answered."""

    def look(self, now: float) -> None:
        """End it if it is overdue."""

    def dismiss(self) -> None:
        """End it to make room."""

    def forget_heads(self) -> None:
        """Ask for a key again."""


class ConnectionGuard:
    """The connections of a process, oldest first; used on the event loop only."""

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.refused: Counter[str] = Counter()  # by the slug of the refusal; "dismissed" too
        self._unproven: dict[Connection, None] = {}
        self._proven: dict[Connection, None] = {}  # have sent a whole request
        self._addresses: Counter[str] = Counter()
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._unproven) + len(self._proven)

    def __iter__(self) -> Iterator[Connection]:
        """Every connection; they may be closed meanwhile."""
        return iter([*self._unproven, *self._proven])

    def admit(self, connection: Connection) -> Refusal | None:
        """Take in a new connection; why not, where there is no room for it."""
        most = self.limits.connections_per_address
        if most and self._addresses[connection.address] >= most:
            return self.count(TOO_MANY_CONNECTIONS)
        if len(self) >= self.limits.connections and not self._make_room():
            return self.count(BUSY)
        self._unproven[connection] = None
        self._addresses[connection.address] += 1
        if self._sweeping is None:
            self._sweep_later(asyncio.get_running_loop())
        return None

    def prove(self, connection: Connection) -> None:
        """It has sent a whole request."""
        if self._unproven.pop(connection, 0) is None:
            self._proven[connection] = None

    def remove(self, connection: Connection) -> None:
        """It is closed; nothing happens for one that was not admitted."""
        if connection in self._unproven or connection in self._proven:
            self._unproven.pop(connection, None)
            self._proven.pop(connection, None)
            self._addresses[connection.address] -= 1
            if not self._addresses[connection.address]:
                del self._addresses[connection.address]

    def count(self, refusal: Refusal) -> Refusal:
        """Note for /metrics that it was given."""
        self.refused[refusal.slug] += 1
        return refusal

    def forget_heads(self) -> None:
        """Keys have changed: every connection is asked again."""
        for connection in self:
            connection.forget_heads()

    def _make_room(self) -> bool:
        for connection in (*self._unproven, *self._proven):
            if connection.is_waiting():
                self.refused["dismissed"] += 1
                self.remove(connection)
                connection.dismiss()
                return True
        return False

    def _sweep_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeping = loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeping = None
        now = loop.time()
        for connection in self:
            connection.look(now)
        if len(self):
            self._sweep_later(loop)
