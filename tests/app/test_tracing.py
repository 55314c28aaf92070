"""Traces: a span a request and a group, and in them nothing of what a client said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.tracing import TRACING, Tracing, is_wanted
from ftrl_core.errors import BadConfig
from tests.app.http_service import running

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = {"examples": [{"label": 1, "features": {"secret-feature": "secret-value"}}]}


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """What the process' tracer sends to, while it is on."""
    kept = InMemorySpanExporter()
    TRACING.start(kept)
    yield kept
    TRACING.stop()


async def spans_of(exporter: InMemorySpanExporter, count: int) -> list[ReadableSpan]:
    """So many spans, when they have come."""
    await asyncio.to_thread(TRACING._provider.force_flush)
    spans = list(exporter.get_finished_spans())
    assert len(spans) == count, [span.name for span in spans]
    return spans


async def test_a_span_a_request_and_a_group(
    redis_url: str, tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    async with running(redis_url, tmp_path) as service:
        traced = httpx2.ASGITransport(TRACING.traced(service.app))
        async with httpx2.AsyncClient(transport=traced, base_url="http://127.0.0.1") as client:
            await client.post("/learn", json=BODY, headers={"traceparent": PARENT})
            await client.post("/models/none/predict?secret-query=1", json=BODY)
            await client.request("SECRET", "/secret-path")
        spans = await spans_of(exporter, 5)
    by_name = {span.name: span for span in spans}
    learn = by_name["POST /learn"]
    assert learn.parent is not None
    assert learn.context is not None
    assert f"{learn.context.trace_id:032x}" == PARENT.split("-")[1]
    assert dict(learn.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/learn",
        "http.response.status_code": 200,
        "clickfold.model": "default",
    }
    assert dict(by_name["log.append"].attributes or {}) == {"clickfold.model": "default"}
    assert "log.fold" in by_name
    missing = by_name["POST /models/{model}/predict"].attributes or {}
    assert missing["http.response.status_code"] in (404, 422)
    assert (by_name["other unknown"].attributes or {})["http.response.status_code"] == 404
    assert not any("secret" in span.to_json().lower() for span in spans)


def test_spans_reach_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_given: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert not is_wanted()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        assert is_wanted()
        tracing = Tracing()
        tracing.start()
        with tracing.stage("log.append", "ads"):
            pass
        tracing.stop()
        server.shutdown()
    assert b"log.append" in b"".join(received)
    assert b"clickfold" in b"".join(received)


def test_off_is_nothing() -> None:
    tracing = Tracing()
    with tracing.stage("log.append", "default") as span:
        assert span is None
    assert not tracing.is_on
    tracing.stop()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(BadConfig, match="otel"):
        Tracing().start()
