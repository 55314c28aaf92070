"""Four replicas of one Redis learn ten million examples: is their state equal at every checkpoint?

    .venv/bin/python -m scripts.acceptance.four_replicas --examples 10000000

Four service processes, each a whole replica; the fourth runs with the processor's features switched
off (Numba compiles for the baseline of the architecture, and the C library is told of no AVX2 or
FMA). Clients send bodies of 10,000 examples (NDJSON, FEATURES categorical features each, skewed)
to all four in turn. The log is sent in rounds. Checkpoints are written when nothing comes, so each
one lies at the end of a round, where all four are asked for position and state digest. At the end
the number of checkpoints that Redis has counted must be the number of those compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.embedded_server import EmbeddedServer
from scripts.acceptance.service import Service
from scripts.numerics_run.fma import GENERIC, in_a_process

BODY_ROWS = 10_000
FEATURES = 6
DISTINCT = (100_000, 20_000, 5_000, 1_000, 50, 24)  # values of each feature
CLIENTS = 4
SETTLE_SECONDS = 120.0
COMPILE_SECONDS = 900.0
HWCAPS = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-FMA,-FMA4"
BASELINE = {**GENERIC, "GLIBC_TUNABLES": HWCAPS}
CONFIG = {"table_bits": 18}
OPTIONS = {
    "CLICKFOLD_CHECKPOINT_IDLE_SECONDS": "1.5",
    "CLICKFOLD_CHECKPOINT_LOG_BYTES": "4GiB",  # no checkpoint in the middle of a round
    "CLICKFOLD_LOG_BYTES_MAX": "2GiB",
}
COMPILE = "import app; from app import ingest; from ftrl_core import warmup\n"
COMPILE += "ingest.warm_up(); warmup.warm_up()"


def body(seed: int, number: int, rows: int) -> bytes:
    """The NDJSON of one request; a function of its arguments."""
    random = np.random.default_rng((seed, number))
    columns = [(distinct * random.random(rows) ** 3).astype(int).tolist() for distinct in DISTINCT]
    labels = (random.random(rows) < 0.02 + 0.3 * (np.array(columns[3]) % 7 == 0)).astype(int)
    lines = [
        f'{{"label":{y},"features":{{"user":"u{u}","ad":"a{a}","page":"p{p}","site":"s{s}",'
        f'"slot":"t{t}","hour":"{h}"}}}}\n'
        for y, u, a, p, s, t, h in zip(labels.tolist(), *columns, strict=True)
    ]
    return "".join(lines).encode()


@dataclass
class Round:
    """The requests of one round, handed out to clients."""

    seed: int
    numbers: Iterator[tuple[int, int]]  # (number, rows)
    lock: threading.Lock = field(default_factory=threading.Lock)
    accepted: int = 0
    errors: list[str] = field(default_factory=list)

    def send(self, service: Service) -> None:
        """Take requests until there are none; each is sent again until it is acknowledged."""
        headers = {"Content-Type": "application/x-ndjson"}
        while True:
            with self.lock:
                number, rows = next(self.numbers, (0, 0))
            if not rows:
                return
            content = body(self.seed, number, rows)
            keyed = {**headers, "Idempotency-Key": f"{self.seed}-{number}"}
            path = "/learn?predictions=false"
            reply = service.client.post(path, content=content, headers=keyed)
            while reply.status_code == 503:
                time.sleep(0.2)
                reply = service.client.post(path, content=content, headers=keyed)
            with self.lock:
                if reply.status_code != 200:
                    self.errors.append(reply.text[:200])
                    return
                self.accepted += reply.json()["accepted"] + reply.json()["duplicates"]


def learn(services: Sequence[Service], seed: int, sizes: Sequence[tuple[int, int]]) -> int:
    """Send these requests to all services at once; examples acknowledged."""
    one = Round(seed, iter(sizes))
    threads = [
        threading.Thread(target=one.send, args=(services[i % len(services)],))
        for i in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if one.errors:
        raise SystemExit(f"a request was refused: {one.errors[0]}")
    return one.accepted


def at_checkpoint(services: Sequence[Service]) -> list[dict[str, Any]]:
    """The stats of all, once all are at one position and a checkpoint is there."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        stats = [service.json("GET", "/stats") for service in services]
        positions = {one["position"] for one in stats}
        seq = max(one["checkpoint"]["seq"] for one in stats)
        if positions == {f"1-{seq}"} or time.monotonic() > deadline:
            return stats
        time.sleep(0.1)


def requests_of(examples: int, rounds: int) -> list[list[tuple[int, int]]]:
    """(number, rows) of every request, by round."""
    starts = range(0, examples, BODY_ROWS)
    sizes = [(n, min(BODY_ROWS, examples - first)) for n, first in enumerate(starts)]
    part = -(-len(sizes) // rounds)
    return [sizes[i : i + part] for i in range(0, len(sizes), part)]


def compile_kernels() -> float:
    """Compile for the processor and for its baseline, so that services start in time; seconds."""
    started = time.monotonic()
    command = [sys.executable, "-c", COMPILE]
    for features in ({}, BASELINE):
        environment = {**os.environ, **features}
        subprocess.run(command, check=True, env=environment, timeout=COMPILE_SECONDS)
    return time.monotonic() - started


def run(examples: int, rounds: int, seed: int) -> dict[str, Any]:
    """The report."""
    compiled = compile_kernels()
    with tempfile.TemporaryDirectory(prefix="clickfold-four-") as folder, ExitStack() as stack:
        redis = stack.enter_context(EmbeddedServer.start(Path(folder, "redis")))
        url = ["--redis-url", redis.url, "--config", json.dumps(CONFIG)]
        environments = [OPTIONS, OPTIONS, OPTIONS, {**OPTIONS, **BASELINE}]
        services = [
            stack.enter_context(Service(Path(folder, f"replica-{i}"), *url, **environment))
            for i, environment in enumerate(environments)
        ]
        accepted, learning, compared = 0, 0.0, []
        for sizes in requests_of(examples, rounds):
            started = time.monotonic()
            accepted += learn(services, seed, sizes)
            learning += time.monotonic() - started
            stats = at_checkpoint(services)
            compared.append([(one["position"], one["state_digest"]) for one in stats])
            print(accepted, compared[-1][0], len(set(compared[-1])) == 1, file=sys.stderr)
        commits = _commits(redis.socket_path)
        cpus = [in_a_process(seed, e)["target"] for e in ({}, BASELINE)]
    equal = sum(len(set(states)) == 1 for states in compared)
    good = equal == len(compared) and accepted == examples == stats[0]["examples"]
    return {
        "run": "four_replicas",
        "seed": seed,
        "examples": accepted,
        "features_each": FEATURES,
        "config": stats[0]["config"],
        "processors": cpus,
        "checkpoints_compared": len(compared),
        "checkpoints_equal": equal,
        "checkpoints_committed": commits,
        "log_regressions": sum(one["log_regressions"] for one in stats),
        "seconds_compiling": round(compiled, 1),
        "seconds_learning": round(learning, 1),
        "examples_per_second": round(accepted / learning),
        "position": compared[-1][0][0],
        "state_digest": compared[-1][0][1],
        "passed": good and commits <= len(compared) + 1,  # one may lie at 1-1
    }


def _commits(socket_path: Path) -> int:
    """How many checkpoints Redis has counted."""
    import redis

    client = redis.Redis(unix_socket_path=str(socket_path))
    try:
        return int(client.hget("{ctr:default}:meta", "commits") or 0)
    finally:
        client.close()


def main() -> int:
    """Run, report, and return the exit status."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--examples", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    report = run(given.examples, given.rounds, given.seed)
    print(json.dumps(report))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
