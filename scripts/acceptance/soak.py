"""Hours of work in minutes: memory, descriptors and keys of service and Redis must stay flat.

    python -m scripts.acceptance.soak --examples 9600000 --seed 1

The equivalence: an hour is 1,000 examples a second, 3.6 million, sent as fast as the service takes
them; 9.6 million are 40 minutes of warm-up and two hours. They come in requests of 1 to 500
examples with and without ids and keys. Meanwhile checkpoints and trims every megabyte of log,
connections that are closed (some in mid-request), requests that are refused, snapshots taken,
restored and removed, models made, taught and deleted, /stats and /metrics read.

Every SAMPLE_SECONDS the service's and Redis' memory, descriptors and threads, Redis' used_memory,
keys and length of the log are noted. After a warm-up (the first quarter: rings, window and table
fill, the pool of threads and the allocators find their size) the samples are averaged in BLOCKS
blocks, since neighbours resemble each other, and a line is fitted. A figure grows when its slope is
above what is allowed an hour (LIMITS) and its confidence interval above 0: 95 % for all figures
together, since of seven intervals of 95 % one misses in every third run. The intervals printed are
those of each figure alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import redis

from app.embedded_server import EmbeddedServer
from scripts.acceptance.service import Service

CLIENTS = 3
ROWS_MAX = 500
HOUR_EXAMPLES = 3_600_000
SAMPLE_SECONDS = 0.25
WARM_UP = 0.25
BLOCKS = 32
STUDENT_T = 2.042  # 97.5 %, BLOCKS - 2 degrees of freedom
STUDENT_T_OF_ALL = 2.887  # the same for seven figures judged together (Bonferroni)
MODEL_NAMES = 5
SNAPSHOTS_KEPT = 3
MIB = 1 << 20
# What a figure may grow in an hour; also what a line through noise may pretend.
LIMITS = {
    "service_rss_bytes": MIB, "service_descriptors": 1, "service_threads": 1,
    "redis_rss_bytes": MIB, "redis_descriptors": 1, "redis_used_bytes": MIB,
    "redis_keys": 4, "log_entries": 4,
}  # fmt: skip
# What the allocator of Redis holds follows the highest wave of used_memory, which is judged.
NOT_JUDGED = {"redis_rss_bytes"}
CONFIG = {"table_bits": 16, "deduplication_window": 1 << 14}
REFUSED = (  # method, path, body, statuses that are right
    ("POST", "/learn", b'{"examples": [{"label": 1', {400}),
    ("POST", "/learn", b'{"examples": [{"label": 7, "features": {"a": "b"}}]}', {422}),
    ("POST", "/predict", b'{"features": 7}', {422}),
    ("POST", "/models/none/predict", b'{"features": {"a": "b"}}', {404}),
    ("GET", "/nothing", b"", {404}),
    ("DELETE", "/learn", b"", {405}),
)


@dataclass
class Shared:
    """What the threads share."""

    port: int
    examples: int
    seed: int
    learned: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def done(self) -> bool:
        return self.learned >= self.examples

    def count(self, what: str, learned: int = 0) -> None:
        """Note that it was done once more."""
        with self.lock:
            self.counts[what] += 1
            self.learned += learned


class Worker(threading.Thread):
    """Does random things over one connection until all examples are learned."""

    def __init__(self, shared: Shared, name: str) -> None:
        super().__init__(daemon=True, name=name)
        self.shared, self.random = shared, random.Random(f"{shared.seed}-{name}")
        self._connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=60)
        self._numbers = 0

    def run(self) -> None:
        while not self.shared.done:
            try:
                self.step()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.shared.faults.append(f"{self.name}: {type(error).__name__} {error}"[:300])
                self._connection.close()
        self._connection.close()

    def step(self) -> None:
        """One random thing."""
        raise NotImplementedError

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        right: Collection[int] = (200,),
        **headers: str,
    ) -> bytes:
        """The content of an answer whose status must be one of these."""
        headers = {"Content-Type": "application/json", **headers}
        self._connection.request(method, path, body, headers)
        reply = self._connection.getresponse()
        content = reply.read()
        assert reply.status in right, f"{method} {path}: {reply.status} {content[:200]!r}"
        return content

    def examples(self, rows: int) -> list[dict[str, Any]]:
        """Random labelled examples, half of such lists with ids."""
        draw, with_ids = self.random, self.random.random() < 0.5
        found = []
        for _ in range(rows):
            self._numbers += 1
            number = int(draw.paretovariate(0.5)) % 50_000
            features = {"user": f"u{number}", "ad": f"a{draw.randrange(500)}", "bid": draw.random()}
            example = {"label": int(draw.random() < 0.2), "features": features}
            found.append({**example, "id": f"{self.name}:{self._numbers}"} if with_ids else example)
        return found


class Learner(Worker):
    """Learns, predicts, and now and then leaves in mid-request."""

    def step(self) -> None:
        draw = self.random
        rows = min(ROWS_MAX, int(draw.paretovariate(0.4)))
        body = json.dumps({"examples": self.examples(rows)}).encode()
        if draw.random() < 0.02:
            self._leave(body)
        elif draw.random() < 0.2:
            self.ask("POST", "/predict", body)
            self.shared.count("predict")
        else:
            key = {"Idempotency-Key": f"{self.name}:{self._numbers}"} if draw.random() < 0.3 else {}
            told = json.loads(self.ask("POST", "/learn", body, **key))
            self.shared.count("learn", told["accepted"] + told["duplicates"])

    def _leave(self, body: bytes) -> None:
        """Close the connection: idle, or with a request cut short."""
        if self.random.random() < 0.5:
            self._connection.putrequest("POST", "/learn")
            self._connection.putheader("Content-Type", "application/json")
            self._connection.putheader("Content-Length", str(len(body) + 1))
            self._connection.endheaders(body)
        self._connection.close()
        self.shared.count("connections left")


class Operator(Worker):
    """Snapshots, models, refused requests, figures."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared, "operator")
        self._snapshots: list[str] = []

    def step(self) -> None:
        kind = self.random.choice(["refused", "refused", "figures", "figures", "snapshot", "model"])
        getattr(self, f"_{kind}")()
        self.shared.count(kind)
        time.sleep(0.05)

    def _refused(self) -> None:
        method, path, body, right = self.random.choice(REFUSED)
        self.ask(method, path, body, right)

    def _figures(self) -> None:
        for path in ("/stats", "/metrics", "/readyz", "/models"):
            self.ask("GET", path)

    def _snapshot(self) -> None:
        self._numbers += 1
        name = f"s{self._numbers}"
        self.ask("POST", "/admin/snapshots", json.dumps({"name": name}).encode(), {201})
        self._snapshots.append(name)
        if self.random.random() < 0.2:
            self.ask("POST", f"/admin/snapshots/{name}/restore", b"", {200})
        while len(self._snapshots) > SNAPSHOTS_KEPT:
            self.ask("DELETE", f"/admin/snapshots/{self._snapshots.pop(0)}", b"", {200, 204})

    def _model(self) -> None:
        path = f"/models/m{self.random.randrange(MODEL_NAMES)}"
        self.ask("PUT", path, json.dumps(CONFIG).encode(), {200, 201})
        self.ask("POST", f"{path}/learn", json.dumps({"examples": self.examples(20)}).encode())
        self.ask("DELETE", path, b"", {200, 204})


class Sampler:
    """Reads what a process of the kernel's and Redis' books say."""

    def __init__(self, service_pid: int, server: EmbeddedServer) -> None:
        self._pids = {"service": service_pid, "redis": server.pid}
        self._redis = redis.Redis(unix_socket_path=str(server.socket_path))

    def close(self) -> None:
        """Close the connection to Redis."""
        self._redis.close()

    def sample(self) -> dict[str, float]:
        """One value of each figure."""
        figures: dict[str, float] = {}
        for name, pid in self._pids.items():
            status = Path(f"/proc/{pid}/status").read_text()
            words = dict(line.split(":", 1) for line in status.splitlines())
            figures[f"{name}_rss_bytes"] = int(words["VmRSS"].split()[0]) * 1024
            figures[f"{name}_descriptors"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            figures[f"{name}_threads"] = int(words["Threads"])
        del figures["redis_threads"]
        figures["redis_used_bytes"] = self._redis.info("memory")["used_memory"]
        figures["redis_keys"] = self._redis.dbsize()
        figures["log_entries"] = self._redis.xlen("{ctr:default}:log")
        return figures


def slope(hours: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Of the line through the means of BLOCKS blocks, an hour; and half its 95 % interval."""
    x = np.array([block.mean() for block in np.array_split(hours, BLOCKS)])
    y = np.array([block.mean() for block in np.array_split(values, BLOCKS)])
    centred = x - x.mean()
    b = float(centred @ (y - y.mean()) / (centred @ centred))
    rest = y - y.mean() - b * centred
    return b, STUDENT_T * float(np.sqrt(rest @ rest / (BLOCKS - 2) / (centred @ centred)))


def orphans(server: EmbeddedServer) -> int:
    """Keys of generations without a row, which nothing would ever delete, and of deleted models."""
    with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
        rows = set(client.hkeys("{ctr:default}:generations"))
        words = [key.split(b":") for key in client.scan_iter(match="{ctr:*")]
    deleted = sum(word[1] != b"default}" for word in words)
    return deleted + sum(len(word) > 3 and word[3] not in rows for word in words)


def judged(hours: list[float], samples: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Each figure's mean, slope, interval and verdict, after the warm-up."""
    x = np.array(hours)
    warm = x >= WARM_UP * x[-1]
    report = {}
    for name, limit in LIMITS.items():
        whole = np.array([sample[name] for sample in samples], float)
        values = whole[warm]
        b, half = slope(x[warm], values)
        report[name] = {
            "mean": round(float(values.mean()), 1),
            "eighths": [round(float(part.mean())) for part in np.array_split(whole, 8)],
            "slope_an_hour": round(b, 1),
            "confidence_95": [round(b - half, 1), round(b + half, 1)],
            "flat": b - half * STUDENT_T_OF_ALL / STUDENT_T <= 0.0 or b < limit,
        }
    return report


def watch(
    shared: Shared, service: Service, server: EmbeddedServer
) -> tuple[list[float], list[dict[str, float]]]:
    """Let the workers work: hours done and figures at each sample."""
    hours, samples = [], []
    sampler = Sampler(service.process.pid, server)
    workers = [*(Learner(shared, f"l{n}") for n in range(CLIENTS)), Operator(shared)]
    for worker in workers:
        worker.start()
    while not shared.done and service.process.poll() is None:
        time.sleep(SAMPLE_SECONDS)
        hours.append(shared.learned / HOUR_EXAMPLES)
        samples.append(sampler.sample())
    for worker in workers:
        worker.join(60)
    sampler.close()
    return hours, samples


def soak(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run it; the report."""
    environment = {
        "CLICKFOLD_CONFIG": json.dumps(CONFIG),
        "CLICKFOLD_CHECKPOINT_LOG_BYTES": "1MiB",
        "CLICKFOLD_CHECKPOINT_IDLE_SECONDS": "0.5",
    }
    with (
        EmbeddedServer.start(folder / "redis") as server,
        Service(folder / "data", "--redis-url", server.url, **environment) as service,
    ):
        shared, started = Shared(service.port, given.examples, given.seed), time.monotonic()
        hours, samples = watch(shared, service, server)
        seconds = time.monotonic() - started
        checkpoint = service.json("GET", "/stats")["checkpoint"]["seq"]
        service.stop()  # it writes its last checkpoint and removes what that leaves unnamed
        left_over = orphans(server)
        service.start()
    figures = judged(hours, samples)
    flat = all(figure["flat"] for name, figure in figures.items() if name not in NOT_JUDGED)
    return {
        "run": "soak",
        **vars(given),
        "hours_equivalent": round(shared.learned / HOUR_EXAMPLES, 3),
        "seconds": round(seconds, 1),
        "samples": len(samples),
        "done": dict(shared.counts),
        "last_checkpoint_seq": checkpoint,
        "orphaned_keys": left_over,
        "figures": figures,
        "faults": shared.faults[:5],
        "passed": flat and not shared.faults and checkpoint > 0 and left_over == 0,
    }


def main() -> int:
    """Run, report, and return the exit status."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--examples", type=int, default=HOUR_EXAMPLES * 8 // 3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clickfold-soak-") as folder:
        report = soak(given, Path(folder))
    print(json.dumps(report))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
