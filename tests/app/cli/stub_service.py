"""A small HTTP server that speaks the service's contract, and fails in the ways it promises to.

The "model" is the running base rate, which makes every prediction easy to compute in a test. Faults
are taken from a list, one a request: an answer to give in place of the work, or LOSE, which does
the work and then closes the connection without an answer, as a crash after the append would.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOSE = "lose the answer"


@dataclass(frozen=True)
class Refusal:
    """An answer in place of the work."""

    status: int
    problem: dict[str, Any]
    retry_after: int | None = None


@dataclass
class StubService:
    """What the stub knows; tests read and change it between requests."""

    url: str = ""
    learned: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, bytes] = field(default_factory=dict)
    event_ids: set[str] = field(default_factory=set)
    faults: list[Refusal | str] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    refused_name: str = "refused"  # an example with a feature of this name is answered with 422
    examples_max: int = 10_000  # more of them are answered with 413 and no row

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Refusal:
        """The status and document for a request."""
        self.requests.append((method, path, headers, body))
        if path.endswith("/learn"):
            return self._learn(headers.get("idempotency-key", ""), body)
        if path.endswith("/predict"):
            rows = self._checked(body)
            if isinstance(rows, Refusal):
                return rows
            rates = [0.25 + 0.5 * ("x" in row["features"]) for row in rows]
            return Refusal(200, {"model": "m", "position": "1-1", "predictions": rates})
        if path.endswith("/stats"):
            digest = f"digest-of-{len(self.learned)}"
            return Refusal(200, {"model": "m", "position": "1-1", "digest": digest})
        if path == "/models":
            return Refusal(200, {"models": [{"model": "default"}, {"model": "other"}]})
        if path.endswith("/missing"):
            return Refusal(404, {"title": "Not found", "status": 404, "detail": "no such model"})
        return Refusal(200, {"method": method, "path": path, "body": body.decode()})

    def _learn(self, key: str, body: bytes) -> Refusal:
        rows = self._checked(body)
        if isinstance(rows, Refusal):
            return rows
        repeated = key in self.keys
        if self.keys.setdefault(key, body) != body:
            return Refusal(422, {"detail": "same key, other body"})
        predictions: list[float | None] = []
        for row in rows:
            known = repeated or row.get("id") in self.event_ids
            predictions.append(None if known else self._rate())
            if not known:
                self.learned.append(row)
                if "id" in row:
                    self.event_ids.add(row["id"])
        accepted = sum(p is not None for p in predictions)
        return Refusal(
            200,
            {
                "model": "m",
                "position": f"1-{len(self.learned)}",
                "accepted": accepted,
                "duplicates": len(rows) - accepted,
                "durability": "fsync",
                "predictions": predictions,
            },
        )

    def _rate(self) -> float:
        clicks = sum(row["label"] for row in self.learned)
        return float((clicks + 0.5) / (len(self.learned) + 1))

    def _checked(self, body: bytes) -> list[dict[str, Any]] | Refusal:
        rows = [json.loads(line) for line in body.splitlines()]
        if len(rows) > self.examples_max:
            return Refusal(413, {"detail": "too many examples"})
        for index, row in enumerate(rows):
            if self.refused_name in row["features"]:
                return Refusal(422, {"detail": "a name is refused", "row": index})
        return rows


@contextmanager
def running_stub() -> Iterator[StubService]:
    """A stub that listens on a free port while the context lasts."""
    service = StubService()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fault = service.faults.pop(0) if service.faults else None
            if isinstance(fault, Refusal):
                answer = fault
            else:
                answer = service.answer(self.command, self.path, headers, body)
            if fault == LOSE:
                self.close_connection = True
                return
            content = json.dumps(answer.problem).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(content)))
            if answer.retry_after is not None:
                self.send_header("Retry-After", str(answer.retry_after))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
