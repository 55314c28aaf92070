"""What a stopping server does with replies that have no end of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.admission import Admission
from app.auth import KeyRing
from app.gate import Gate
from app.hot_path import HotPath
from app.learning_budget import LearningBudgets
from app.request_meter import RequestMeter
from app.request_room import RequestRoom
from tests.app.direct_client import Client
from tests.app.http_service import Service, running

PIECES = 50
KINDS = {"/models": "text/event-stream", "/problems": "text/plain"}


class Streams:
    """An application behind the gate whose replies take half a second."""

    def __init__(self, service: Service) -> None:
        limits = service.settings.limits()
        hot_path = HotPath(service.hub, limits, service.app.state.reader, LearningBudgets())
        admission = Admission(KeyRing([]))
        self.gate = Gate(self.answer, admission, hot_path, RequestMeter(), RequestRoom(8))
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream, of the kind that the path says."""
        kind = KINDS[scope["path"]]
        await StreamingResponse(self._pieces(kind), media_type=kind)(scope, receive, send)

    async def _pieces(self, kind: str) -> AsyncIterator[bytes]:
        try:
            for _ in range(PIECES):
                yield b"data: x\n\n"
                await asyncio.sleep(0.01)
        finally:
            self.ended.put_nowait(kind)


async def test_a_live_stream_is_closed_at_once_and_a_download_goes_on(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        streams = Streams(service)
        clients = [Client(service, direct=True) for _ in KINDS]
        for client, path in zip(clients, KINDS, strict=True):
            client.protocol._switch.application = streams.gate
            client.protocol.data_received(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
        await asyncio.sleep(0.1)
        for client in clients:
            assert b"data: x" in client.wire.sent
            client.protocol.shutdown()
        live, download = clients
        assert live.wire.closed
        assert not download.wire.closed
        assert [await asyncio.wait_for(streams.ended.get(), 30) for _ in KINDS] == [*KINDS.values()]
        await asyncio.sleep(0.05)
        assert download.wire.sent.count(b"data: x") == PIECES
        assert live.wire.sent.count(b"data: x") < PIECES
