"""A service process of its own, as a user would start it, for the acceptance runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

COMMAND = Path(sys.executable).with_name("clickfold")
READY_SECONDS = 120.0


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Service:
    """`clickfold serve` on a data directory; a context manager. `ready_seconds` of each start."""

    def __init__(self, data_dir: Path, *options: str, **environment: str) -> None:
        self.port = free_port()
        self._command = [str(COMMAND), "serve", "--port", str(self.port)]
        self._command += ["--data-dir", str(data_dir), *options]
        self._environment = {**os.environ, **environment}
        self._log = data_dir.with_suffix(".log")
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.ready_seconds = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.client.close()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        started = time.monotonic()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment
            )
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() - started > READY_SECONDS:
                raise SystemExit(f"the service did not get ready; see {self._log}")
            time.sleep(0.02)
        self.ready_seconds = time.monotonic() - started

    def _is_ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    def stop(self) -> None:
        """End it in order: it writes its last checkpoint."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def kill(self) -> None:
        """kill -9 of the service; its embedded server goes with it."""
        self.process.kill()
        self.process.wait()

    def json(self, method: str, path: str, body: Any = None, expect: int = 200) -> Any:
        """The document that answers; an assertion about the status."""
        reply = self.client.request(method, path, json=body)
        assert reply.status_code == expect, (method, path, reply.status_code, reply.text[:300])
        return reply.json() if reply.content else None
