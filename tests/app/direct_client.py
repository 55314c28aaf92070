"""A client of the protocol itself: a connection over a transport that keeps what is sent."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from app.connection_guard import ConnectionGuard
from app.direct_protocol import DirectProtocol
from app.starting import Progress, Switch
from tests.app.http_service import Service

ONE = b'{"examples":[{"features":{"ad":"a9","price":3.5}}]}'
DEFAULTS = [(b"date", b"Fri, 27 Nov 2026 18:29:25 GMT")]
REPLY_SECONDS = 5.0


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = self.aborted = False
        self.unsent = 0  # bytes that the client has not taken

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Client:
    """One connection to the application, with the short way or without."""

    def __init__(
        self, service: Service, *, direct: bool, guard: ConnectionGuard | None = None
    ) -> None:
        switch = Switch(Progress(), guard)
        switch.application = service.app
        switch.direct = service.app.state.direct if direct else None
        config = uvicorn.Config(
            switch, http=DirectProtocol, lifespan="off", interface="asgi3", log_config=None,
            ws="none", proxy_headers=False,
        )  # fmt: skip
        state = ServerState()
        state.default_headers = DEFAULTS
        self.wire = Wire()
        self.protocol = DirectProtocol(config, state, {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)
        self._read = 0

    async def ask(self, *parts: bytes, replies: int = 1) -> bytes:
        """Send the parts one by one; all that is answered."""
        for part in parts:
            self.protocol.data_received(part)
        deadline = asyncio.get_running_loop().time() + REPLY_SECONDS
        while _replies_in(self.wire.sent[self._read :]) < replies:
            assert asyncio.get_running_loop().time() < deadline, self.wire.sent
            await asyncio.sleep(0.001)
        answer = self.wire.sent[self._read :]
        self._read = len(self.wire.sent)
        return answer


def _replies_in(sent: bytes) -> int:
    count = 0
    while (end := sent.find(b"\r\n\r\n")) >= 0:
        length = re.search(rb"content-length: (\d+)", sent[:end])  # none in 100 Continue
        end += 4 + (int(length[1]) if length is not None else 0)
        if end > len(sent):
            break
        sent, count = sent[end:], count + (length is not None)
    return count


def request(
    body: bytes, path: str = "/predict", *lines: str, kind: str = "application/json"
) -> bytes:
    """A whole request."""
    head = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", *lines]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body
