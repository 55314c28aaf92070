"""`scripts/bench`: the service beside a bare ASGI echo.

    echo      a constant for any body, uvicorn with uvloop and httptools, one process
    predict   POST /predict, one example of 39 string features a request
    learn     POST /learn, 100 such examples a request, durability fsync, replies with predictions
    learn_1   POST /learn, one example a request

One service process on the embedded server, one load generator, 16 connections unless told
otherwise. Prints a Markdown table, or with --json one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from scripts.benchmarks.load import post, write_requests

BIN = Path(sys.executable).parent
FIELDS = 39
DISTINCT_REQUESTS = 64
EXAMPLES_OF = {"echo": 1, "predict": 1, "learn": 100, "learn_1": 1}
READY_SECONDS = 120.0


def example(rng: random.Random, *, labelled: bool) -> dict[str, Any]:
    """A Criteo-like example: short names, hexadecimal values with a heavy tail."""
    features = {
        f"C{i}": f"{int(rng.paretovariate(0.6)) * 2654435761 % 2**32:08x}" for i in range(FIELDS)
    }
    return (
        {"label": int(rng.random() < 0.2), "features": features}
        if labelled
        else {"features": features}
    )


def requests_of(line: str, rng: random.Random) -> list[bytes]:
    """Distinct whole requests of one benchmark line."""
    path = "/learn" if line.startswith("learn") else "/predict"
    count, labelled = EXAMPLES_OF[line], path == "/learn"
    return [
        post(
            path,
            json.dumps(
                {"examples": [example(rng, labelled=labelled) for _ in range(count)]}
            ).encode(),
        )
        for _ in range(DISTINCT_REQUESTS)
    ]


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_ready(port: int, path: str) -> None:
    """Until a GET answers 200."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not get ready")


def measure(line: str, port: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One round of one line, by a load generator in a process of its own."""
    command = [
        sys.executable, "-m", "scripts.benchmarks.load", str(port), str(options.connections),
        str(options.seconds), str(folder / line),
    ]  # fmt: skip
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, Any] = json.loads(output)
    if set(figures["statuses"]) != {"200"}:
        raise SystemExit(f"{line}: statuses {figures['statuses']}")
    figures["examples_per_second"] = figures["per_second"] * EXAMPLES_OF[line]
    return figures


def spread(values: list[float], digits: int = 0) -> str:
    """median (least to greatest)."""
    shown = [f"{v:,.{digits}f}" for v in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def table(rounds: list[dict[str, dict[str, Any]]]) -> str:
    """The Markdown table of all rounds."""
    rows = [
        "| line | requests/s | examples/s | p50 ms | p99 ms | requests/s to echo's |",
        "|---|---|---|---|---|---|",
    ]
    for line in rounds[0]:
        of = [r[line] for r in rounds]
        ratios = [r[line]["per_second"] / r["echo"]["per_second"] for r in rounds]
        cells = [spread([f[k] for f in of]) for k in ("per_second", "examples_per_second")]
        cells += [spread([f[k] for f in of], 2) for k in ("p50_ms", "p99_ms")]
        rows.append("| " + " | ".join([line, *cells, spread(ratios, 3)]) + " |")
    return "\n".join(rows)


def main() -> None:
    """Start both servers, measure in turn, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each line in each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print(f"seed {options.seed}, {os.cpu_count()} cores, {platform.machine()}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as name:
        folder = Path(name)
        rng = random.Random(options.seed)
        for line in EXAMPLES_OF:
            write_requests(folder / line, requests_of(line, rng))
        rounds = run_rounds(folder, options)
    print(json.dumps(rounds) if options.json else table(rounds))


def run_rounds(folder: Path, options: argparse.Namespace) -> list[dict[str, dict[str, Any]]]:
    """All rounds, echo first in each."""
    echo_port, port = free_port(), free_port()
    serve = [
        str(BIN / "clickfold"),
        "serve",
        "--port",
        str(port),
        "--data-dir",
        str(folder / "data"),
    ]
    with (folder / "serve.log").open("wb") as log:
        servers = [
            subprocess.Popen([sys.executable, "-m", "scripts.benchmarks.echo", str(echo_port)]),
            subprocess.Popen(serve, stdout=log, stderr=log),
        ]
        try:
            wait_ready(echo_port, "/")
            wait_ready(port, "/readyz")
            ports = dict.fromkeys(EXAMPLES_OF, port) | {"echo": echo_port}
            return [
                {line: measure(line, ports[line], folder, options) for line in EXAMPLES_OF}
                for _ in range(options.rounds)
            ]
        finally:
            for server in servers:
                server.send_signal(signal.SIGTERM)
            for server in servers:
                server.wait(30)


if __name__ == "__main__":
    main()
