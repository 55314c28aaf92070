"""One holder of a data directory at a time, and who that is.

Two servers that append to one AOF destroy it, and neither notices. So the directory's `.lock` is
held with flock, which the kernel releases when the last process that inherited the descriptor is
gone, however it went: no stale lock to clean up by hand. The embedded server inherits it too. After
a `kill -9` of the launcher the lock therefore stays until the server has really exited, and the
next start waits for that moment instead of racing with it.

The file's content is only for people (and for `Holder.is_alive`); the lock is the flock:

    {"pid": 4711, "since": "2026-01-31T12:00:00+00:00", "started_ticks": 123, "run_dir": "/tmp/..."}

`started_ticks` is the start time of that process since boot, so that a pid that was given out again
is not mistaken for the holder. A lock file alone (O_EXCL) was refused: it survives a crash.
"""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ftrl_core.errors import ClickfoldError

POLL_SECONDS = 0.02


class DataDirectoryBusy(ClickfoldError):
    """Another process holds the data directory; the message names it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who took the lock last: launcher's pid, ISO time, start in clock ticks, socket directory."""

    pid: int
    since: str
    started_ticks: int
    run_dir: str

    def is_alive(self) -> bool:
        """Whether that very process still runs (not a later one with its pid)."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return process_started_ticks(self.pid) == self.started_ticks


def process_started_ticks(pid: int) -> int:
    """Start time in clock ticks since boot; 0 where there is no /proc; -1 for a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])


class DataDirectoryLock:
    """The held lock. `.fd` is for the server to inherit; `.previous` is who held it before."""

    def __init__(self, fd: int, previous: Holder | None) -> None:
        self.fd = fd
        self.previous = previous

    @classmethod
    def acquire(cls, data_dir: Path, wait_seconds: float) -> "DataDirectoryLock":
        """Locks `data_dir`, which exists.

        Waits up to `wait_seconds` for a holder that is just leaving (its launcher is gone); raises
        DataDirectoryBusy at once for one that lives.
        """
        fd = os.open(data_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd, data_dir, time.monotonic() + wait_seconds)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, _read_holder(fd))

    def record(self, run_dir: Path) -> None:
        """Writes this process as the holder."""
        pid = os.getpid()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder = Holder(pid, since, process_started_ticks(pid), str(run_dir))
        text = json.dumps(asdict(holder)).encode()
        os.pwrite(self.fd, text, 0)
        os.ftruncate(self.fd, len(text))

    def release(self) -> None:
        """Lets go of our share; the lock itself ends with the last process that inherited it.

        The record is emptied: whoever still holds the lock now (a child of a killed server that
        rewrites the AOF) is leaving, although this process lives.
        """
        os.ftruncate(self.fd, 0)
        os.close(self.fd)


def _lock(fd: int, data_dir: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(fd)
        else:
            return
        if holder is not None and holder.is_alive():
            raise DataDirectoryBusy(
                f"data directory {data_dir} is in use by process {holder.pid}, since"
                f" {holder.since}: stop that one, or give this one another --data-dir"
            )
        if time.monotonic() > deadline:
            whose = "an earlier process" if holder is None else f"process {holder.pid} (now gone)"
            raise DataDirectoryBusy(
                f"data directory {data_dir} is still locked by the server that {whose} started,"
                " and that server has not finished stopping: try again in a moment, or end it"
                f" (it is the valkey-server or redis-server with files in {data_dir})"
            )
        time.sleep(POLL_SECONDS)


def _read_holder(fd: int) -> Holder | None:
    """The record; None when it is empty, half written, or of another version."""
    try:
        return Holder(**json.loads(os.pread(fd, 4096, 0)))
    except (ValueError, TypeError):
        return None
