"""500 connections of one byte a second beside honest load: what do honest clients notice?

    python -m scripts.acceptance.slow_connections --connections 500 --runs 5 --seed 1

A prober asks for a prediction every 5 ms, another has 100 examples learned every 100 ms, on fixed
schedules (scripts/acceptance/prober.py), without and with the slow connections in turn. These are
a process of their own, a quarter of each kind, and whoever is closed connects again at once (the
service's deadlines are 3 s here, so that this happens in every run):

    heads     a request's head, a byte a second
    bodies    a head that promises a megabyte, and then a byte of it a second
    readers   a megabyte asked for, and a byte of it read a second
    silent    connected, and nothing sent

Prints one JSON line: the 99th percentile of honest delays of each run, in milliseconds, medians,
and the service's resident memory before and after; ends with 0 when the median at most doubles and
memory stays within the bound of docs/limits.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

import numpy as np

from scripts.acceptance.large_table import Prober, Requests, medians
from scripts.acceptance.service import Service
from scripts.benchmarks.examples import example
from scripts.benchmarks.load import post, write_requests

PREDICT_SECONDS, LEARN_SECONDS, LEARN_EXAMPLES = 0.005, 0.1, 100
SETTLE_SECONDS = 2.0
CONNECTION_BYTES = 352 << 10  # docs/limits.md, memory of a connection at most
KINDS = ("heads", "bodies", "readers", "silent")
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
PROMISE = HEAD + b"Content-Length: 1000000\r\n\r\n"
LARGE = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def slow(port: int, kind: str, rng: random.Random, counts: Counter[str]) -> None:
    """One connection after the other of a kind, for ever."""
    await asyncio.sleep(rng.random())
    loop = asyncio.get_running_loop()
    while True:
        with socket.socket() as connection, contextlib.suppress(OSError):
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(connection, ("127.0.0.1", port))
            counts[kind] += 1
            if kind in ("bodies", "readers"):
                await loop.sock_sendall(connection, PROMISE if kind == "bodies" else LARGE)
            await _trickle(loop, connection, kind)


async def _trickle(loop: asyncio.AbstractEventLoop, connection: socket.socket, kind: str) -> None:
    """A byte a second, until the connection is closed."""
    for place in range(1 << 30):
        await asyncio.sleep(1)
        if kind == "heads":
            await loop.sock_sendall(connection, HEAD[place % len(HEAD) :][:1])
        elif kind == "bodies":
            await loop.sock_sendall(connection, b"[")
        if kind == "readers":
            if not await loop.sock_recv(connection, 1):
                return
        else:
            with contextlib.suppress(BlockingIOError):
                if not connection.recv(1 << 16):
                    return


async def attack(port: int, connections: int, seed: int) -> None:
    """All of them, until SIGTERM; then how many connections there were of each kind is printed."""
    counts: Counter[str] = Counter()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    kinds = (KINDS[place % len(KINDS)] for place in range(connections))
    tasks = [
        asyncio.create_task(slow(port, kind, random.Random(seed + place), counts))
        for place, kind in enumerate(kinds)
    ]
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps(counts), flush=True)


class Attack:
    """The slow connections, as a process; a context manager."""

    def __init__(self, port: int, connections: int, seed: int) -> None:
        words = ["--attack", str(port), "--connections", str(connections), "--seed", str(seed)]
        self._command = [sys.executable, "-m", "scripts.acceptance.slow_connections", *words]
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        time.sleep(SETTLE_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self.counts = json.loads(self._process.communicate()[0])


def resident(pid: int) -> int:
    """Bytes of a process' resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def p99(answers: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Milliseconds, of the answers after the first tenth."""
    return round(float(np.quantile(answers[len(answers) // 10 :, 1], 0.99)) * 1000, 3)


class Honest:
    """The honest load of a service."""

    def __init__(self, folder: Path, port: int, seed: int) -> None:
        self._requests = Requests(folder, seed)
        rng = random.Random(seed)
        bodies = [
            json.dumps({"examples": [example(rng, labelled=True) for _ in range(LEARN_EXAMPLES)]})
            for _ in range(32)
        ]
        self._learn = folder / "learn-few"
        write_requests(self._learn, [post("/learn", body.encode()) for body in bodies])
        self._port = port
        self._runs = 0

    def run(self, seconds: float) -> dict[str, float]:
        """Ask for so long; the 99th percentiles."""
        self._runs += 1
        probers: dict[str, Prober] = {
            name: self._requests.start(self._port, interval, requests, f"{name}-{self._runs}")
            for name, interval, requests in (
                ("predict", PREDICT_SECONDS, self._requests.predict),
                ("learn", LEARN_SECONDS, self._learn),
            )
        }
        time.sleep(seconds)
        return {f"{name}_p99_ms": p99(prober.stop()) for name, prober in probers.items()}


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole comparison."""
    config = {"CLICKFOLD_CONFIG": json.dumps({"table_bits": 18})}
    deadlines = {f"CLICKFOLD_{name}_SECONDS": "3" for name in ("HEAD", "BODY", "REPLY")}
    with Service(folder / "data", **config, **deadlines) as service:
        honest = Honest(folder, service.port, given.seed)
        if given.warm_up:
            honest.run(given.warm_up)
        alone, beside, opened = [], [], Counter[str]()
        before = after = resident(service.process.pid)
        for run in range(given.runs):
            alone.append(honest.run(given.seconds))
            with Attack(service.port, given.connections, given.seed + run) as attack:
                beside.append(honest.run(given.seconds))
                after = max(after, resident(service.process.pid))
            opened.update(attack.counts)
            time.sleep(SETTLE_SECONDS)
        metrics = service.client.get("/metrics").text
    refused = [line for line in metrics.splitlines() if line.startswith("clickfold_http_refused")]
    ratios = {
        name: round(medians(beside)[name] / medians(alone)[name], 2) for name in medians(alone)
    }
    return {
        "connections": given.connections,
        "opened": dict(opened),
        "refused": refused,
        "alone": alone,
        "beside": beside,
        "median_alone": medians(alone),
        "median_beside": medians(beside),
        "ratio": ratios,
        "resident_mb_before": round(before / 1e6, 1),
        "resident_mb_most": round(after / 1e6, 1),
        "bound_mb": round((before + given.connections * CONNECTION_BYTES) / 1e6, 1),
        "met": max(ratios.values()) <= 2 and after <= before + given.connections * CONNECTION_BYTES,
    }


def main() -> int:
    """Do what the head of this file says."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--attack", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.attack is not None:
        asyncio.run(attack(given.attack, given.connections, given.seed))
        return 0
    with tempfile.TemporaryDirectory(prefix="clickfold-slow-") as folder:
        report = measure(given, Path(folder))
    print(json.dumps(report))
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
