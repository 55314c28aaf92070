"""Hostile bytes to a service process over real sockets.

Several connections at once take case after case, each kept as long as the server keeps it. After
every case that leaves it open the next one shows that the two sides agree where they are, since
each reply is read strictly and belongs to one request. In the end the models have learned what was
acknowledged, `smuggled` has learned nothing, and the process has not grown.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec.json

from scripts.acceptance.service import Service
from scripts.attack_run.cases import Case, Cases
from scripts.attack_run.memory import Memory
from scripts.attack_run.requests import LONG_RUN, bodies_of_names
from scripts.attack_run.wire import HEAD_MAX, BadReply, Reply, read_reply

LANES = 6
LATE_SECONDS = 1.0
GIVE_UP_SECONDS = 20.0
FAULTS_SHOWN = 10
SAMPLES = 100
SMALL = {"table_bits": 12, "deduplication_window": 4096}
MODELS = ("other", "still", "smuggled", "lost")
TAUGHT = ("default", "other", "still")
_REFUSALS = frozenset({400, 404, 405, 408, 413, 415, 421, 422, 431, 501})


class Sockets:
    """The run."""

    def __init__(self, port: int, seed: int, count: int, memory: Memory) -> None:
        self._port, self._count, self._memory = port, count, memory
        self._cases = Cases(random.Random(seed))
        self.sent = 0
        self.cases: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.learned: Counter[str] = Counter()
        self.twins_compared = 0
        self.late = 0
        self.longest_seconds = 0.0
        self.faults: list[str] = []

    async def run(self) -> None:
        """All lanes until enough was sent."""
        await asyncio.gather(*(self._lane() for _ in range(LANES)))

    async def _lane(self) -> None:
        connection: Connection | None = None
        while self.sent < self._count:
            case = self._cases.next()
            if connection is None:
                connection = await Connection.open(self._port)
            began = time.monotonic()
            try:
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    fault = await self._exchange(connection, case)
            except TimeoutError:
                fault = "no reply, and no end"
            except (BadReply, AssertionError) as error:
                fault = f"{type(error).__name__}: {error}"
            except OSError as error:
                fault = None if case.verdict in ("broken", "wild", "left") else f"{error!r}"
                connection.is_over = True
            self._note(case, fault, time.monotonic() - began)
            if connection.is_over or fault is not None:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _note(self, case: Case, fault: str | None, seconds: float) -> None:
        before = self.sent
        self.sent += max(1, case.requests + bool(case.first))
        self.cases[case.name if case.verdict == "broken" else case.verdict] += 1
        if not case.slowly:
            self.longest_seconds = max(self.longest_seconds, seconds)
            self.late += seconds > LATE_SECONDS
        if fault is not None:
            self.faults.append(f"{case.name}: {fault}: {case.content[:500]!r}")
        every = max(1, self._count // SAMPLES)
        if before // every != self.sent // every:
            self._memory.sample(self.sent)

    async def _exchange(self, connection: Connection, case: Case) -> str | None:
        first = await connection.first(case) if case.first else None
        if first is not None:
            self._count_reply(first)
        await connection.write(case)
        if case.verdict == "left":
            connection.is_over = True
            return None
        if case.verdict in ("good", "twins"):
            return await self._answered(connection, case, first)
        replies: list[Reply] = []
        if case.verdict == "broken":  # who writes no more is taken for gone, so these come first
            replies += await connection.next(case.requests)
        connection.end_writing()
        replies += await connection.rest(case)
        connection.is_over = True
        for reply in replies:
            self._count_reply(reply)
        return _fault_of_end(case, replies)

    async def _answered(
        self, connection: Connection, case: Case, first: Reply | None
    ) -> str | None:
        replies: list[Reply] = []
        for place in range(case.requests):
            reply = await read_reply(connection.reader, place in case.heads)
            if reply is None:
                return f"closed after {len(replies)} replies of {case.requests}"
            self._count_reply(reply)
            replies.append(reply)
            if reply.status >= 500 and reply.status != 503:
                return f"status {reply.status}"
            connection.is_over = reply.closes
        if first is not None:
            self.twins_compared += 1
            if any(_without_position(one) != _without_position(first) for one in replies):
                return f"the direct way differs: {first} {replies}"
        return None

    def _count_reply(self, reply: Reply) -> None:
        self.statuses[reply.status] += 1
        if reply.status == 200 and b'"accepted":' in reply.body:
            told = msgspec.json.decode(reply.body)
            self.learned[told["model"]] += told["accepted"]


def _without_position(reply: Reply) -> object:
    """A reply without what others change meanwhile: `default` learns between the twins."""
    status, fields, body = reply.compared()
    if status != 200 or b'"model":"still"' in body:
        return status, fields, body
    document = msgspec.json.decode(body)
    return status, document.keys(), len(document.get("predictions", ()))


def _fault_of_end(case: Case, replies: list[Reply]) -> str | None:
    """What is wrong with all that came before the end of the connection."""
    statuses = [reply.status for reply in replies]
    if any(status >= 500 and status not in (501, 503) for status in statuses):
        return f"statuses {statuses}"
    if len(replies) > case.requests + 1:
        return f"{len(replies)} replies"
    if case.verdict == "broken" and statuses[: case.requests] != [200] * case.requests:
        return f"a request in order was not answered: {statuses}"
    if case.verdict == "broken" and not set(statuses[case.requests :]) <= _REFUSALS | {200}:
        return f"no refusal: {statuses}"
    return None


class Connection:
    """A connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self._writer = reader, writer
        self.is_over = False

    @staticmethod
    async def open(port: int) -> Connection:
        """A new one."""
        return Connection(*await asyncio.open_connection("127.0.0.1", port, limit=HEAD_MAX))

    async def first(self, case: Case) -> Reply:
        """Send the first request of a case, and wait for its reply."""
        self._writer.write(case.first)
        reply = await read_reply(self.reader)
        if reply is None:
            raise BadReply("closed before the first reply")
        return reply

    async def write(self, case: Case) -> None:
        """Send the pieces of a case."""
        for piece in case.pieces:
            self._writer.write(piece)
            await self._writer.drain()
            if len(case.pieces) > 1:
                await asyncio.sleep(0.02 if case.slowly else 0)

    async def next(self, count: int) -> list[Reply]:
        """So many replies, or fewer where the end comes first."""
        replies = []
        while len(replies) < count and (reply := await read_reply(self.reader)) is not None:
            replies.append(reply)
        return replies

    def end_writing(self) -> None:
        """Send no more."""
        self._writer.write_eof()

    async def rest(self, case: Case) -> list[Reply]:
        """All replies up to the end. A HEAD among damaged requests is not known to us, so its
        reply may look like half of one."""
        replies: list[Reply] = []
        try:
            while (reply := await read_reply(self.reader)) is not None:
                replies.append(reply)
        except BadReply:
            if b"HEAD" not in case.content:
                raise
        except ConnectionError:  # we had more to send than it wanted to hear
            pass
        return replies

    def close(self) -> None:
        """Be gone."""
        self._writer.transport.abort()


def _attack(count: int, seed: int, folder: Path) -> dict[str, Any]:
    data = folder / "data"
    with Service(data, "--config", json.dumps(SMALL)) as service:
        for model in MODELS:
            service.json("PUT", f"/models/{model}", SMALL, 201)
        names = list(bodies_of_names()) if count >= LONG_RUN else []
        for model in TAUGHT:
            for body in names:
                service.json("POST", f"/models/{model}/learn?predictions=false", body)
        memory = Memory(service.process.pid)
        run = Sockets(service.port, seed, count, memory)
        asyncio.run(run.run())
        faults = run.faults
        for model in ("default", *MODELS):
            examples = service.json("GET", f"/models/{model}/stats")["examples"]
            told = run.learned[model] + (len(names) if model in TAUGHT else 0)
            if examples != told and model != "lost":
                faults.append(f"{model}: {examples} learned, {told} acknowledged")
        log = data.with_suffix(".log").read_text(errors="replace")
        faults += [line for line in log.splitlines() if "failed" in line or "unforeseen" in line]
        if count >= LONG_RUN and memory.grows():
            faults.append("the process grows")
    return {
        "run": "attack sockets",
        "seed": seed,
        "requests": run.sent,
        "cases": sum(run.cases.values()),
        "kinds": dict(sorted(run.cases.items())),
        "statuses": {str(status): run.statuses[status] for status in sorted(run.statuses)},
        "learned": dict(run.learned),
        "twins_compared": run.twins_compared,
        "later_than_a_second": run.late,
        "longest_ms": round(1000 * run.longest_seconds, 1),
        "memory": memory.report(),
        "faults": len(faults),
        "first_faults": faults[:FAULTS_SHOWN],
    }


def attack(count: int, seed: int) -> dict[str, Any]:
    """The whole run; its report."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="clickfold-attack-") as folder:
        report = _attack(count, seed, Path(folder))
    report["seconds"] = round(time.monotonic() - began, 1)
    report["passed"] = not report["faults"]
    return report
