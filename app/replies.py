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


class ReplyHead:
    """The head of a 200 with JSON, as uvicorn would write it for `send_reply`."""

    def __init__(self) -> None:
        self._defaults: Headers = []
        self._before = self._after = b""

    def of(self, defaults: Headers, length: int, *, keep_alive: bool = True) -> bytes:
        """With uvicorn's own headers, of which it makes a new list each second (for the date)."""
        if defaults is not self._defaults:
            self._defaults = defaults
            lines = _lines([*defaults, (b"content-type", JSON)])
            self._before = b"HTTP/1.1 200 OK\r\n" + lines + b"content-length: "
            self._after = b"\r\n" + _lines(SECURITY_HEADERS)
        close = b"" if keep_alive else b"connection: close\r\n"
        return b"%b%d%b%b\r\n" % (self._before, length, self._after, close)


def _lines(headers: Headers) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)


def json_reply(content: Any, status: int = 200) -> Response:
    """A Response for FastAPI's routes; the gate adds the security headers."""
    return Response(encode_json(content), status_code=status, media_type="application/json")
