"""Clients that retry at full speed: with keys nothing is doubled, with bare ids what the rule says.

    python -m scripts.acceptance.retries --seconds 60 --seed 1

keys   Every request has an Idempotency-Key and is sent until it is acknowledged. Some connections
       are closed before the answer is read, and some acknowledged requests are sent again, at once
       or much later. Each key must be learned exactly once.
ids    Every example has an id and the model remembers few (WINDOW); ids are sent again at distances
       up to four windows. The documented rule: the last WINDOW ids that were learned are known, in
       the order of the log; an id that is not among them counts again. tests/oracle/window.py, a
       deque and a dict, says for each row of the log which it is, and each reply must agree, row by
       row. The ids counted more than once are reported.

Verdicts are computed from the log as Redis holds it, read by tests/oracle/payload.py.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.embedded_server import EmbeddedServer
from app.event_log import EventLog, LogEntry
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from ftrl_core.hashing import event_id_hash
from ftrl_core.position import START
from scripts.acceptance.service import Service
from tests.oracle.payload import Examples, read
from tests.oracle.window import LEARN, PlainWindow

CLIENTS = 6
ROWS_MAX = 20
WINDOW = 2000
KEPT = 200  # acknowledged requests that a client may send again
CONFIG = {"table_bits": 12}
Example = dict[str, Any]


async def read_log(url: str) -> list[LogEntry]:
    """Every entry of `default`, from the first."""
    connections = RedisConnections.from_url(url)
    try:
        log, entries, after = EventLog(connections, ModelKeys("ctr", "default")), [], START
        while chunk := await log.read(after):
            entries += chunk
            after = chunk[-1].position
        return entries
    finally:
        await connections.aclose()


@dataclass
class Journal:
    """What one client sent and was told."""

    acknowledged: int = 0  # rows of distinct requests
    repeats: int = 0  # acknowledged requests sent again
    unread: int = 0  # answers not waited for
    faults: list[str] = field(default_factory=list)
    learned: dict[str, list[bool]] = field(default_factory=dict)  # by a request's first id


class Client(threading.Thread):
    """Sends requests one after the other until told to stop; subclasses say what and how often."""

    def __init__(self, number: int, seed: int, port: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.random = random.Random(f"{seed}-{number}")
        self.number, self.journal = number, Journal()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._stop_asked = stop
        self._count = 0

    def run(self) -> None:
        while not self._stop_asked.is_set():
            self._count += 1
            self.step()
        self._connection.close()

    def step(self) -> None:
        """One new request, and what is sent again after it."""
        raise NotImplementedError

    def example(self) -> Example:
        """A random labelled example."""
        features = {"user": f"u{self.random.randrange(999)}", "ad": f"a{self.random.randrange(99)}"}
        return {"label": int(self.random.random() < 0.2), "features": features}

    def post(self, examples: list[Example], key: str | None = None) -> dict[str, Any] | None:
        """The reply; None when the connection ended before it, or it was a 503."""
        self.send(examples, key)
        try:
            reply = self._connection.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None
        if reply.status not in (200, 503):
            self.journal.faults.append(f"status {reply.status}: {content[:200]!r}")
        told: dict[str, Any] = json.loads(content)
        return told if reply.status == 200 else None

    def send(self, examples: list[Example], key: str | None) -> None:
        """Send a request without waiting for the answer."""
        body = json.dumps({"examples": examples})
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        self._connection.request("POST", "/learn", body, headers)


class KeyClient(Client):
    """Every request under a key of its own, retried until acknowledged."""

    def __init__(self, number: int, seed: int, port: int, stop: threading.Event) -> None:
        super().__init__(number, seed, port, stop)
        self._old: list[tuple[str, list[Example]]] = []

    def step(self) -> None:
        draw, journal = self.random, self.journal
        key = f"{self.number}:{self._count}"
        examples = [self.example() for _ in range(draw.randint(1, ROWS_MAX))]
        while draw.random() < 0.3:
            self.send(examples, key)
            self._connection.close()
            journal.unread += 1
        while self.post(examples, key) is None:
            pass
        journal.acknowledged += len(examples)
        self._old = [*self._old[-KEPT:], (key, examples)]
        while draw.random() < 0.5:
            key, examples = self._old[-1] if draw.random() < 0.5 else draw.choice(self._old)
            told = self.post(examples, key)
            journal.repeats += 1
            if told is not None and told["duplicates"] != len(examples):
                journal.faults.append(f"{key} again: {told}")


class IdClient(Client):
    """Bare ids, some of them again at every distance around the window."""

    def __init__(self, number: int, seed: int, port: int, stop: threading.Event) -> None:
        super().__init__(number, seed, port, stop)
        self._ids: list[str] = []

    def step(self) -> None:
        draw, journal = self.random, self.journal
        first = f"{self.number}:{self._count}"
        ids = [first]
        for row in range(draw.randint(0, ROWS_MAX)):
            # Others learn as many meanwhile: a distance here is CLIENTS times that in the log.
            back = draw.randint(1, 4 * WINDOW // CLIENTS)
            again = draw.random() < 0.5 and back <= len(self._ids)
            ids.append(self._ids[-back] if again else f"{first}:{row}")
        told = self.post([{**self.example(), "id": one} for one in ids])
        if told is None:
            journal.faults.append(f"{first}: no answer")
            return
        journal.learned[first] = [p is not None for p in told["predictions"]]
        journal.repeats += len(ids) - len({*ids} - {*self._ids})
        self._ids = [*self._ids, *ids][-4 * WINDOW :]


def run_clients(kind: type[Client], seed: int, port: int, seconds: float) -> list[Journal]:
    """Clients at full speed for so long; their journals."""
    stop = threading.Event()
    clients = [kind(number, seed, port, stop) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(seconds)
    stop.set()
    for client in clients:
        client.join(60)
    return [client.journal for client in clients]


def learn(
    kind: type[Client], given: argparse.Namespace, config: dict[str, Any]
) -> tuple[list[Journal], dict[str, Any], list[Examples]]:
    """Run a service under such clients: journals, /stats, and the log afterwards."""
    environment = {
        "CLICKFOLD_TRIM": "false",
        "CLICKFOLD_LOG_BYTES_MAX": "8GiB",
        "CLICKFOLD_CONFIG": json.dumps(config),
    }
    with tempfile.TemporaryDirectory(prefix="clickfold-accept-") as folder:
        data = Path(folder, "data")
        with Service(data, **environment) as service:
            journals = run_clients(kind, given.seed, service.port, given.seconds)
            stats = service.json("GET", "/stats")
        with EmbeddedServer.start(data) as server:
            entries = asyncio.run(read_log(server.url))
    contents = [read(entry.payload) for entry in entries]
    return journals, stats, [c for c in contents if isinstance(c, Examples)]


def with_keys(given: argparse.Namespace) -> dict[str, Any]:
    """The part with keys."""
    journals, stats, entries = learn(KeyClient, given, CONFIG)
    window, learned, sent = PlainWindow(1 << 20), Counter[int](), 0
    for entry in entries:
        verdicts = iter(window.judge(requests_of(entry), [row.event_id for row in entry.rows]))
        for request in entry.requests:
            rows = [next(verdicts) for _ in range(request.rows)]
            learned[request.key] += rows.count(LEARN)
            sent += request.rows
    acknowledged = sum(journal.acknowledged for journal in journals)
    faults = [fault for journal in journals for fault in journal.faults]
    return {
        "requests_sent_again": sum(journal.repeats for journal in journals),
        "answers_not_read": sum(journal.unread for journal in journals),
        "rows_in_the_log": sent,
        "rows_acknowledged_once": acknowledged,
        "rows_learned_by_the_oracle": sum(learned.values()),
        "rows_learned_by_the_service": stats["examples"],
        "faults": faults[:5],
        "passed": not faults
        and acknowledged == sum(learned.values()) == stats["examples"] > 0
        and sent > acknowledged,
    }


def with_ids(given: argparse.Namespace) -> dict[str, Any]:
    """The part with bare ids."""
    config = {**CONFIG, "deduplication_window": WINDOW}
    journals, stats, entries = learn(IdClient, given, config)
    told = {event_id_hash(f, 0): rows for j in journals for f, rows in j.learned.items()}
    window, learned, rows_wrong = PlainWindow(WINDOW), Counter[int](), 0
    for entry in entries:
        ids = [row.event_id for row in entry.rows]
        verdicts = window.judge(requests_of(entry), ids)
        learned.update(i for i, verdict in zip(ids, verdicts, strict=True) if verdict == LEARN)
        start = 0
        for request in entry.requests:
            rows = [verdict == LEARN for verdict in verdicts[start : start + request.rows]]
            rows_wrong += rows != told.pop(ids[start], None)
            start += request.rows
    faults = [fault for journal in journals for fault in journal.faults]
    again = sum(learned.values()) - len(learned)
    rows_total = sum(len(entry.rows) for entry in entries)
    return {
        "deduplication_window": WINDOW,
        "rows_in_the_log": rows_total,
        "distinct_ids": len(learned),
        "duplicates_by_the_oracle": rows_total - sum(learned.values()),
        "duplicates_by_the_service": stats["duplicates"],
        "counted_again_by_the_oracle": again,
        "counted_again_by_the_service": stats["examples"] - len(learned),
        "ids_counted_again": sum(count > 1 for count in learned.values()),
        "requests_whose_reply_differs": rows_wrong + len(told),
        "faults": faults[:5],
        "passed": not (faults or rows_wrong or told)
        and rows_total - sum(learned.values()) == stats["duplicates"] > 0
        and again == stats["examples"] - len(learned) > 0,
    }


def requests_of(entry: Examples) -> list[tuple[int, int, int, bool]]:
    """The request table as the oracle wants it."""
    return [(r.key, r.body, r.rows, r.continues) for r in entry.requests]


def main() -> int:
    """Run both parts, print one JSON line, and return the exit status."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    parts = {"keys": with_keys(given), "ids": with_ids(given)}
    good = all(part["passed"] for part in parts.values())
    print(json.dumps({"run": "retries", **vars(given), **parts, "passed": good}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
