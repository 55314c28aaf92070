"""Freeing the space of replaced append-only files little by little.

After a rewrite the server unlinks its old file of commands, a gigabyte or more. To free so many
blocks at once is one large transaction of the file system's journal, and on ext4 every fsync waits
for it: with `appendfsync always` the whole server stood still for 120 to 190 ms. So we hold each
large file open. An open file keeps its space after the last name of it is gone; then we shorten it
step by step, and close it. If this process dies first, the kernel frees the rest at once, as it
would without us.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

HELD_BYTES_MIN = 32 << 20
STEP_BYTES = 16 << 20
STEP_SECONDS = 0.02
LOOK_SECONDS = 0.5


class GentleRemoval:
    """A thread that looks after the append-only files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[int, int] = {}  # file descriptor by inode
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gentle-removal", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what is not freed yet is freed at once."""
        self._ended.set()
        self._thread.join()
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self._hold_large_files()
            for inode, descriptor in list(self._held.items()):
                if os.fstat(descriptor).st_nlink == 0 and self._shorten(descriptor):
                    os.close(self._held.pop(inode))

    def _hold_large_files(self) -> None:
        for path in self._directory.glob("appendonly.aof.*"):
            try:
                found = path.stat()
                if found.st_size >= HELD_BYTES_MIN and found.st_ino not in self._held:
                    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                    self._held[os.fstat(descriptor).st_ino] = descriptor
            except OSError:  # it went away in between, or we have no descriptor to spare
                continue

    def _shorten(self, descriptor: int) -> bool:
        """Down to nothing; False when the server is stopping."""
        size = os.fstat(descriptor).st_size
        while size > 0:
            size = max(0, size - STEP_BYTES)
            os.ftruncate(descriptor, size)
            if self._ended.wait(STEP_SECONDS):
                return False
        return True
