"""Hostile requests to the ASGI application in process, over a real server.

Each is answered once: by what was asked for, or by a problem of the catalogue that repeats nothing
of the request. The application stands here twice over one hub, open and with keys; the second may
say nothing but 401 to who has none. At the end the models have learned what was acknowledged and
nothing else, no memory of a body is held, and the process has not grown.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec.json
from fastapi import FastAPI

from app.embedded_server import EmbeddedServer
from app.main import create_app
from app.problems import CATALOGUE
from app.route_table import match_path
from app.settings import load_settings
from scripts.attack_run.hostile import MARK
from scripts.attack_run.memory import Memory
from scripts.attack_run.requests import LONG_RUN, MODELS, Asked, Requests, bodies_of_names
from tests.app.http_service import SMALL, Service, running

AT_ONCE = 16
FAULTS_SHOWN = 10
LATE_SECONDS = 1.0
SAMPLES = 60
KEY = "a-key-that-nobody-presents"
Message = dict[str, Any]


class Reply:
    """What came back."""

    def __init__(self) -> None:
        self.starts = 0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.seconds = 0.0


async def answered(app: FastAPI, asked: Asked) -> Reply:
    """The application's reply to a request."""
    raw_path = asked.path.encode("utf-8", "surrogatepass")
    headers = asked.headers
    if not any(name == b"host" for name, _ in headers):
        headers = [(b"host", b"127.0.0.1:8000"), *headers]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": asked.method, "scheme": "http", "path": asked.path, "raw_path": raw_path,
        "query_string": asked.query, "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 4711), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    parts = [{"type": "http.request", "body": piece, "more_body": True} for piece in asked.pieces]
    if not asked.leaves:
        parts[-1]["more_body"] = False
    waiting, reply = iter(parts), Reply()

    async def receive() -> Message:
        return next(waiting, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            reply.starts += 1
            reply.status = message["status"]
            reply.headers = {name.lower(): value for name, value in message["headers"]}
        else:
            reply.body += message.get("body", b"")

    began = time.perf_counter()
    await app(scope, receive, send)
    reply.seconds = time.perf_counter() - began
    return reply


def fault_of(asked: Asked, reply: Reply) -> str | None:
    """What is wrong with a reply, whatever the request."""
    if reply.starts == 0 and asked.leaves:
        return None
    if reply.starts != 1:
        return f"{reply.starts} replies"
    length = reply.headers.get(b"content-length")
    if length is not None and int(length) != len(reply.body) and asked.method != "HEAD":
        return "another length than it says"
    if any(MARK.encode() in value for value in reply.headers.values()):
        return "an echo in a header"
    if reply.status < 400 or asked.method == "HEAD":
        return None
    if reply.status >= 500 and reply.status != 503:
        return f"status {reply.status}"
    return _fault_of_problem(reply)


def _fault_of_problem(reply: Reply) -> str | None:
    if b"ready" in reply.body[:20] or reply.headers.get(b"content-type", b"").startswith(b"text/"):
        return None  # a probe, a page
    try:
        problem = msgspec.json.decode(reply.body)
        slug = problem["type"].removeprefix("/problems/")
    except (ValueError, KeyError, TypeError):
        return "no problem document"
    problem.pop("pointer", None)
    if MARK in str(problem) or len(reply.body) > 1500:
        return "an echo"
    if slug not in CATALOGUE:
        return f"a problem that is not in the catalogue: {slug}"
    return None if problem["status"] == reply.status else "another status than it says"


class Application:
    """The run."""

    def __init__(self, service: Service, keyed: FastAPI, seed: int) -> None:
        self._service, self._keyed = service, keyed
        self._requests = Requests(random.Random(seed))
        self.statuses: Counter[int] = Counter()
        self.faults: list[str] = []
        self.learned: Counter[str] = Counter()
        self.asked = 0
        self.longest_seconds = 0.0
        self.longest: Asked | None = None

    async def fill_names(self) -> None:
        """Tell the models as many names as they keep."""
        kind = [(b"content-type", b"application/json")]
        for model in MODELS:
            for body in bodies_of_names():
                content = msgspec.json.encode(body)
                await self._ask(Asked("POST", f"/models/{model}/learn", b"", kind, (content,)))

    async def run(self, count: int, memory: Memory) -> None:
        """So many requests, several at once."""
        every = max(1, count // AT_ONCE // SAMPLES)
        for turn in range(count // AT_ONCE):
            await asyncio.gather(*(self._ask(self._requests.next()) for _ in range(AT_ONCE)))
            if turn % every == 0:
                memory.sample(turn * AT_ONCE)

    async def _ask(self, asked: Asked) -> None:
        try:
            reply = await answered(self._service.app, asked)
            fault = fault_of(asked, reply)
            self.statuses[reply.status] += 1
            if reply.seconds > self.longest_seconds:
                self.longest_seconds, self.longest = reply.seconds, asked
            if reply.status == 200 and asked.path.endswith("/learn"):
                self._count(reply)
            fault = fault or await self._without_key(asked)
        except Exception as error:  # noqa: BLE001  that is the finding
            fault = f"{type(error).__name__}: {error!s:.200}"
        self.asked += 1
        if fault is not None:
            self.faults.append(f"{fault}: {asked!r:.600}")

    async def _without_key(self, asked: Asked) -> str | None:
        """The same of the service with keys, for who has none."""
        match = match_path(asked.path)
        method = "GET" if asked.method == "HEAD" else asked.method
        if match is not None and match.route.scopes.get(method, "") is None:
            return None  # a probe
        reply = await answered(self._keyed, asked)
        return None if reply.status == 401 else f"{reply.status} without a key"

    def _count(self, reply: Reply) -> None:
        told = msgspec.json.decode(reply.body)
        self.learned[told["model"]] += told["accepted"]
        if "predictions" in told:
            assert len(told["predictions"]) == told["accepted"] + told["duplicates"]

    async def settle(self) -> None:
        """Compare what was acknowledged with what is there."""
        for model in MODELS:
            replica = await self._service.hub.get(model)
            examples = replica.require_model().examples
            if examples != self.learned[model]:
                self.faults.append(f"{model}: {examples} learned, {self.learned[model]} told")
        held = self._service.app.state.reader.in_flight_bytes
        if held:
            self.faults.append(f"{held} bytes of bodies are still held")


async def _attack(count: int, seed: int, folder: Path) -> dict[str, Any]:
    with EmbeddedServer.start(folder / "redis", "bundled", "fsync") as server:
        async with running(server.url, folder, memory_limit=64 << 20) as service:
            for model in MODELS[1:]:
                await service.hub.create(model, dict(SMALL))
            keyed = load_settings(
                redis_url=server.url, data_dir=folder / "data", keys=f"ops admin * {KEY}"
            )
            app = create_app(keyed, service.hub)
            run = Application(service, app, seed)
            try:
                if count >= LONG_RUN:
                    await run.fill_names()
                memory = Memory(os.getpid())
                await run.run(count, memory)
                await run.settle()
            finally:
                app.state.snapshots.close()
    if count >= LONG_RUN and memory.grows():
        run.faults.append("the process grows")
    return {
        "run": "attack application",
        "seed": seed,
        "requests": run.asked,
        "statuses": {str(status): run.statuses[status] for status in sorted(run.statuses)},
        "learned": dict(run.learned),
        "memory": memory.report(),
        "longest_ms": round(1000 * run.longest_seconds, 1),
        "longest": f"{run.longest!r:.300}",
        "faults": len(run.faults),
        "first_faults": run.faults[:FAULTS_SHOWN],
    }


def attack(count: int, seed: int) -> dict[str, Any]:
    """The whole run; its report."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clickfold-attack-") as folder:
        report = asyncio.run(_attack(count, seed, Path(folder)))
    report["seconds"] = round(time.monotonic() - began, 1)
    report["passed"] = not report["faults"]
    return report
