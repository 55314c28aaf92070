"""A proxy between a service and Redis that cuts a connection after a given number of bytes.

Bytes are counted over all connections in one direction. The cut lets the bytes before it through
and closes both sides, in the middle of a command or of a reply; `on_cut` may kill Redis then.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

CHUNK_BYTES = 1 << 14
REQUEST, REPLY = "request", "reply"


class Proxy:
    """Listens on a socket of its own; thread-safe."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self._target = path, target
        self._lock = threading.Lock()
        self._direction = ""
        self._left = 0
        self._on_cut: Callable[[], None] | None = None
        self._cuts: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def cut_after(
        self, count: int, direction: str, on_cut: Callable[[], None] | None = None
    ) -> None:
        """Cut once, when so many more bytes have gone in this direction."""
        with self._lock:
            self._left, self._direction, self._on_cut = count, direction, on_cut

    def is_armed(self) -> bool:
        """Whether a cut is waiting for its byte."""
        return bool(self._direction)

    def take_cuts(self) -> list[str]:
        """What was cut since this was asked last."""
        with self._lock:
            cuts, self._cuts = self._cuts, []
        return cuts

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._target))
            except OSError:
                client.close()
                server.close()
                continue
            for source, sink, direction in ((client, server, REQUEST), (server, client, REPLY)):
                pump = threading.Thread(target=self._pump, args=(source, sink, direction))
                pump.daemon = True
                pump.start()

    def _pump(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                through, cut = self._share(len(data), direction)
                sink.sendall(data[:through])
                if cut:
                    self._cut(direction)
                    break
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _share(self, size: int, direction: str) -> tuple[int, bool]:
        """How many of these bytes go through, and whether that is the cut."""
        with self._lock:
            if direction != self._direction:
                return size, False
            if size < self._left:
                self._left -= size
                return size, False
            self._direction = ""
            return self._left, True

    def _cut(self, direction: str) -> None:
        with self._lock:
            self._cuts.append(f"connection cut in a {direction}")
        if self._on_cut is not None:
            self._on_cut()
