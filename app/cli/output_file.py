"""A file that is there whole or not at all.

It is written under a temporary name beside its place, synced and renamed: an interrupted run leaves
the previous file as it was.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from app.cli.failures import CommandFailed


def write_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Write the pieces to `path`, replacing what is there; raises CommandFailed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CommandFailed(f"cannot write {path}: {error}") from error
