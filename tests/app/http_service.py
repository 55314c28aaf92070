"""The whole application over a real Redis, in the test's own event loop, without a socket.

Requests go through the ASGI interface, so everything but uvicorn is the real thing. A second
client sends what no HTTP library would: raw scopes, chunks of any size, a connection that drops.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from app.hub import Hub
from app.main import create_app
from app.redis_connections import RedisConnections
from app.settings import Settings, load_settings

BASE = "http://127.0.0.1"
SMALL = {"table_bits": 12, "deduplication_window": 4096}
Message = dict[str, Any]


@dataclass
class Service:
    """An application, its hub, and a client for it."""

    app: FastAPI
    hub: Hub
    client: httpx2.AsyncClient
    settings: Settings

    async def digest(self, model: str = "default") -> str:
        """The state digest, which changes with anything the fold keeps."""
        replica = await self.hub.get(model)
        return replica.require_model().state_digest()


@asynccontextmanager
async def running(redis_url: str, folder: Path, **settings: Any) -> AsyncIterator[Service]:
    """A service on `redis_url` with a small `default`; settings as flags."""
    flags = {"redis_url": redis_url, "data_dir": folder / "data", **settings}
    loaded = load_settings(**flags)
    loaded.data_dir.mkdir(parents=True, exist_ok=True)
    connections = RedisConnections.from_url(redis_url)
    hub = Hub(loaded, connections)
    app = create_app(loaded, hub)
    try:
        await hub.start(SMALL)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
            yield Service(app, hub, client, loaded)
    finally:
        await hub.close()
        await connections.aclose()
        app.state.snapshots.close()


@dataclass
class RawReply:
    """What the application sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def raw_request(
    app: FastAPI,
    method: str,
    path: str,
    *,
    raw_path: bytes | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    pieces: Iterable[Message] = (),
) -> RawReply:
    """One request message by message; after the pieces given the client is gone."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode() if raw_path is None else raw_path,
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
        "client": ("127.0.0.1", 4711),
        "server": ("127.0.0.1", 8000),
    }
    waiting = iter(pieces)
    reply = RawReply()

    async def receive() -> Message:
        return next(waiting, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            reply.headers = {n.decode().lower(): v.decode() for n, v in message["headers"]}
        else:
            reply.body += message.get("body", b"")

    await app(scope, receive, send)
    return reply


def chunks(*parts: bytes) -> list[Message]:
    """The messages of a body that arrives in these parts."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    return messages
