"""Predictions beside a bulk learner: how late they are answered, on a fixed schedule.

    python -m scripts.benchmarks.mixed --rounds 3 --seconds 6

One client learns in bulk as fast as it can: requests of 1,000 examples over 4 connections, each
sent when the one before is answered. Another asks for predictions of single examples 500 times a
second, whether or not earlier ones are answered (scripts/acceptance/prober.py); delays are counted
from the schedule. At the same time the same is asked of the bare echo: what that shows is the
machine's doing, with its cores full. `quiet` is a round without the learner.

Every figure is of one round; printed is the median of the rounds, least and greatest beside it.
With 1 and 2 worker processes, for the default mixture and for a single learning rate.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from scripts.acceptance.service import Service, free_port
from scripts.benchmarks.__main__ import example, wait_ready
from scripts.benchmarks.load import post, write_requests

INTERVAL_SECONDS = 1 / 500
SETTLE_SECONDS = 1.0
CONFIGS = {"mixture": {}, "single rate": {"optimizer": {"learning_rate": 0.1}}}
DISTINCT_REQUESTS = 24
P99_MS_MAX = {1: 10.0, 2: 5.0}  # by the number of workers
Figures = dict[str, float]


class Files:
    """The requests of both clients, and where answers are written."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.learn, self.predict = folder / "learn", folder / "predict"
        rng = random.Random(options.seed)
        for path, count in ((self.learn, options.examples), (self.predict, 1)):
            learns = path == self.learn
            requests = []
            for _ in range(DISTINCT_REQUESTS):
                examples = [example(rng, labelled=learns) for _ in range(count)]
                requests.append(post(f"/{path.name}", json.dumps({"examples": examples}).encode()))
            write_requests(path, requests)


class Prober:
    """A process that asks 500 times a second."""

    def __init__(self, files: Files, port: int, name: str) -> None:
        self._answers = files.folder / f"{name}.answers"
        words = [str(port), str(INTERVAL_SECONDS), str(files.predict), str(self._answers)]
        command = [sys.executable, "-m", "scripts.acceptance.prober", *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)

    def stop(self, since: float, until: float) -> list[float]:
        """Milliseconds of every answer that was due in between."""
        self._process.communicate()
        assert self._process.returncode == 0, "a prober failed"
        answers = np.fromfile(self._answers).reshape(-1, 2)
        inside = (answers[:, 0] >= since) & (answers[:, 0] < until)
        milliseconds: list[float] = (answers[inside, 1] * 1000).tolist()
        return milliseconds


def one_round(
    files: Files, port: int, echo_port: int, options: argparse.Namespace, *, learns: bool
) -> Figures:
    """Percentiles of both probers in milliseconds, and the learner's examples a second."""
    learner = None
    if learns:
        seconds = options.seconds + 2 * SETTLE_SECONDS
        words = [str(port), str(options.connections), str(seconds), str(files.learn)]
        command = [sys.executable, "-m", "scripts.benchmarks.load", *words]
        learner = subprocess.Popen(command, stdout=subprocess.PIPE)
    probers = {"": Prober(files, port, "service"), "echo_": Prober(files, echo_port, "echo")}
    time.sleep(SETTLE_SECONDS)
    since = time.monotonic()
    time.sleep(options.seconds)
    until = time.monotonic()
    figures: Figures = {}
    for prefix, prober in probers.items():
        p50, p99, p999 = np.percentile(prober.stop(since, until), [50, 99, 99.9]).tolist()
        figures |= {f"{prefix}p50_ms": p50, f"{prefix}p99_ms": p99, f"{prefix}p99.9_ms": p999}
    if learner is not None:
        load = json.loads(learner.communicate()[0])
        assert set(load["statuses"]) == {"200"}, load["statuses"]
        figures["examples_per_second"] = load["per_second"] * options.examples
    return figures


def measured(
    files: Files, echo_port: int, config: dict[str, Any], workers: int, options: argparse.Namespace
) -> dict[str, list[Figures]]:
    """The rounds of one service: with the learner, and one without."""
    with tempfile.TemporaryDirectory(prefix="clickfold-mixed-") as name:
        service = Service(
            Path(name) / "data", "--workers", str(workers), CLICKFOLD_CONFIG=json.dumps(config)
        )
        with service:
            ask = (files, service.port, echo_port, options)
            return {
                "quiet": [one_round(*ask, learns=False)],
                "learning": [one_round(*ask, learns=True) for _ in range(options.rounds)],
            }


def spread(rounds: list[Figures], key: str) -> str:
    """median (least to greatest)."""
    values = [figures[key] for figures in rounds if key in figures]
    if not values:
        return ""
    shown = [f"{v:,.{0 if v > 1000 else 2}f}" for v in (statistics.median(values), *_ends(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if len(values) > 1 else shown[0]


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def table(results: dict[str, dict[str, list[Figures]]]) -> str:
    """The Markdown table."""
    columns = {
        "p50_ms": "p50 ms", "p99_ms": "p99 ms", "p99.9_ms": "p99.9 ms",
        "echo_p99_ms": "echo's p99 ms", "examples_per_second": "learned examples/s",
    }  # fmt: skip
    rows = [
        "| model, workers | load | " + " | ".join(columns.values()) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for name, loads in results.items():
        for load, rounds in loads.items():
            cells = [spread(rounds, key) for key in columns]
            rows.append("| " + " | ".join([name, load, *cells]) + " |")
    return "\n".join(rows)


def main() -> None:
    """Measure and print a Markdown table, or with --json one document."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--examples", type=int, default=1000, help="of a request to learn")
    parser.add_argument("--connections", type=int, default=4, help="of the learner")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--models", nargs="+", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    echo_port = free_port()
    echo = subprocess.Popen([sys.executable, "-m", "scripts.benchmarks.echo", str(echo_port)])
    try:
        wait_ready(echo_port, "/")
        with tempfile.TemporaryDirectory(prefix="clickfold-mixed-") as name:
            files = Files(Path(name), options)
            results = {
                f"{model}, {workers}": measured(files, echo_port, CONFIGS[model], workers, options)
                for model in options.models
                for workers in options.workers
            }
    finally:
        echo.terminate()
        echo.wait()
    print(json.dumps(results) if options.json else table(results))


if __name__ == "__main__":
    main()
