"""How bytes leave: the headers every reply carries, and the two ways of sending.

`send_reply` speaks plain ASGI for the hot path, where a Response object would cost as much as a
prediction; `json_reply` is the same for FastAPI's routes. Both encode with msgspec, which writes
NaN as null, so no reply can fail for what is in it. (Starlette's JSONResponse raises on NaN and on
lone surrogates: a 500 for something a client sent.)
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
SECURITY_HEADERS: Headers = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]

encode_json = msgspec.json.Encoder().encode


async def send_reply(
    send: Send, status: int, body: bytes, content_type: bytes = JSON, extra: Headers | None = None
) -> None:
    """Send a whole reply by plain ASGI, security headers included."""
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *SECURITY_HEADERS,
    ]
    if extra:
        headers += extra
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def reply_head(
    defaults: Headers,
    status: int,
    content_type: bytes,
    length: int,
    extra: Headers,
    *,
    keep_alive: bool,
) -> bytes:
    """The head of a reply, as uvicorn writes it for `send_reply`, with its `defaults` first."""
    headers = [
        *defaults,
        (b"content-type", content_type),
        (b"content-length", b"%d" % length),
        *SECURITY_HEADERS,
        *extra,
    ]
    if not keep_alive:
        headers.append((b"connection", b"close"))
    return STATUS_LINE[status] + b"".join(b"%b: %b\r\n" % pair for pair in headers) + b"\r\n"


class OkHead:
    """`reply_head` of a 200 with JSON, after which the connection is kept."""

    def __init__(self) -> None:
        self._defaults: Headers = []
        self._before = self._after = b""

    def of(self, defaults: Headers, length: int) -> bytes:
        """With uvicorn's own headers, of which it makes a new list each second (for the date)."""
        if defaults is not self._defaults:
            head = reply_head(defaults, 200, JSON, 0, [], keep_alive=True)
            self._before, _, self._after = head.partition(b"content-length: 0")
            self._defaults = defaults
        return b"%bcontent-length: %d%b" % (self._before, length, self._after)


OK_HEAD = OkHead()


def json_reply(content: Any, status: int = 200) -> Response:
    """A Response for FastAPI's routes; the gate adds the security headers."""
    return Response(encode_json(content), status_code=status, media_type="application/json")
