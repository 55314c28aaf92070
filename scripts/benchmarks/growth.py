"""How cost grows: each curve is a list of rows, and a row says what it was measured at.

    slots        kernels from 2^18 to 2^28 slots, as far as memory goes (fold.py)
    features     kernels from 1 to 1,000 features an example
    batch        /learn with 1 to 10,000 examples a request, 4 connections
    connections  /predict and /learn of one example with 1 to 256 connections
    workers      the same with 1 to 4 server processes, 64 connections
    rates        latency of the same at fixed rates, open loop (open_loop.py)
    tables       start, checkpoint and memory of a service for each table size: fresh; learned and
                 checkpointed; at the most until then; started again

The service is at its defaults unless the row says otherwise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.benchmarks import contenders, examples, machine
from scripts.benchmarks.contenders import ONE_RATE, Contender
from scripts.benchmarks.load import write_requests

Row = dict[str, Any]
RECORD_BYTES = 8  # of one slot and rate
TABLES_OF_FOLD = 4
MEMORY_SHARE = 0.6
FIELDS = (1, 3, 10, 39, 100, 300, 1000)
BATCHES = (1, 10, 100, 1_000, 10_000)
CONNECTIONS = (1, 4, 16, 64, 256)
WORKERS = (1, 2, 4)
RATES = (250, 500, 1_000, 2_000, 4_000, 8_000)
CHECKPOINT_SECONDS = 60.0
SETTLE_SECONDS = 2.0


def fold(*words: str) -> Iterator[Row]:
    """What scripts/benchmarks/fold.py prints."""
    command = [sys.executable, "-m", "scripts.benchmarks.fold", *words]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        found = json.loads(line)
        nanoseconds = {name: value for name, value in found.items() if name.endswith("_ns")}
        yield {
            "slots": f"2^{found['table_bits']}",
            "rates": found["lanes"],
            "features": found["fields"],
            **nanoseconds,
            "examples/s of one processor": round(1e9 / found["apply_ns"] / found["fields"]),
        }


def slots(given: argparse.Namespace, _folder: Path) -> Iterator[Row]:
    """Nanoseconds a feature by table size."""
    room = machine.available_bytes() * MEMORY_SHARE / TABLES_OF_FOLD
    for lanes in (1, 4):
        for bits in (10, 18) if given.quick else range(18, 29, 2):
            if RECORD_BYTES * lanes << bits <= room:
                yield from fold("--lanes", str(lanes), "--bits", str(bits), "--rounds", "7")


def features(given: argparse.Namespace, _folder: Path) -> Iterator[Row]:
    """Nanoseconds a feature by features an example, 2^22 slots."""
    for lanes in (1, 4):
        for count in FIELDS[:2] if given.quick else FIELDS:
            words = ("--lanes", str(lanes), "--bits", "22", "--fields", str(count), "--rounds", "7")
            yield from fold(*words)


def loaded(service: Contender, requests: Path, connections: int, seconds: float) -> Row:
    """Closed loop; all answers must be 200."""
    words = [service.address, str(connections), str(seconds), str(requests)]
    command = [sys.executable, "-m", "scripts.benchmarks.load", *words]
    found: Row = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert set(found["statuses"]) == {"200"}, found["statuses"]
    return {
        "requests/s": round(found["per_second"]),
        "p50 ms": round(found["p50_ms"], 2),
        "p99 ms": round(found["p99_ms"], 2),
        "generator": round(found["generator_share"], 2),
    }


def posts(folder: Path, path: str, size: int, count: int, seed: int) -> Path:
    """A file of so many requests of `size` generated examples."""
    file = folder / f"{path.strip('/')}-{size}"
    rows = examples.generated(size * count, seed)
    write_requests(file, examples.json_posts(path, rows, size))
    return file


def batch(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Examples/s by examples a request."""
    with contenders.ours(folder, "batch") as service:
        for size in BATCHES[:2] if given.quick else BATCHES:
            file = posts(folder, "/learn", size, max(4, min(256, 20_000 // size)), given.seed)
            row = loaded(service, file, 4, given.seconds)
            yield {"examples": size, **row, "examples/s": row["requests/s"] * size}


def connections(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Requests/s by connections."""
    with contenders.ours(folder, "connections") as service:
        for path in ("/predict", "/learn"):
            file = posts(folder, path, 1, 1024, given.seed)
            for count in CONNECTIONS[:2] if given.quick else CONNECTIONS:
                row = loaded(service, file, count, given.seconds)
                yield {"route": path, "connections": count, **row}


def workers(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Requests/s by server processes."""
    files = {path: posts(folder, path, 1, 1024, given.seed) for path in ("/predict", "/learn")}
    for count in WORKERS[:1] if given.quick else WORKERS:
        with contenders.ours(folder, f"workers-{count}", None, "--workers", str(count)) as service:
            time.sleep(2)  # the other workers may still be starting
            for path, file in files.items():
                row = loaded(service, file, 64, given.seconds)
                yield {"route": path, "workers": count, **row}


def rates(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Latency at fixed rates."""
    with contenders.ours(folder, "rates") as service:
        for path in ("/predict", "/learn"):
            file = posts(folder, path, 1, 1024, given.seed)
            for rate in RATES[:1] if given.quick else RATES:
                words = [service.address, str(rate), str(2 * given.seconds), str(file)]
                command = [sys.executable, "-m", "scripts.benchmarks.open_loop", *words]
                found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                shown = {f"{p} ms": round(found[f"{p}_ms"], 2) for p in ("p50", "p99", "p999")}
                yield {
                    "route": path,
                    "requests/s": rate,
                    "answered": f"{found['answered_share']:.1%}",
                    **shown,
                    "generator": round(found["generator_share"], 2),
                }


def tables(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Start, checkpoint and memory by table size."""
    file = posts(folder, "/learn", 100, 128, given.seed)
    with contenders.ours(folder, "compiles"):
        pass  # what follows finds its kernels compiled
    for lanes in (1,) if given.quick else (1, 4):
        for bits in (10,) if given.quick else (10, 18, 20, 22, 24):
            yield table(folder, file, lanes, bits, given.seconds)


def table(folder: Path, file: Path, lanes: int, bits: int, seconds: float) -> Row:
    """One service: learn, checkpoint, stop, start again."""
    config = {"table_bits": bits, **(ONE_RATE if lanes == 1 else {})}
    name = f"table-{lanes}-{bits}"
    with contenders.ours(folder, name, config) as service:
        before = service.memory_mib()
        loaded(service, file, 4, seconds)
        took = checkpointed(service)
        time.sleep(SETTLE_SECONDS)
        after, most = service.memory_mib(), service.memory_mib("most")
    began = time.monotonic()
    with contenders.ours(folder, name, config) as service:
        ready = time.monotonic() - began
        again = service.memory_mib()
    return {
        "rates": lanes,
        "slots": f"2^{bits}",
        "weights MiB": round(lanes * RECORD_BYTES * 2**bits / 2**20, 2),
        "fresh MiB": round(before),
        "learned MiB": round(after),
        "at the most MiB": round(most),
        "started again MiB": round(again),
        "checkpoint s": took,
        "start s": round(ready, 2),
    }


def checkpointed(service: Contender) -> float:
    """Seconds of the checkpoint that holds all that was learned."""
    url = f"http://127.0.0.1:{service.address}/stats"
    until = time.monotonic() + CHECKPOINT_SECONDS
    while time.monotonic() < until:
        with urllib.request.urlopen(url, timeout=30) as reply:
            stats = json.loads(reply.read())
        seq = int(stats["position"].rpartition("-")[2])
        if stats["checkpoint"]["seq"] == seq:
            return round(float(stats["checkpoint"]["seconds"]), 2)
        time.sleep(0.2)
    raise SystemExit("no checkpoint was written")


CURVES: dict[str, Callable[[argparse.Namespace, Path], Iterator[Row]]] = {
    "slots": slots,
    "features": features,
    "batch": batch,
    "connections": connections,
    "workers": workers,
    "rates": rates,
    "tables": tables,
}


def measure(given: argparse.Namespace, folder: Path, name: str) -> list[Row]:
    """One curve, each row under the lock if there is one."""
    rows: list[Row] = []
    curve = CURVES[name](given, folder)
    while True:
        with machine.alone(given.lock):
            row = next(curve, None)
        if row is None:
            return rows
        rows.append(row)
