"""kill -9 of service and embedded Redis at once, again and again, under learning clients.

    .venv/bin/python -m scripts.acceptance.crashes --rounds 50 --seed 1

Clients send batches with event ids and send each again until it is acknowledged; now and then they
send an acknowledged batch once more, which must come back as duplicates throughout. At random times
both processes get SIGKILL. Between rounds everything is started again on the same data.

Afterwards the log is read from Redis (trimming is off) and folded by the reference fold, plain
Python that shares no line with the service. Every acknowledged id must be learned there exactly
once, nothing else may be, and its digest must be the service's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from app.embedded_server import EmbeddedServer
from app.event_log import EventLog, LogEntry
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from ftrl_core.hashing import event_id_hash
from ftrl_core.position import START
from scripts.acceptance.service import Service
from tests.oracle.exact import ExactFold
from tests.oracle.payload import Examples, read

CLIENTS = 8
BATCH_ROWS = 20
FINISH_SECONDS = 60.0
LEARNED = 0  # the verdict of a row that is learned
CONFIG = {"table_bits": 18}


@dataclass
class Journal:
    """What all clients saw; guarded by its lock."""

    acknowledged: set[str] = field(default_factory=set)
    retries: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)

    def retry(self, why: str) -> None:
        with self.lock:
            self.retries[why] += 1


class Client(threading.Thread):
    """Sends batches one after the other, each until it is acknowledged."""

    def __init__(self, number: int, seed: int, port: int, journal: Journal) -> None:
        super().__init__(daemon=True)
        self.number, self.port, self.journal = number, port, journal
        self.random = random.Random(seed * 1000 + number)
        self.stop = threading.Event()
        self._sent = 0
        self._old: dict[str, Any] | None = None

    def run(self) -> None:
        with httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=8.0) as http:
            while not self.stop.is_set():
                if self._old is not None and self.random.random() < 0.1:
                    self._send(http, self._old, again=True)
                else:
                    batch = self._batch()
                    if self._send(http, batch, again=False):
                        self._old = batch
                time.sleep(self.random.choice([0.0, 0.005, 0.02]))

    def _batch(self) -> dict[str, Any]:
        draw = self.random
        self._sent += 1
        return {
            "examples": [
                {
                    "id": f"{self.number}:{self._sent}:{row}",
                    "features": {
                        "user": f"u{int(draw.paretovariate(0.6))}",
                        "ad": f"a{draw.randrange(300)}",
                        "price": draw.randrange(1, 40) / 8,
                        "hour": str(draw.randrange(24)),
                    },
                    "label": int(draw.random() < 0.2),
                }
                for row in range(BATCH_ROWS)
            ]
        }

    def _send(self, http: httpx2.Client, batch: dict[str, Any], *, again: bool) -> bool:
        """Until it is acknowledged; False when it was given up after everything has ended."""
        give_up = None
        while give_up is None or time.monotonic() < give_up:
            if self.stop.is_set() and give_up is None:
                give_up = time.monotonic() + FINISH_SECONDS
            try:
                reply = http.post("/learn?predictions=false", json=batch)
            except httpx2.TransportError as error:
                self._pause(type(error).__name__)
                continue
            if reply.status_code == 200:
                self._acknowledged(batch, reply.json(), again=again)
                return True
            told = reply.json()
            if reply.status_code != 503 or "outcome" not in told:
                self.journal.fault(f"status {reply.status_code}: {reply.text[:200]}")
                return False
            self._pause(f"503 {told['outcome']}")
        self.journal.fault("a batch was never acknowledged")
        return False

    def _pause(self, why: str) -> None:
        self.journal.retry(why)
        time.sleep(0.03)

    def _acknowledged(self, batch: dict[str, Any], told: dict[str, Any], *, again: bool) -> None:
        rows = len(batch["examples"])
        if told["accepted"] + told["duplicates"] != rows or (again and told["accepted"]):
            self.journal.fault(f"again={again}: {told}")
        with self.journal.lock:
            self.journal.acknowledged.update(example["id"] for example in batch["examples"])


def kill_both(service: Service, draw: random.Random) -> None:
    """SIGKILL to the service and to its server, in either order, at once."""
    pid = service.process.pid
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [pid, *(int(word) for path in lists for word in path.read_text().split())]
    draw.shuffle(pids)
    for one in pids:
        os.kill(one, signal.SIGKILL)
    service.process.wait()


def crash(service: Service, journal: Journal, seed: int, rounds: int) -> list[float]:
    """Learn and crash; seconds from each start to ready."""
    draw = random.Random(seed)
    clients = [Client(number, seed, service.port, journal) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    ready = []
    for _ in range(rounds):
        time.sleep(draw.uniform(0.02, 1.2))
        kill_both(service, draw)
        service.start()
        ready.append(service.ready_seconds)
    time.sleep(0.5)
    for client in clients:
        client.stop.set()
    for client in clients:
        client.join(2 * FINISH_SECONDS)
    return ready


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


def judge(entries: list[LogEntry], stats: dict[str, Any], journal: Journal) -> dict[str, Any]:
    """Fold the log by the reference, and compare with what was acknowledged and what is served."""
    fold, learned = ExactFold(), Counter[int]()
    for entry in entries:
        fold.apply(entry.payload)
        content = read(entry.payload)
        if isinstance(content, Examples):
            verdicts = zip(content.rows, fold.verdicts, strict=True)
            learned.update(row.event_id for row, verdict in verdicts if verdict == LEARNED)
    wanted = {event_id_hash(name, 0) for name in journal.acknowledged}
    seqs = [entry.position.seq for entry in entries]
    return {
        "entries": len(entries),
        "log_is_whole": seqs == list(range(1, len(entries) + 1)),
        "acknowledged": len(wanted),
        "lost": len(wanted - learned.keys()),
        "counted_twice": sum(count > 1 for count in learned.values()),
        "never_acknowledged": len(learned.keys() - wanted),
        "examples_served": stats["examples"],
        "position_equal": str(entries[-1].position) == stats["position"],
        "digest_equal": fold.digest() == stats["digest"],
    }


def main() -> int:
    """Run, report, and return the exit status."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    journal, started = Journal(), time.monotonic()
    environment = {
        "CLICKFOLD_TRIM": "false",
        "CLICKFOLD_CHECKPOINT_LOG_BYTES": "20000",
        "CLICKFOLD_CHECKPOINT_IDLE_SECONDS": "0.3",
        "CLICKFOLD_CONFIG": json.dumps(CONFIG),
    }
    with tempfile.TemporaryDirectory(prefix="clickfold-accept-") as folder:
        data = Path(folder, "data")
        with Service(data, **environment) as service:
            ready = crash(service, journal, given.seed, given.rounds)
            stats = service.json("GET", "/stats")
        with EmbeddedServer.start(data) as server:
            entries = asyncio.run(read_log(server.url))
        verdict = judge(entries, stats, journal)
    good = not journal.faults and verdict["acknowledged"] == verdict["examples_served"] > 0
    good = good and not (verdict["lost"] or verdict["counted_twice"])
    good = good and verdict["never_acknowledged"] == 0
    good = good and all(verdict[k] for k in ("log_is_whole", "position_equal", "digest_equal"))
    report = {
        "run": "crashes",
        "seed": given.seed,
        "rounds": given.rounds,
        "clients": CLIENTS,
        **verdict,
        "retries": dict(journal.retries),
        "faults": journal.faults[:5],
        "ready_seconds": {"median": sorted(ready)[len(ready) // 2], "longest": max(ready)},
        "seconds": round(time.monotonic() - started, 1),
        "passed": good,
    }
    print(json.dumps(report))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
