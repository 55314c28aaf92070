"""uvicorn's protocol, and a short way through it for the requests that DirectPath answers.

    bytes received ─► is it one whole request, with a head known from before? ─► reply
                        └── no: uvicorn's own way, and its head may be known then

A client sends the same head again and again but for the length of the body. What follows from a
head (route, key, model) is remembered by its very bytes, for the connection that sent it: so the
next request with these bytes needs no parsing and no admission, and nothing is admitted here that
the usual way has not admitted. The parser is not told of such a request, which leaves it where it
was, between two messages.

The short way is for what arrived in one piece while nothing else was being received or answered;
anything else (pipelined requests, slow bodies, Expect, HTTP/1.0) goes uvicorn's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from starlette.types import Scope

from app.http_protocol import JoiningProtocol
from app.replies import ReplyHead
from app.starting import Switch

if TYPE_CHECKING:  # it needs Numba, which is imported when connections are served already
    from app.direct_path import DirectRoute

HEADS_MAX = 64  # of one connection; bodies of other lengths have other heads
END_OF_HEAD = b"\r\n\r\n"
_reply_head = ReplyHead()


class DirectProtocol(JoiningProtocol):
    """One connection."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        assert isinstance(self.app, Switch)
        self._switch = self.app
        self._routes: dict[bytes, DirectRoute] = {}
        self._is_between = True  # two messages, as the parser has seen them
        self._begun = 0  # messages, in what is being received
        self._answered_at = 0.0

    def data_received(self, data: bytes) -> None:
        """Some bytes of requests."""
        is_free = self._is_between and (self.cycle is None or self.cycle.response_complete)
        if is_free and self._answer(data):
            return
        self._begun = 0
        super().data_received(data)
        if is_free and self._begun == 1 and self._is_between:
            self._remember(data)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._is_between = False
        self._begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._is_between = True
        super().on_message_complete()

    def _answer(self, data: bytes) -> bool:
        """Answer the one request that the data are, if this is possible here and now."""
        start = data.find(END_OF_HEAD) + len(END_OF_HEAD)
        route = self._routes.get(data[:start])
        direct = self._switch.direct
        if route is None or direct is None or len(data) - start != route.length:
            return False
        if self.flow.write_paused or self.transport.is_closing():
            return False
        body = direct.predict(route, data[start:])
        if body is None:
            return False
        head = _reply_head.of(self.server_state.default_headers, len(body))
        self._joined.write_now(head + body)
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        return True

    def _remember(self, data: bytes) -> None:
        """The head of the one request that the data are, unless it wants the usual way."""
        head = data[: data.find(END_OF_HEAD) + len(END_OF_HEAD)]
        direct, cycle = self._switch.direct, self.cycle
        if direct is None or not head.startswith(b"POST ") or not cycle.keep_alive:
            return
        if self.expect_100_continue or self.parser is None or self.parser.should_upgrade():
            return
        route = direct.route(cast(Scope, self.scope))
        if route is not None and len(data) == len(head) + route.length:
            if len(self._routes) >= HEADS_MAX:
                self._routes.clear()
            self._routes[head] = route

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, unless it was used since the usual way set the timer."""
        left = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(
                left, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()
