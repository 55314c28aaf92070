"""A copy of the tree in which bugs are planted, one at a time.

The copy stays at one place between mutations, because Numba keeps compiled kernels by the path and
the time of their source: only a mutation of the kernels themselves compiles anew. Everything that
is run there finds the copy first: its directory is the working directory and first in PYTHONPATH,
and `check` asks an interpreter where it found the packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from numba.core import caching

from app import kernel_cache
from scripts.mutants_run.mutation import Mutation

_CACHE_FOLDER = caching.UserProvidedCacheLocator.get_suitable_cache_subpath
PARTS = ("app", "ftrl_core", "scripts", "tests")
FILES = ("pyproject.toml",)
WHERE = "import app, ftrl_core, scripts; print(app.__file__, ftrl_core.__file__, scripts.__file__)"


class Tree:
    """The copy."""

    def __init__(self, root: Path, copy: Path) -> None:
        self.root, self.path = root, copy
        self.environment = {
            **{k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"},
            "PYTHONPATH": str(copy),
            "PYTHONDONTWRITEBYTECODE": "1",  # a mutation of equal size within a second
        }

    def refresh(self) -> None:
        """Make the copy that of today's tree; unchanged files keep their times."""
        self.path.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            shutil.rmtree(self.path / part, ignore_errors=True)
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(self.root / part, self.path / part, ignore=ignored)
        for name in FILES:
            shutil.copy2(self.root / name, self.path / name)
        self.run(sys.executable, "-m", "compileall", "-q", *PARTS, write_bytecode=True)
        self._take_kernels()

    def _take_kernels(self) -> None:
        """Kernels compiled for the tree serve its copy: sources are the same, times too."""
        here, there = (
            cache / _CACHE_FOLDER(str(tree / "ftrl_core" / "jit.py"))
            for tree in (self.root, self.path)
            for cache in [tree / ".numba_cache" / kernel_cache.fingerprint(tree / "ftrl_core")]
        )
        if here.is_dir():
            shutil.copytree(here, there, dirs_exist_ok=True)

    def run(self, *command: str, write_bytecode: bool = False) -> str:
        """Standard output of a command in the copy; it must succeed."""
        environment = dict(self.environment)
        if write_bytecode:
            del environment["PYTHONDONTWRITEBYTECODE"]
        done = subprocess.run(
            command, cwd=self.path, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    def check(self) -> None:
        """That an interpreter in the copy imports the copy."""
        found = self.run(sys.executable, "-c", WHERE).split()
        if not all(name.startswith(f"{self.path}/") for name in found):
            raise SystemExit(f"the copy is not what is imported: {found}")

    @contextmanager
    def planted(self, mutation: Mutation) -> Iterator[None]:
        """The copy with this bug in it."""
        changed = mutation.changed(self.root)
        try:
            for name, text in changed.items():
                (self.path / name).write_text(text)
            if not any(kernel_cache.HAS_KERNELS.search(t.encode()) for t in changed.values()):
                self._take_kernels()
            self.check()
            yield
        finally:
            for name in changed:
                shutil.copy2(self.root / name, self.path / name)
