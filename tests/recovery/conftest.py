"""A server that can be stopped and killed, for the tests of this folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recovery.harness import Disk


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A fresh server under an address that stays; its path is short, as a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="clickfold-disk-") as directory:
        server = Disk(Path(directory))
        try:
            yield server
        finally:
            server.close()
