"""`clickfold demo`: a service, a click log with known truth, and how close learning comes to it.

Without --url the demo starts a service of its own as a child process, on a temporary data directory
unless one is named, and ends it when it ends itself. A child, because it is then the very service
that `clickfold serve` starts, and a crash of one is not a crash of the other.

The log is learned in order through the same client as `clickfold learn`. A table shows the
progressive log loss beside the loss of the true probabilities: the gap is what is left to learn.
Half-way, when the world changes, one sees it open and begin to close again.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from app.cli.demo_log import generate
from app.cli.examples import NumberedExample
from app.cli.failures import CommandFailed, say
from app.cli.learn import batches, body_of, labels_and_weights
from app.cli.progress import DoublingTable, ProgressBar
from app.cli.service import Service

START_SECONDS_MAX = 240.0  # the very first start compiles the kernels
SLICES = ["device", "slot", "hour", "site"]  # what the page shows figures by
_LINES_AT_LEAST = 20
_POLL_SECONDS = 0.1
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class DemoPlan:
    """What to stream: how many examples, from which seed, how fast (per second, None: at once)."""

    examples: int
    seed: int
    batch: int
    rate: float | None


@contextmanager
def own_service(port: int | None, data_dir: Path | None) -> Iterator[str]:
    """Start `clickfold serve` as a child, yield its address when ready, stop it at the end.

    Raises CommandFailed when it ends or is not ready in time.
    """
    with tempfile.TemporaryDirectory(prefix="clickfold-demo-") as temporary:
        directory = data_dir or Path(temporary)
        port = port or _free_port()
        command = [sys.executable, "-m", "app.cli.main", "serve", "--port", str(port)]
        command += ["--data-dir", str(directory), "--config", json.dumps({"slices": SLICES})]
        process = subprocess.Popen(command)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, process)
            yield url
        finally:
            _stop(process)


def stream(service: Service, plan: DemoPlan) -> dict[str, Any]:
    """Learn the synthetic log; the figures of the run, the truth's own log loss among them."""
    with ProgressBar(plan.examples, "streaming") as bar:
        table = DoublingTable(bar.write, True, max(1, plan.examples // _LINES_AT_LEAST))
        position = None
        duplicates = 0
        started = time.monotonic()
        run_id = secrets.token_hex(8)
        truths: list[float] = []
        for number, batch in enumerate(batches(_numbered(plan, truths), plan.batch)):
            answer = service.learn(body_of(batch), f"{run_id}-{number}")
            position = answer.position
            duplicates += answer.duplicates
            predictions = [float("nan") if p is None else p for p in answer.predictions]
            table.add(np.array(predictions), *labels_and_weights(batch), np.array(truths))
            truths.clear()
            done = (number + 1) * plan.batch
            bar.move_to(done)
            if plan.rate:
                time.sleep(max(0.0, started + done / plan.rate - time.monotonic()))
        table.finish()
    figures = table.figures
    weight = max(figures.weight_sum, 1.0)
    return {
        "examples": figures.scored_count,
        "duplicates": duplicates,
        **figures.as_dict(),
        "truth_log_loss": table.truth_loss_sum / weight,
        "position": position,
        "digest": service.stats().get("digest"),
        "examples_per_second": figures.scored_count / max(table.seconds, 1e-9),
    }


def _numbered(plan: DemoPlan, truths: list[float]) -> Iterator[NumberedExample]:
    """The log's examples; the true probability of each is appended to `truths` as it is taken."""
    encode = msgspec.json.Encoder().encode
    for line, (example, probability) in enumerate(generate(plan.seed, plan.examples), 1):
        truths.append(probability)
        yield NumberedExample("demo log", line, encode(example), example["label"], 1.0)


def wait_for_interrupt() -> None:
    """Return when the user presses Ctrl-C."""
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        say("")


def end_like_ctrl_c_on_sigterm() -> None:
    """Let SIGTERM unwind the stack too, so that the child service is stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _free_port() -> int:
    """8000 as `clickfold serve` would take, or any other when that is taken."""
    for port in (8000, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise CommandFailed("no free port on 127.0.0.1; name one with --port")


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + START_SECONDS_MAX
    with Service(url, None) as service:
        while time.monotonic() < give_up_at:
            if process.poll() is not None:
                raise CommandFailed(f"the service ended with status {process.returncode}")
            try:
                service.ask("GET", "/readyz")
            except CommandFailed:
                time.sleep(_POLL_SECONDS)
            else:
                return
    raise CommandFailed(f"the service was not ready within {START_SECONDS_MAX:g} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
