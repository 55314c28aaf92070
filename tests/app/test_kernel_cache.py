"""The kernel cache: a new place for new sources, the same place for the same ones."""

import os
from pathlib import Path

import pytest

from app import kernel_cache

KERNEL = "from numba import njit\nfrom ftrl_core.constants import STEP\n\n@njit\ndef f(x): ...\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    core = tmp_path / "ftrl_core"
    core.mkdir()
    (tmp_path / "pyproject.toml").touch()
    (core / "kernels.py").write_text(KERNEL)
    (core / "constants.py").write_text("from ftrl_core.deeper import A\nSTEP = A\n")
    (core / "deeper.py").write_text("A = 1\n")
    (core / "model.py").write_text("from ftrl_core.kernels import f\n")
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "moves"),
    [("kernels", True), ("constants", True), ("deeper", True), ("model", False)],
)
def test_it_moves_with_every_source_that_reaches_machine_code(
    root: Path, changed: str, moves: bool
) -> None:
    before = kernel_cache.fingerprint(root / "ftrl_core")
    assert kernel_cache.fingerprint(root / "ftrl_core") == before
    path = root / "ftrl_core" / f"{changed}.py"
    path.write_text(path.read_text() + "# another\n")
    assert (kernel_cache.fingerprint(root / "ftrl_core") != before) == moves


def test_it_lies_in_the_checkout_or_where_it_was_told(root: Path) -> None:
    environment: dict[str, str] = {}
    path = kernel_cache.choose(environment, root)
    assert path is not None
    assert path.parent == root / ".numba_cache"
    assert environment == {"NUMBA_CACHE_DIR": str(path)}
    assert kernel_cache.choose(environment, root) == path, "a child process moved it"
    told = kernel_cache.choose({"NUMBA_CACHE_DIR": str(root / "told")}, root)
    assert told == root / "told" / path.name


def test_unused_ones_are_removed_after_a_day_and_foreign_files_left(root: Path) -> None:
    base = root / "cache"
    old, young, foreign = base / ("0" * 16), base / ("1" * 16), base / "precious"
    for path in (old, young, foreign):
        path.mkdir(parents=True)
    for path in (old, foreign):
        os.utime(path, (1, 1))
    kernel_cache.choose({"NUMBA_CACHE_DIR": str(base)}, root)
    assert [path.exists() for path in (old, young, foreign)] == [False, True, True]


def test_nothing_is_set_where_nothing_can_be_written(root: Path) -> None:
    (root / "file").touch()
    environment = {"NUMBA_CACHE_DIR": str(root / "file")}
    assert kernel_cache.choose(environment, root) is None
    assert environment == {"NUMBA_CACHE_DIR": str(root / "file")}
