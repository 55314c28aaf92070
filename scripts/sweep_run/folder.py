"""What all sweeps share: a folder for their servers, and lines of progress.

The folder is in memory where there is such a file system. A sweep is about what bytes mean and not
about disks: kill, cut and flip are the same on both, and an fsync of memory costs nothing.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  a fresh private folder is made in it


@contextmanager
def scratch() -> Iterator[Path]:
    """A fresh folder with a short path, removed at the end."""
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="clickfold-", dir=where) as directory:
        yield Path(directory)


def say(line: str) -> None:
    """Progress, for whoever watches a long run."""
    print(line, file=sys.stderr, flush=True)
