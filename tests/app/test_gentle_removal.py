"""Large files that the server has unlinked are shortened step by step; others are left alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app import gentle_removal
from app.gentle_removal import GentleRemoval

WAIT_SECONDS = 20.0


def wait_until(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not reached():
        assert time.monotonic() < until, "it was not reached"
        time.sleep(0.005)


def held_names() -> list[str]:
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    return names


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gentle_removal, "HELD_BYTES_MIN", 1000)
    monkeypatch.setattr(gentle_removal, "STEP_BYTES", 1000)
    monkeypatch.setattr(gentle_removal, "LOOK_SECONDS", 0.01)


def test_an_unlinked_file_shrinks_in_steps_and_one_with_a_name_does_not(tmp_path: Path) -> None:
    old, new = tmp_path / "appendonly.aof.1.incr.aof", tmp_path / "appendonly.aof.2.incr.aof"
    for path in (old, new):
        path.write_bytes(b"x" * 20_500)
    removal = GentleRemoval(tmp_path)
    try:
        wait_until(lambda: {str(old), str(new)} <= set(held_names()))
        with old.open("rb") as watched:
            old.unlink()
            sizes: list[int] = []
            while not sizes or sizes[-1] > 0:
                sizes.append(os.fstat(watched.fileno()).st_size)
                time.sleep(0.002)
        assert len(set(sizes)) > 5, "it was freed at once"
        wait_until(lambda: not any(name.startswith(str(old)) for name in held_names()))
        assert new.read_bytes() == b"x" * 20_500
    finally:
        removal.close()
    assert not any(name.startswith(str(tmp_path)) for name in held_names())


def test_small_files_are_not_held(tmp_path: Path) -> None:
    small, large = tmp_path / "appendonly.aof.manifest", tmp_path / "appendonly.aof.1.base.rdb"
    small.write_bytes(b"x" * 100)
    large.write_bytes(b"x" * 2000)
    removal = GentleRemoval(tmp_path)
    try:
        wait_until(lambda: str(large) in held_names())
        assert str(small) not in held_names()
    finally:
        removal.close()


def test_a_directory_that_is_not_there_yet_is_no_fault(tmp_path: Path) -> None:
    removal = GentleRemoval(tmp_path / "later")
    (tmp_path / "later").mkdir()
    path = tmp_path / "later" / "appendonly.aof.1.incr.aof"
    path.write_bytes(b"x" * 2000)
    try:
        wait_until(lambda: str(path) in held_names())
    finally:
        removal.close()
