"""Services and Redis as the harness sees them: start, kill, wait for an end that comes by itself.

Services are forks of the template. A pid is held by a descriptor (pidfd) from the start, so that
nobody else's process is ever waited for or killed under a number that was given out again.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.embedded_server import find_binary

START_SECONDS = 30.0
STOP_SECONDS = 30.0
TEMPLATE = "scripts.crash_run.template"
REACHED = "failpoint reached: "


class HarnessError(Exception):
    """The run itself went wrong: nothing is known about the product."""


class Violation(Exception):
    """The product broke a promise; the message is one line."""


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Template:
    """The process that forks services; shared by all episodes of a worker."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", TEMPLATE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        if self._line() != "ready":
            raise Violation("no service can be prepared: importing or the self-test fails")

    def fork(self, settings: dict[str, Any], log: Path, plan: str) -> int:
        """The pid of a new service process."""
        order = json.dumps({"settings": settings, "log": str(log), "plan": plan})
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(order + "\n")
            self._process.stdin.flush()
            return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it; services that it forked go on."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Service:
    """One service on a port, through all its lives."""

    def __init__(self, template: Template, settings: dict[str, Any], log: Path) -> None:
        self.port = free_port()
        self._template = template
        self._settings = {**settings, "port": self.port}
        self.log = log
        self.pid = 0
        self._pidfd = -1
        self._told = 0  # bytes of the log that were looked at

    def start(self, plan: str = "", **settings: Any) -> None:
        """Fork a service; it is not ready yet."""
        self._forget()
        self.pid = self._template.fork({**self._settings, **settings}, self.log, plan)
        with suppress(ProcessLookupError):  # dead already: an early failpoint
            self._pidfd = os.pidfd_open(self.pid)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        if self._pidfd < 0:
            return False
        return not select.select([self._pidfd], [], [], 0)[0]

    def wait_dead(self, seconds: float) -> bool:
        """Wait for its end; whether it ended."""
        if self._pidfd < 0:
            return True
        return bool(select.select([self._pidfd], [], [], seconds)[0])

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.signal(signal.SIGKILL)
        self.wait_dead(STOP_SECONDS)

    def stop(self) -> None:
        """SIGTERM; HarnessError when it does not end."""
        self.signal(signal.SIGTERM)
        if not self.wait_dead(STOP_SECONDS):
            raise HarnessError(f"the service does not stop; see {self.log}")

    def is_ready(self) -> bool:
        """What /readyz says; False when nobody answers."""
        try:
            status, body = self.request("GET", "/readyz", seconds=5.0)
        except OSError:
            return False
        return status == 200 and bool(body.get("learn"))

    def wait_ready(self, seconds: float = START_SECONDS) -> bool:
        """Wait until it can learn; False when it ended before that."""
        deadline = time.monotonic() + seconds
        while not self.is_ready():
            if self.wait_dead(0.01):
                return False
            if time.monotonic() > deadline:
                raise Violation(f"the service does not get ready in {seconds:.0f} s")
        return True

    def request(
        self, method: str, path: str, body: Any = None, seconds: float = 60.0
    ) -> tuple[int, Any]:
        """Status and document of one request on a connection of its own; OSError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"content-type": "application/json"},
            )
            reply = connection.getresponse()
            content = reply.read()
            return reply.status, json.loads(content) if content else None
        except (http.client.HTTPException, ValueError) as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def take_reached(self) -> list[str]:
        """Steps of failpoint plans taken since this was asked last."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as file:
            file.seek(self._told)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._told += len(whole)
        lines = whole.decode(errors="replace").splitlines()
        return [line.removeprefix(REACHED) for line in lines if line.startswith(REACHED)]

    def _forget(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = -1


class Redis:
    """A server under one address that is started again, on the same data, whenever it dies."""

    def __init__(self, directory: Path, appendfsync: str = "always") -> None:
        self.directory = directory
        self.data = directory / "redis"
        self.data.mkdir(parents=True)
        self.socket = directory / "s"
        self.pid_file = directory / "redis.pid"
        self.deaths = 0
        self._appendfsync = appendfsync
        self._binary, _ = find_binary("bundled")
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._held = False
        self._closed = threading.Event()
        self._spawn()
        threading.Thread(target=self._look_after, daemon=True).start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def kill(self) -> None:
        """SIGKILL; it comes back by itself."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def lose(self, change: Any) -> None:
        """Kill it, change its files, and start it again."""
        with self._lock:
            assert self._process is not None
            self._process.kill()
            self._process.wait()
            self.deaths += 1
            change()
            self._spawn()

    def wait_answers(self) -> None:
        """Until PING is answered."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise HarnessError(f"Redis does not answer; see {self.directory}/redis.log")
            time.sleep(0.003)

    def close(self) -> None:
        """End it for good."""
        self._closed.set()
        with self._lock:
            if self._process is not None:
                self._process.terminate()
                self._process.wait()
                self._process = None

    def append_only_file(self) -> Path:
        """The file that commands are appended to. There is one: small logs are never rewritten."""
        found = list((self.data / "appendonlydir").glob("*.incr.aof"))
        if len(found) != 1:
            raise HarnessError(f"{len(found)} append-only files in {self.data}")
        return found[0]

    def _spawn(self) -> None:
        self.socket.unlink(missing_ok=True)
        options = {
            "port": "0", "unixsocket": str(self.socket), "dir": str(self.data),
            "appendonly": "yes", "appendfsync": self._appendfsync,
            "no-appendfsync-on-rewrite": "no", "aof-load-truncated": "yes", "save": "",
            "auto-aof-rewrite-percentage": "0", "maxmemory-policy": "noeviction",
            "logfile": str(self.directory / "redis.log"),
        }  # fmt: skip
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([str(self._binary), *words], stdin=subprocess.DEVNULL)
        new = self.pid_file.with_suffix(".new")
        new.write_text(str(self._process.pid))
        new.replace(self.pid_file)  # a failpoint may be reading it

    def _look_after(self) -> None:
        while not self._closed.wait(0.01):
            with self._lock:
                if self._process is not None and self._process.poll() is not None:
                    self.deaths += 1
                    self._spawn()

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(2.0)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def remove(directory: Path) -> None:
    """Take away an episode's files."""
    shutil.rmtree(directory, ignore_errors=True)
