"""Short private directories for the sockets of embedded servers.

A unix socket's path may have 107 bytes (103 on some systems), so sockets do not lie in the data
directory, whose path is the user's, but in `clickfold-XXXXXXXX/` under the first of
XDG_RUNTIME_DIR, the temporary directory and /tmp that keeps the path below 100 bytes.

Directories of killed launchers are removed by later starts: the one the data directory's lock
file names, and any old one of this user in which nobody listens. Only the socket is ever deleted
in them, by name, so a wrong path in a lock file can do no harm.
"""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "clickfold-"
SOCKET_NAME = "s"
SOCKET_PATH_BYTES = 100
STALE_SECONDS = 60.0


def make() -> Path:
    """A new directory with mode 0700. Raises OSError where no base directory will do."""
    problem: OSError = OSError("no temporary directory has a short enough path")
    for base in _bases():
        try:
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        except OSError as error:
            problem = error
            continue
        return path
    raise problem


def remove(path: Path) -> None:
    """Removes the socket and the directory; leaves anything that is not one of ours."""
    if not path.name.startswith(PREFIX) or not path.is_dir() or path.is_symlink():
        return
    (path / SOCKET_NAME).unlink(missing_ok=True)
    try:
        path.rmdir()
    except OSError:  # somebody else's files are in it
        pass


def remove_stale() -> None:
    """Removes this user's directories that are a minute old and in which nobody listens."""
    for base in _bases():
        for path in base.glob(f"{PREFIX}????????"):
            if _is_stale(path):
                remove(path)


def _bases() -> Iterator[Path]:
    wanted = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")  # noqa: S108
    for name in dict.fromkeys(filter(None, wanted)):
        example = Path(name, PREFIX + "12345678", SOCKET_NAME)
        if Path(name).is_dir() and len(os.fsencode(example)) < SOCKET_PATH_BYTES:
            yield Path(name)


def _is_stale(path: Path) -> bool:
    """By asking the socket, because a pid means nothing to another container's /tmp."""
    try:
        facts = path.lstat()
        if facts.st_uid != os.getuid() or time.time() - facts.st_mtime < STALE_SECONDS:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1.0)
            client.connect(str(path / SOCKET_NAME))
    except (FileNotFoundError, ConnectionRefusedError):
        return True
    except OSError:
        return False
    return False
