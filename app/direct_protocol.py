"""uvicorn's protocol, and a short way through it for the requests that DirectPath answers.

    bytes received ─► is it one whole request, with a head known from before? ─► reply
                        └── no: uvicorn's own way, and its head may be known then

A client sends the same head again and again but for the length of the body. What follows from a
head (route, key, model) is remembered by its very bytes but these (`known_heads`), for the
connection that sent it: so the next request with it needs no parsing and no admission, and nothing
is admitted here that the usual way has not admitted. The parser is not told of such a request,
which leaves it where it was, between two messages.

    free ──► a known head, its body not whole ──► collecting ──► whole
     ▲                                                │ a pause, the end, another request
     ├──────────── uvicorn's own way ◄────────────────┘
     └── answered ◄── held: learning goes on, what arrives meanwhile waits in uvicorn's pipeline

Everything else (Expect, HTTP/1.0) goes uvicorn's way, with what was collected. Of pipelined
requests uvicorn answers one in each round of the event loop, and a client that is late would get
later and later beside somebody who learns in bulk: so here all that have come are answered at once.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.guarded_protocol import GuardedProtocol
from app.known_heads import KnownHeads
from app.replies import OK_HEAD, reply_head

if TYPE_CHECKING:  # it needs Numba, which is imported when connections are served already
    from app.direct_path import DirectPath, DirectRoute, Reply

logger = logging.getLogger("clickfold.http")

HEAD_BYTES_MAX = 2048  # of one that is remembered
COLLECT_SECONDS = 1.0  # for the rest of a body, before uvicorn's way gives it a longer time
END_OF_HEAD = b"\r\n\r\n"


class Held:
    """A request that is being learned, as uvicorn looks at the cycles of its own way."""

    message_event = asyncio.Event()  # for nobody
    response_started = False

    def __init__(self) -> None:
        self.response_complete = False
        self.keep_alive = True
        self.disconnected = False


class DirectProtocol(GuardedProtocol):
    """One connection."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._heads = KnownHeads()
        self._collected: list[bytes] = []  # of a request whose head is known
        self._collected_bytes = self._wanted_bytes = 0
        self._giving_up: asyncio.TimerHandle | None = None
        self._begun = 0  # messages since the connection was free
        self._head = b""  # of the one message since then, while it may come to be known

    def data_received(self, data: bytes) -> None:
        """Some bytes of requests."""
        if self._collected:
            self._collected.append(data)
            self._collected_bytes += len(data)
            if self._collected_bytes >= self._wanted_bytes:
                self._receive(self._taken())
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        """Answer what can be answered here, one request after the other; uvicorn has the rest."""
        while data and self._is_free():
            found = self._heads.find(data)
            if found is None:
                break
            if found.end > len(data):
                self._collect(data, found.end)
                return
            if not self._answer(found.route, data[found.start : found.end]):
                break
            data = data[found.end :]
        if data:
            self._receive_as_usual(data, is_free=self._is_free())

    def _is_free(self) -> bool:
        """Whether nothing is being received or answered."""
        return self._is_between and (self.cycle is None or self.cycle.response_complete)

    def _receive_as_usual(self, data: bytes, *, is_free: bool = True) -> None:
        """Uvicorn's own way; afterwards the head may be known."""
        if is_free:
            self._begun = self._received = 0
            self._head = data[: data.find(END_OF_HEAD) + len(END_OF_HEAD)]
        super().data_received(data)
        if self._head and self._is_between:
            if self._begun == 1:
                self._remember(self._head)
            self._head = b""

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._begun += 1
        super().on_message_begin()

    def _collect(self, data: bytes, wanted: int) -> None:
        """Keep the beginning of a request until `wanted` bytes of it are there."""
        self._collected, self._collected_bytes, self._wanted_bytes = [data], len(data), wanted
        self._giving_up = self.loop.call_later(COLLECT_SECONDS, self._give_up)

    def _taken(self) -> bytes:
        """What was collected, which is given back to nobody."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        whole, self._collected = b"".join(self._collected), []
        return whole

    def _give_up(self) -> None:
        """Let uvicorn have what was collected."""
        if self._collected:
            self._receive_as_usual(self._taken())

    def _answer(self, route: DirectRoute, body: bytes) -> bool:
        """Answer a whole request, now or later, if this is possible here."""
        direct = self._switch.direct
        if direct is None or self.flow.write_paused or self.transport.is_closing():
            return False
        try:
            return self._answer_by(direct, route, body)
        except Exception:  # the outermost frame of a request; the usual way has a reply for it
            logger.exception("a request failed where it was received")
            return False

    def _answer_by(self, direct: DirectPath, route: DirectRoute, body: bytes) -> bool:
        if route.learns:
            held = Held()
            if not direct.learn(route, body, partial(self._learned, held)):
                return False
            self.cycle = self._running = cast(RequestResponseCycle, held)
            return True
        reply = direct.predict(route, body)
        if reply is None:
            return False
        self._joined.write_now(OK_HEAD.of(self.server_state.default_headers, len(reply)) + reply)
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        return True

    def _learned(self, held: Held, reply: Reply) -> None:
        """The reply of a request that was held, if its client is still there."""
        held.response_complete = True
        if held.disconnected or self.transport.is_closing():
            return
        defaults = self.server_state.default_headers
        if reply.status == 200 and held.keep_alive:
            head = OK_HEAD.of(defaults, len(reply.body))
        else:
            head = reply_head(
                defaults, reply.status, reply.content_type, len(reply.body), reply.headers,
                keep_alive=held.keep_alive,
            )  # fmt: skip
        self._joined.write_now(head + reply.body)
        if not held.keep_alive:
            self.transport.close()
        if self.pipeline or not held.keep_alive or self.timeout_keep_alive_task is None:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._answered_at = self.loop.time()

    def _remember(self, head: bytes) -> None:
        """The head of the one request that was received, unless it wants the usual way."""
        direct = self._switch.direct
        if direct is None or not head.startswith(b"POST ") or not self.cycle.keep_alive:
            return
        if self.expect_100_continue or self.parser is None or self.parser.should_upgrade():
            return
        if len(head) > HEAD_BYTES_MAX:
            return
        route = direct.route(cast(Scope, self.scope))
        if route is not None:
            self._heads.add(head, route, self._received)

    def look(self, now: float) -> None:
        """End the connection if it is overdue; what is being collected has its own short time."""
        if not self._collected:
            super().look(now)

    def forget_heads(self) -> None:
        """Ask for a key again with the next request."""
        self._heads.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was told to go."""
        self._give_up()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: finish what has begun, then close."""
        self._give_up()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, unless it was used since uvicorn's way set the timer."""
        is_idle = not self._collected and self.cycle.response_complete
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if is_idle and left <= 0:
            super().timeout_keep_alive_handler()
        else:
            left = left if left > 0 else self.timeout_keep_alive
            self.timeout_keep_alive_task = self.loop.call_later(
                left, self.timeout_keep_alive_handler
            )
