"""A table of 2^24 slots: the longest stalls while it is checkpointed.

    python -m scripts.acceptance.large_table --lanes 1 --runs 5 --seed 6

One service learns at a fixed rate, so that nearly every page is dirty again each second, and
checkpoints whenever it may (it is idle between two requests). Processes of their own ask it to
predict and its Redis for a PING on fixed schedules (scripts/acceptance/prober.py). At the same time
the same is asked of a second service and a second Redis that do nothing else: what these show is
the machine's doing. An idle Redis syncs nothing, so beside them 32 KiB are synced to a file again
and again, as Redis does with each page (`disk`); a PING may come to wait for two of these.

Figures are the longest delay of each run, in milliseconds, and the median of the runs. --folder
takes the files elsewhere, such as to a file system in memory, where no disk is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import redis

from app.embedded_server import EmbeddedServer
from scripts.acceptance.service import Service
from scripts.benchmarks.examples import example
from scripts.benchmarks.load import post, write_requests

PREDICT_SECONDS = 0.005
PING_SECONDS = 0.002
LEARN_SECONDS = 0.25
SYNC_SECONDS = 0.02
LEARN_EXAMPLES = 1000
IDLE_SECONDS = 0.04  # a checkpoint begins so long after a request; the next comes after 0.25
SETTLE_SECONDS = 3.0
STALL_MS_MAX = 20.0


@dataclass
class Prober:
    """A running prober and where its answers will be."""

    process: subprocess.Popen[bytes]
    answers: Path

    def stop(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """float64[n, 2]: when each was due, and the seconds until its answer."""
        self.process.communicate()
        assert self.process.returncode == 0, "a prober failed"
        return np.fromfile(self.answers).reshape(-1, 2)


class Requests:
    """The files of requests that probers send."""

    def __init__(self, folder: Path, seed: int) -> None:
        rng = random.Random(seed)
        self.folder = folder
        self.predict = self._write("predict", [self._post(rng, 1, learn=False) for _ in range(64)])
        bodies = [self._post(rng, LEARN_EXAMPLES, learn=True) for _ in range(32)]
        self.learn = self._write("learn", bodies)
        self.ping = self._write("ping", [b"PING\r\n"])

    def _write(self, name: str, requests: list[bytes]) -> Path:
        path = self.folder / name
        write_requests(path, requests)
        return path

    def _post(self, rng: random.Random, count: int, *, learn: bool) -> bytes:
        examples = [example(rng, labelled=learn) for _ in range(count)]
        verb = "learn?predictions=false" if learn else "predict"
        return post(f"/{verb}", json.dumps({"examples": examples}).encode())

    def start(self, address: str | int, interval: float, requests: Path, name: str) -> Prober:
        """Begin to ask."""
        answers = self.folder / f"{name}.answers"
        words = [str(address), str(interval), str(requests), str(answers)]
        command = [sys.executable, "-m", "scripts.acceptance.prober", *words]
        return Prober(subprocess.Popen(command, stdin=subprocess.PIPE), answers)


@dataclass
class Pair:
    """A service and its Redis."""

    service: Service
    server: EmbeddedServer

    def commits(self) -> int:
        """Checkpoints of the model so far."""
        with redis.Redis(unix_socket_path=str(self.server.socket_path)) as client:
            return int(client.hget("{ctr:default}:meta", "commits") or 0)


@contextmanager
def pair(folder: Path, config: dict[str, Any], **environment: str) -> Iterator[Pair]:
    """A service on a Redis of its own, with the model `default`."""
    folder.mkdir()
    with (
        EmbeddedServer.start(folder / "redis") as server,
        Service(
            folder / "data",
            "--redis-url",
            server.url,
            CLICKFOLD_CONFIG=json.dumps(config),
            **environment,
        ) as service,
    ):
        yield Pair(service, server)


def longest(answers: np.ndarray[Any, np.dtype[np.float64]], start: float, end: float) -> float:
    """Milliseconds of the latest answer among those due in the window."""
    inside = (answers[:, 0] >= start) & (answers[:, 0] < end)
    return round(float(answers[inside, 1].max()) * 1000, 2)


def stalls(
    requests: Requests, busy: Pair, idle: Pair, runs: int, seconds: float
) -> list[dict[str, float]]:
    """The longest delays of each run."""
    probers = {
        "learn": requests.start(busy.service.port, LEARN_SECONDS, requests.learn, "learning"),
    }
    time.sleep(SETTLE_SECONDS)
    for name, pair in (("busy", busy), ("idle", idle)):
        asked = [
            (pair.service.port, PREDICT_SECONDS, requests.predict, f"{name}_predict"),
            (str(pair.server.socket_path), PING_SECONDS, requests.ping, f"{name}_ping"),
        ]
        probers |= {words[3]: requests.start(*words) for words in asked}
    beside = requests.folder / "synced"
    probers["disk"] = requests.start(f"sync:{beside}", SYNC_SECONDS, requests.ping, "disk")
    time.sleep(SETTLE_SECONDS)
    windows = []
    for _ in range(runs):
        start, before = time.monotonic(), busy.commits()
        time.sleep(seconds)
        windows.append((start, time.monotonic(), busy.commits() - before))
    answers = {name: prober.stop() for name, prober in probers.items()}
    return [
        {"checkpoints": commits}
        | {f"{name}_ms": longest(answers[name], start, end) for name in answers}
        for start, end, commits in windows
    ]


def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each figure over the runs."""
    return {key: round(float(np.median([row[key] for row in rows])), 2) for key in rows[0]}


def arguments(**more: Any) -> argparse.Namespace:
    """Of the command line, with these further integers and their defaults."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--table-bits", type=int, default=24)
    parser.add_argument("--lanes", type=int, choices=(1, 4), default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--folder", help="where the files are made; the system's temporary folder")
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def config_of(given: argparse.Namespace) -> dict[str, Any]:
    """The model's configuration; without a learning rate it has four lanes."""
    single = {"optimizer": {"learning_rate": 0.1}} if given.lanes == 1 else {}
    return {"table_bits": given.table_bits, **single}


def main() -> int:
    """Measure, print one JSON line, and return the exit status."""
    given = arguments(seconds=12)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="clickfold-large-", dir=given.folder)
            )
        )
        requests = Requests(folder, given.seed)
        often = {"CLICKFOLD_CHECKPOINT_IDLE_SECONDS": str(IDLE_SECONDS)}
        idle = stack.enter_context(pair(folder / "idle", {"table_bits": 18}))
        busy = stack.enter_context(pair(folder / "busy", config_of(given), **often))
        rows = stalls(requests, busy, idle, given.runs, given.seconds)
        stats = busy.service.json("GET", "/stats")
    median = medians(rows)
    # What the machine does to an idle pair, and to a file, is not held against the busy one.
    predict_max = max(STALL_MS_MAX, median["idle_predict_ms"])
    ping_max = max(STALL_MS_MAX, median["idle_ping_ms"], 2 * median["disk_ms"])
    good = median["busy_predict_ms"] <= predict_max and median["busy_ping_ms"] <= ping_max
    report = {
        "run": "large_table",
        **vars(given),
        "examples": stats["examples"],
        "checkpoint_seconds": stats["checkpoint"]["seconds"],
        "runs": rows,
        "median": median,
        "load_average": os.getloadavg(),
        "passed": good and all(row["checkpoints"] for row in rows),
    }
    print(json.dumps(report))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
