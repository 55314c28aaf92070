"""The doctor's look at this machine: folders, disk, memory, open files, kernel, clock."""

from __future__ import annotations

import os
import resource
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from app.cli.findings import Finding, size
from app.settings import Settings

FILES_BESIDE = 128  # descriptors for other than connections
REWRITE_BYTES = 1 << 30  # from where the embedded server rewrites its file, and what it needs then
OLDEST_TIME = 1_735_689_600  # 2025: a clock before it was never set


def look_at_machine(settings: Settings) -> Iterator[Finding]:
    """Every finding about the machine, for these settings."""
    is_embedded = settings.redis_url is None
    if is_embedded:
        yield look_at_folder("data directory", settings.data_dir)
        yield _disk("disk", settings.data_dir, 3 * REWRITE_BYTES + 2 * settings.log_bytes_max)
        yield _overcommit()
    yield look_at_folder("snapshots", settings.snapshots_path())
    yield _memory(settings, is_embedded=is_embedded)
    yield _open_files(settings)
    now = time.time()
    mend = "set the clock: it is years behind" if now < OLDEST_TIME else ""
    yield Finding("time", not mend, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)), mend)


def look_at_folder(what: str, path: Path) -> Finding:
    """The folder, or the nearest one above it that exists, must take a file; only ours to read."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".clickfold-doctor-"):
            pass
    except OSError as error:
        mend = f"give uid {os.getuid()} the right to write there, or name another folder"
        return Finding(what, False, f"{existing}: {error.strerror}", mend)
    if existing != path.absolute():
        return Finding(what, True, f"{path}: will be made in {existing}")
    open_to_others = stat.S_IMODE(existing.stat().st_mode) & 0o077
    mend = f"chmod 700 {path}: others can look into it" if open_to_others else ""
    return Finding(what, True, f"{path}: writable", mend)


def _disk(what: str, path: Path, wanted: int) -> Finding:
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    found = os.statvfs(existing)
    free = found.f_bavail * found.f_frsize
    detail = f"{size(free)} free at {existing}"
    mend = f"make room: up to {size(wanted)} are used beside tables"
    if free < wanted // 4:
        return Finding(what, False, detail, mend)
    return Finding(what, True, detail, mend if free < wanted else "")


def _memory(settings: Settings, *, is_embedded: bool) -> Finding:
    """Models may take memory_limit; an embedded server holds two checkpoints of them, and logs."""
    most = min(one for one in (_total(), _cgroup()) if one)
    wanted = settings.memory_limit * (3 if is_embedded else 1)
    detail = f"{size(most)} here, memory_limit {size(settings.memory_limit)}"
    if settings.memory_limit > most:
        mend = f"set CLICKFOLD_MEMORY_LIMIT below {size(most)}"
        return Finding("memory", True, detail, mend)
    mend = "full models and the embedded server's checkpoints would not fit together"
    return Finding("memory", True, detail, mend if wanted > most else "")


def _total() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroup() -> int:
    """The limit of a container, 0 for none."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def _open_files(settings: Settings) -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.limit_connections + FILES_BESIDE
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return Finding("open files", True, f"{hard} allowed, {wanted} used at most")
    if hard < 2 * FILES_BESIDE:
        return Finding("open files", False, f"{hard} allowed", f"ulimit -Hn {wanted}")
    mend = f"ulimit -Hn {wanted}, or CLICKFOLD_LIMIT_CONNECTIONS={hard - FILES_BESIDE}"
    return Finding("open files", True, f"{hard} allowed, {wanted} wanted", mend)


def _overcommit() -> Finding:
    """A rewrite of the server's file forks: with 0 the kernel may refuse that for a large one."""
    if sys.platform != "linux":
        return Finding("overcommit", True, "not Linux")
    try:
        value = Path("/proc/sys/vm/overcommit_memory").read_text().strip()
    except OSError as error:
        return Finding("overcommit", True, f"cannot be read: {error.strerror}")
    mend = "sysctl vm.overcommit_memory=1, if tables take more than a third of the memory"
    return Finding("overcommit", True, f"vm.overcommit_memory {value}", mend * (value != "1"))
