"""A bare server for the sweeps: the bundled binary with options of the caller's, on a socket.

app.embedded_server starts what production runs; a sweep also needs DEBUG commands and a server
that keeps no files. Whoever uses it as a context manager has it ended.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from app.embedded_server import find_binary

START_SECONDS = 20.0


class BareServer:
    """A running server; `client` is a plain client of it."""

    def __init__(self, data_dir: Path, **options: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="clickfold-bare-")
        self.socket_path = Path(self._folder.name, "s")
        self.data_dir = data_dir
        words = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "dir": str(data_dir),
            "save": "",
            "logfile": str(data_dir / "bare.log"),
            "enable-debug-command": "yes",
            **options,
        }
        binary, _ = find_binary("bundled")
        arguments = [w for k, v in words.items() for w in (f"--{k.replace('_', '-')}", v)]
        self.process = subprocess.Popen([str(binary), *arguments], stdout=subprocess.DEVNULL)
        self.client = Redis(unix_socket_path=str(self.socket_path), protocol=2)
        self._wait()

    @property
    def url(self) -> str:
        """For app.redis_connections."""
        return f"unix://{self.socket_path}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()

    def ask(self, *words: Any) -> Any:
        """One command's reply; RedisError for a refusal."""
        return self.client.execute_command(*words)

    def dataset_digest(self) -> str:
        """Over every key and value, in no order."""
        return str(self.ask("DEBUG", "DIGEST"))

    def feed(self, content: bytes, replies: int) -> None:
        """Send commands as they stand in a file; RedisError if one is refused."""
        connection = self.client.connection_pool.get_connection()
        try:
            connection.send_packed_command([content])
            for _ in range(replies):
                connection.read_response()
        finally:
            self.client.connection_pool.release(connection)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.client.ping():
                    return
            except (RedisError, OSError):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.005)
