"""Traces for OpenTelemetry (extra `otel`), for who runs a collector.

    POST /learn          one span a request, the caller's child if it sent `traceparent`
    log.append           one span a group, however many requests are in it
    log.fold             the same; both name the model

On when OTEL_EXPORTER_OTLP_ENDPOINT is set, or that of traces alone; the standard's other variables
(OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS ...) are the SDK's to read. Off
costs a group two calls of nothing. On, requests do not take the short way (`direct_path`), because
it has no headers to look at: a prediction costs several times as much.

Spans are named by the route's template and say status, model and method: no path, no query, no
header, nothing of a body.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.request_meter import METHODS
from app.route_table import UNKNOWN, match_path
from ftrl_core.errors import BadConfig

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SERVICE = "clickfold"
ERROR = 500
_OFF: AbstractContextManager[None] = nullcontext()


def is_wanted() -> bool:
    """Whether the environment names a collector."""
    return any(os.environ.get(name) for name in ENDPOINTS)


class Tracing:
    """The tracer of a process, or none; `exporter` is the SDK's own for HTTP if not given."""

    def __init__(self) -> None:
        self._tracer: Any = None
        self._provider: Any = None

    def start(self, exporter: Any = None) -> None:
        """Begin to trace. Raises BadConfig where the extra is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise BadConfig("traces are wanted, and need the extra: clickfold[otel]") from None
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE}
        self._provider = TracerProvider(resource=Resource.create(named))
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE)

    def stop(self) -> None:
        """Send what is left, for some seconds at most, and trace no more."""
        if self._provider is not None:
            self._provider.shutdown()
        self._tracer = self._provider = None

    @property
    def is_on(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    def stage(self, name: str, model: str) -> AbstractContextManager[Any]:
        """A span of the log's work, for a `with`."""
        if self._tracer is None:
            return _OFF
        span: AbstractContextManager[Any] = self._tracer.start_as_current_span(
            name, attributes={"clickfold.model": model}
        )
        return span

    def traced(self, app: ASGIApp) -> ASGIApp:
        """The application with a span around each request."""
        from opentelemetry import trace
        from opentelemetry.propagate import extract

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            carrier = {name.decode("latin-1"): value.decode("latin-1")
                       for name, value in scope["headers"]
                       if name in (b"traceparent", b"tracestate")}  # fmt: skip
            match = match_path(scope["path"])
            template = match.route.template if match is not None else UNKNOWN
            method = scope["method"] if scope["method"] in METHODS else "other"
            attributes = {"http.request.method": method, "http.route": template}
            if match is not None and match.model is not None:
                attributes["clickfold.model"] = match.model
            with self._tracer.start_as_current_span(
                f"{method} {template}",
                context=extract(carrier),
                kind=trace.SpanKind.SERVER,
                attributes=attributes,
            ) as span:

                async def sent(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        if message["status"] >= ERROR:
                            span.set_status(trace.StatusCode.ERROR)
                    await send(message)

                await app(scope, receive, sent)

        return traced


TRACING = Tracing()  # of the process, as a logger is
