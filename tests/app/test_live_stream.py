"""The live stream: its lines, its bounds, and that it never outlives anything."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app import live_stream
from tests.app.http_service import Service, raw_request, running

PATH = "/stats/stream"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_stream, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(live_stream, "TICK_SECONDS", 0.01)


@pytest.fixture
async def service(redis_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    async with running(redis_url, tmp_path) as service:
        yield service


class Open:
    """An open stream: its pieces as they come, and the client that can go."""

    def __init__(self, app: FastAPI, path: str) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.task = asyncio.create_task(self._run(app, path))

    async def _run(self, app: FastAPI, path: str) -> None:
        scope = {
            "type": "http", "method": "GET", "scheme": "http", "path": path, "root_path": "",
            "raw_path": path.encode(), "query_string": b"", "headers": [], "http_version": "1.1",
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "asgi": {"version": "3.0"},
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if body := message.get("body"):
                self.pieces.put_nowait(body)

        await app(scope, receive, send)

    async def line(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(await asyncio.wait_for(self.pieces.get(), 10))
        return read

    async def ended(self) -> None:
        await asyncio.wait_for(self.task, 10)


@asynccontextmanager
async def opened(app: FastAPI, path: str = PATH) -> AsyncIterator[Open]:
    stream = Open(app, path)
    try:
        yield stream
    finally:
        stream.gone.set()
        await stream.ended()


async def learn(service: Service, count: int) -> None:
    examples = [{"label": int(i % 3 == 0), "features": {"a": str(i % 7)}} for i in range(count)]
    reply = await service.client.post("/learn", json={"examples": examples})
    assert reply.status_code == 200


async def test_lines_tell_what_stats_tells(service: Service) -> None:
    async with opened(service.app) as stream:
        assert (await stream.line())["examples"] == 0
        await learn(service, 300)
        line = await stream.line()
        while not line["examples"]:
            line = await stream.line()
        stats = (await service.client.get("/stats")).json()
        for name in ("model", "position", "examples", "duplicates", "window", "durability"):
            assert line[name] == stats[name], name
        for name in ("log_loss", "auc", "normalized_entropy", "calibration", "base_rate_log_loss"):
            assert line["whole"][name] == stats[name], name
        assert line["learn_per_second"] > 0
        assert line["latency"]["learn"]["p50_ms"] > 0
        assert line["latency"]["predict"] == dict.fromkeys(("p50_ms", "p95_ms", "p99_ms"))
        assert [one["position"] for one in line["replicas"]] == [stats["position"]]
        assert line["log"]["lag_entries"] == 0


async def test_all_who_listen_get_the_same_line(service: Service) -> None:
    async with opened(service.app) as one, opened(service.app) as other:
        first = [await one.line() for _ in range(3)]
        second = [await other.line() for _ in range(3)]
        shared = [line for line in first if line in second]
        assert len(shared) >= 2
        assert service.app.state.streams.open == 2
    assert service.app.state.streams.open == 0
    assert not service.app.state.streams._channels


async def test_it_ends_after_the_seconds_asked_for(service: Service) -> None:
    reply = await service.client.get(PATH, params={"seconds": "0.2"})
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert 1 <= len(reply.text.splitlines()) <= 6
    for bad in ("0", "-1", "x", "nan", "1e9"):
        assert (await service.client.get(PATH, params={"seconds": bad})).status_code == 422


async def test_it_ends_when_the_service_stops(service: Service) -> None:
    streams = service.app.state.streams
    stopping = False
    streams.stopping = lambda: stopping
    async with opened(service.app) as stream:
        await stream.line()
        stopping = True
        await stream.ended()
    assert (await service.client.get(PATH)).status_code == 503


async def test_it_ends_when_its_model_is_deleted(service: Service) -> None:
    await service.client.put("/models/ads", json={"table_bits": 10})
    async with opened(service.app, "/models/ads/stats/stream") as stream:
        assert (await stream.line())["model"] == "ads"
        assert (await service.client.delete("/models/ads")).status_code < 300
        await stream.ended()


async def test_only_so_many_are_open(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_stream, "STREAMS_MAX", 1)
    async with opened(service.app) as stream:
        await stream.line()
        refused = await service.client.get(PATH)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/busy")


async def test_a_head_ends_at_once(service: Service) -> None:
    began = time.monotonic()
    reply = await raw_request(service.app, "HEAD", PATH)
    assert (reply.status, reply.body) == (200, b"")
    assert time.monotonic() - began < 5
