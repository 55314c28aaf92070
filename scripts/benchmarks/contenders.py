"""The processes that are measured: started, made ready, frozen while others are measured, ended.

A contender that is not measured is stopped by signal, with its descendants, so that no background
work of one (a checkpoint, say) is held against another. One that cannot be started is `missing`,
with the reason, and its lines say so.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from scripts.benchmarks import machine

BIN = Path(sys.executable).parent
PEERS_PYTHON = Path(".venv-bench/bin/python")
READY_SECONDS = 120.0
QUIET_SHARE = 0.03  # of one processor
QUIET_SECONDS = 15.0
ONE_RATE = {"optimizer": {"learning_rate": 0.1}}


class Missing(Exception):
    """A contender is not to be had here; the message says why."""


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def peers_python() -> str:
    """The interpreter of the peers' environment."""
    if not PEERS_PYTHON.with_name("..").joinpath("bench-stamp").exists():
        raise Missing("the peers' environment is not made: scripts/bench --peers makes it")
    return str(PEERS_PYTHON.absolute())


def wait_ready(port: int, path: str) -> None:
    """Until a GET answers 200."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server did not get ready")


class Contender:
    """A server in a process of its own; `address` is a port or the path of a socket.

    `nice` is the priority of all contenders, with their Redis.
    """

    nice: ClassVar[int] = 0

    def __init__(
        self, name: str, command: list[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.address = ""
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
            )
        self._frozen = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.thaw()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_until_ready(self, path: str) -> Self:
        """Until a GET answers at all below 500; Missing when it ends or never does."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.address}{path}", timeout=2):
                    machine.prefer(self.pids(), self.nice)
                    return self
            except OSError:
                time.sleep(0.05)
        lines = self._log.read_text(errors="replace").splitlines() or ["it said nothing"]
        self.process.kill()
        raise Missing(f"{self.name} did not get ready: {lines[-1]}")

    def pids(self) -> list[int]:
        """The process and its descendants."""
        return machine.tree(self.process.pid)

    def memory_mib(self, when: str = "now") -> float:
        """Resident memory of the process itself, without Redis; `most` for its peak."""
        return sum(f[when] for f in machine.memory([self.process.pid]).values())

    def freeze(self) -> None:
        """Let it do nothing."""
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Let it go on."""
        if self._frozen:
            for pid in self.pids():
                os.kill(pid, signal.SIGCONT)
            self._frozen = False

    def settle(self) -> None:
        """Wait until it does nothing of its own any more, such as a checkpoint."""
        pids, until = self.pids(), time.monotonic() + QUIET_SECONDS
        before = machine.processor_seconds(pids)
        while time.monotonic() < until:
            time.sleep(0.3)
            now = machine.processor_seconds(pids)
            if now - before <= 0.3 * QUIET_SHARE:
                return
            before = now


def echo(folder: Path) -> Contender:
    """The bare ASGI application."""
    port = free_port()
    command = [sys.executable, "-m", "scripts.benchmarks.echo", str(port)]
    contender = Contender("echo", command, folder / "echo.log")
    contender.address = str(port)
    return contender.wait_until_ready("/")


def ours(
    folder: Path, name: str, config: Mapping[str, object] | None = None, *options: str
) -> Contender:
    """The service on its embedded server, at its defaults but for the configuration."""
    port = free_port()
    command = [str(BIN / "clickfold"), "serve", "--port", str(port)]
    command += ["--data-dir", str(folder / name), *options]
    environment = {"CLICKFOLD_CONFIG": json.dumps(config)} if config else {}
    contender = Contender(name, command, folder / f"{name}.log", environment)
    contender.address = str(port)
    return contender.wait_until_ready("/readyz")


def peer(folder: Path, name: str, module: str) -> Contender:
    """A peer's service, in the peers' environment."""
    port = free_port()
    command = [peers_python(), "-m", f"scripts.benchmarks.peers.{module}", str(port)]
    contender = Contender(name, command, folder / f"{name}.log")
    contender.address = str(port)
    return contender.wait_until_ready("/openapi.json")


def redis(folder: Path) -> Contender:
    """A server as the embedded one is, fsync always, with nothing in front of it."""
    command = [sys.executable, "-m", "scripts.benchmarks.xadd", str(folder / "redis")]
    contender = Contender("redis", command, folder / "redis.log")
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        said = (folder / "redis.log").read_text().strip()
        if said:
            contender.address = said
            machine.prefer(contender.pids(), contender.nice)
            return contender
        time.sleep(0.05)
    raise Missing("the embedded server did not get ready")
