"""uvicorn's protocol with deadlines, a bound on heads, and refusals that are problem documents.

The deadlines are those of app/connection_guard.py, whose sweep calls `look`. What is refused here
never got as far as the application: it is answered with the same problem document as there, and the
connection is closed.

    GET / HTTP/1.1 ... the rest is missing        408 head-timeout
    a head of more bytes or fields than may be    431 head-too-large
    bytes that are no HTTP                        400 bad-request
    a body that does not end when the service
    stops                                         503 stopping
    more connections than may be                  503 busy, 429 too-many-connections
    a reply that is not taken                     the connection is broken off

A refusal is never sent in place of the reply to an earlier request: whoever sends a whole request
and then nonsense gets the reply to the first, and then the connection is closed. uvicorn's own way
answers 400, although the request is carried out. Fields after a chunked body are thrown away, as
RFC 9110 allows: uvicorn would add them to the head's, where a key is looked for.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from app.connection_guard import (
    BAD_REQUEST,
    BODY_BYTES_PER_SECOND,
    BODY_TIMEOUT,
    HEAD_TIMEOUT,
    HEAD_TOO_LARGE,
    PIPELINED_MAX,
    STOPPING,
    STOPPING_SECONDS,
    Refusal,
)
from app.http_protocol import JoiningProtocol
from app.starting import Switch

FIELD_OVERHEAD = 4  # bytes between the name and the value of a field, and after it


class NoFields(list[tuple[bytes, bytes]]):
    """Where fields after a body go."""

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Throw it away."""


NO_FIELDS = NoFields()


class GuardedProtocol(JoiningProtocol):
    """One connection."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        assert isinstance(self.app, Switch)
        self._switch = self.app
        self._guard = self.app.guard
        self._limits = self._guard.limits
        self.address = ""
        self._is_between = True  # two messages, as the parser has seen them
        self._head_is_done = self._is_whole = True  # of the message of self.cycle
        self._received = 0  # bytes since the connection was free
        self._head_received = 0  # bytes of an unfinished head, but for those it began with
        self._since = 0.0  # when it was made, was free again, or a head began
        self._answered_at = 0.0
        self._writing_since: float | None = None  # the client has had time since then
        self._running: RequestResponseCycle | None = None
        self._refusal = BAD_REQUEST  # of the head that is being parsed
        self._is_broken = False  # what comes now is nonsense, and not looked at
        self._is_proven = False  # has sent a whole request
        self._stopping_at: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self.address = self.client[0] if self.client else ""
        refusal = self._guard.admit(self)
        if refusal is not None:
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was told to go."""
        self._guard.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of requests, by uvicorn's own way."""
        if self._is_broken:
            return
        self._received += len(data)
        self._head_received += len(data)
        super().data_received(data)
        if not self._head_is_done and self._head_received > self._limits.head_bytes:
            self._refusal = HEAD_TOO_LARGE
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._is_between = self._head_is_done = False
        self._head_received = 0
        self._since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The end of a head; what is raised here becomes the refusal."""
        if self._received > self._limits.head_bytes:  # else the head is no larger either
            self._check_size()
        if len(self.headers) > self._limits.head_fields:
            self._refusal = HEAD_TOO_LARGE
            raise ValueError("the head has too many fields")
        if len(self.pipeline) >= PIPELINED_MAX:
            raise ValueError("too many requests at once")
        super().on_headers_complete()
        if not self.pipeline:
            self._running = self.cycle
        self.headers = NO_FIELDS
        self._head_is_done, self._is_whole = True, False

    def _check_size(self) -> None:
        size = len(self.url) + sum(len(n) + len(v) + FIELD_OVERHEAD for n, v in self.headers)
        if size > self._limits.head_bytes:
            self._refusal = HEAD_TOO_LARGE
            raise ValueError("the head has too many bytes")

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._is_between = self._is_whole = True
        if not self._is_proven:
            self._is_proven = True
            self._guard.prove(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A reply is whole."""
        if self._is_between:
            self._since = self.loop.time()
        if self.pipeline:
            self._running = self.pipeline[-1][0]
        super().on_response_complete()

    def resume_writing(self) -> None:
        """The client has taken most of what was written: it has its time once more."""
        self._writing_since = None
        super().resume_writing()

    def is_waiting(self) -> bool:
        """Whether no request is being answered."""
        return not self.pipeline and (
            self.cycle is None or self.cycle.response_complete or not self._is_whole
        )

    def look(self, now: float) -> None:
        """End the connection if it is overdue."""
        if not self._is_reply_taken(now):
            self._guard.refused["reply-timeout"] += 1
            self.transport.abort()
        elif not self.transport.is_closing() and self.is_waiting():
            self._look_at_request(now)

    def _is_reply_taken(self, now: float) -> bool:
        """Whether the client takes what is written, or still has time for it."""
        if not self._joined.get_write_buffer_size():
            self._writing_since = None
        elif self._writing_since is None:
            self._writing_since = now
        else:
            return now - self._writing_since <= self._limits.reply_seconds
        return True

    def _look_at_request(self, now: float) -> None:
        limits = self._limits
        elapsed = now - self._since
        if self._is_between:
            idle = now - max(self._since, self._answered_at)
            if idle > (limits.head_seconds if self.cycle is None else limits.idle_seconds):
                self.transport.close()
        elif not self._head_is_done:
            if elapsed > limits.head_seconds:
                self._refusal = self._guard.count(HEAD_TIMEOUT)
                self._end()
        elif self._stopping_at is not None and now - self._stopping_at > STOPPING_SECONDS:
            self._refusal = self._guard.count(STOPPING)
            self._end()
        else:
            most = limits.head_seconds + limits.body_seconds
            if elapsed > most + self._received / BODY_BYTES_PER_SECOND:
                self._refusal = self._guard.count(BODY_TIMEOUT)
                self._end()

    def shutdown(self) -> None:
        """The server stops: finish what has begun, but for a body that does not end."""
        self._stopping_at = self.loop.time()
        super().shutdown()

    def dismiss(self) -> None:
        """End the connection to make room for another."""
        self.transport.close()

    def forget_heads(self) -> None:
        """Nothing is remembered here."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own words
        """The parser cannot go on."""
        self._guard.count(self._refusal)
        self._end()

    def _end(self) -> None:
        """Refuse what comes, after the reply to what came before."""
        self._is_broken = True
        cycle = self._unanswered()
        if cycle is None:
            self._refuse(self._refusal)
        else:
            cycle.keep_alive = False

    def _unanswered(self) -> RequestResponseCycle | None:
        """The last whole request that has no reply yet."""
        if self.pipeline and not self._is_whole and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()  # its body will never be whole
        if self.pipeline:
            return self.pipeline[0][0]
        running = self._running
        if running is None or running.response_complete:
            return None
        return None if running is self.cycle and not self._is_whole else running

    def _refuse(self, refusal: Refusal) -> None:
        """Answer for the application, and close."""
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True  # the application is told that nobody is there
            running.message_event.set()
        begun = running is not None and running is self.cycle and running.response_started
        if not begun or self._is_whole:  # else it has its reply, or a part of it
            self.transport.write(refusal_bytes(self.server_state.default_headers, refusal))
        self.transport.close()


def refusal_bytes(defaults: list[tuple[bytes, bytes]], refusal: Refusal) -> bytes:
    """The whole reply, as app.problems would write it."""
    document: dict[str, Any] = {
        "type": f"/problems/{refusal.slug}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "outcome": "not_learned" if refusal.status >= 500 else None,
    }
    known = {name: value for name, value in document.items() if value is not None}
    body = json.dumps(known, separators=(",", ":")).encode()
    fields = [
        *defaults,
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    if refusal.retry_after is not None:
        fields.append((b"retry-after", b"%d" % refusal.retry_after))
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    return STATUS_LINE[refusal.status] + head + b"\r\n" + body
