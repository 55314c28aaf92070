"""Where compiled kernels are cached, so that a start is fast and an upgrade is never half applied.

Numba keys its cache by the file of the function. A kernel that calls a kernel of *another* file, or
reads a constant of one, is not compiled again when only that file changes: after an upgrade old and
new arithmetic would mix, and replicas could differ. So the directory's name holds a fingerprint of
every source that can reach machine code: files with kernels, and what those import from the core.

    <NUMBA_CACHE_DIR, or .numba_cache in a checkout, or the user's cache>/<fingerprint>/

Must run before numba is imported; `app/__init__.py` does that, as the first line of every process
of the service. The variable goes to child processes, which find it ready. Users of ftrl_core alone
keep numba's own default. Directories of older sources are removed after a day without use.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
UNUSED_SECONDS = 24 * 3600.0
HAS_KERNELS = re.compile(
    rb"^@(?:\w*kernel|intrinsic|inlined)\b|\bimport numba\b|\bfrom numba\b", re.MULTILINE
)
CORE_IMPORT = re.compile(rb"^(?:from|import) ftrl_core\.(\w+)", re.MULTILINE)
FINGERPRINT = re.compile(r"[0-9a-f]{16}")


def choose(environment: MutableMapping[str, str], root: Path) -> Path | None:
    """Sets NUMBA_CACHE_DIR in `environment` for the sources under `root`; the directory.

    None where no directory can be written: numba then falls back to its own choice.
    """
    current = fingerprint(root / "ftrl_core")
    given = environment.get(VARIABLE)
    base = Path(given) if given else _default_base(root)
    if FINGERPRINT.fullmatch(base.name):  # inherited from a parent process
        base = base.parent
    path = base / current
    try:
        path.mkdir(parents=True, exist_ok=True)
        os.utime(path)
    except OSError:
        return None
    _remove_unused(base, path)
    environment[VARIABLE] = str(path)
    return path


def fingerprint(core: Path) -> str:
    """16 hex digits over names and bytes of the sources that kernels are made of."""
    sources = {path.stem: path.read_bytes() for path in core.glob("*.py")}
    pending = [name for name, source in sources.items() if HAS_KERNELS.search(source)]
    reached: set[str] = set()
    while pending:
        name = pending.pop()
        if name in reached or name not in sources:
            continue
        reached.add(name)
        pending += [found.decode() for found in CORE_IMPORT.findall(sources[name])]
    digest = hashlib.sha256()
    for name in sorted(reached):
        digest.update(name.encode() + b"\0" + hashlib.sha256(sources[name]).digest())
    return digest.hexdigest()[:16]


def _default_base(root: Path) -> Path:
    if (root / "pyproject.toml").exists() and os.access(root, os.W_OK):
        return root / ".numba_cache"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path("~/.cache").expanduser()) / "clickfold" / "kernels"


def _remove_unused(base: Path, current: Path) -> None:
    for path in base.iterdir():
        ours = FINGERPRINT.fullmatch(path.name) and path != current
        if ours and time.time() - path.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
