"""Reading a request's body with a bound on everything: bytes, bytes of all requests, and time.

Neither uvicorn nor Starlette bounds a body. Content-Length is checked before anything is read, and
what arrives is counted all the same, since a chunked body states no length. The bytes that all
requests hold together are bounded too (the cap on one body times many connections would be all
memory), and a body that trickles in is given up after a deadline.

What is left unread after a refusal is not drained here: the HTTP server throws it away as it
arrives, so a client that reads only after it has sent everything still gets its reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope

from app.problems import RETRY_AFTER_SECONDS, Problem

BODY_SECONDS = 60.0
IN_FLIGHT_BODIES = 8  # full-size bodies that may be held at once, by all requests together
SMALL_BYTES = 64 << 10  # of each body, which are always taken: connections are bounded too


class ClientGone(Exception):
    """The client closed the connection before its request was whole; nobody waits for a reply."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that name (lower case), or None."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def headers(scope: Scope, name: bytes) -> list[bytes]:
    """Every header of that name (lower case)."""
    return [bytes(value) for key, value in scope["headers"] if key == name]


def content_length(scope: Scope) -> int | None:
    """The stated length in bytes; None when none is stated. Problem 400 for no number."""
    stated = header(scope, b"content-length")
    if stated is None:
        return None
    if not stated.isdigit() or len(stated) > 18:
        raise Problem("bad-request", "Content-Length is not a number")
    return int(stated)


class BodyReader:
    """Reads bodies of at most `bytes_max`, and of `in_flight_max` over all requests, in bytes."""

    def __init__(
        self, bytes_max: int, in_flight_max: int | None = None, seconds: float = BODY_SECONDS
    ) -> None:
        self._bytes_max = bytes_max
        self._in_flight_max = in_flight_max or IN_FLIGHT_BODIES * bytes_max
        self._seconds = seconds
        self.in_flight_bytes = 0

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body; to be given back with `release(len(body))` when it is done with.

        Raises Problem (413 too-large, 408 body-timeout, 503 busy) and ClientGone.
        """
        stated = content_length(scope) or 0
        if stated > self._bytes_max:
            raise self._too_large()
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            return await self._read_parts(body, receive)
        self._take(0, len(body))
        return body

    def release(self, size: int) -> None:
        """A body of that many bytes is no longer held."""
        if size > SMALL_BYTES:
            self.in_flight_bytes -= size - SMALL_BYTES

    async def _read_parts(self, first: bytes, receive: Receive) -> bytes:
        body = bytearray()
        try:
            self._append(body, first)
            async with asyncio.timeout(self._seconds):
                async for part in parts(receive):
                    self._append(body, part)
        except TimeoutError:
            self.release(len(body))
            raise Problem("body-timeout", "the body did not arrive in time") from None
        except (Problem, ClientGone, asyncio.CancelledError):
            self.release(len(body))
            raise
        return bytes(body)

    def _append(self, body: bytearray, part: bytes) -> None:
        if len(body) + len(part) > self._bytes_max:
            raise self._too_large()
        self._take(len(body), len(part))
        body += part

    def _take(self, before: int, more: int) -> None:
        """Count `more` bytes of a body of which there are `before` already."""
        if before + more > self._bytes_max:
            raise self._too_large()
        if before + more <= SMALL_BYTES:
            return
        size = before + more - SMALL_BYTES - max(0, before - SMALL_BYTES)
        if self.in_flight_bytes + size > self._in_flight_max:
            detail = "the requests in flight hold all the memory that bodies may take"
            raise Problem("busy", detail, outcome="not_learned", retry_after=RETRY_AFTER_SECONDS)
        self.in_flight_bytes += size

    def _too_large(self) -> Problem:
        return Problem("too-large", f"a body has at most {self._bytes_max} bytes")


async def parts(receive: Receive) -> AsyncIterator[bytes]:
    """What is left of a body, part by part. ClientGone when the connection is lost."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        more = message.get("more_body", False)
