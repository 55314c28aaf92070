"""What a data directory remembers of the models in Redis."""

from __future__ import annotations

from pathlib import Path

from app.known_models import KnownModels


def test_nothing_is_remembered_at_first(tmp_path: Path) -> None:
    assert KnownModels(tmp_path / "new", "ctr").read() == {}


def test_models_are_remembered_by_prefix_and_struck_out(tmp_path: Path) -> None:
    one, other = KnownModels(tmp_path, "ctr"), KnownModels(tmp_path, "staging")
    one.remember("default", "aa")
    one.remember("m", "bb")
    other.remember("m", "cc")
    assert KnownModels(tmp_path, "ctr").read() == {"default": "aa", "m": "bb"}
    one.forget("m")
    one.forget("never was")
    assert one.read() == {"default": "aa"}
    assert other.read() == {"m": "cc"}


def test_what_is_known_already_is_not_written_again(tmp_path: Path) -> None:
    known = KnownModels(tmp_path, "ctr")
    known.remember("m", "aa")
    before = known.path.stat()
    known.remember("m", "aa")
    assert known.path.stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in tmp_path.iterdir()] == [known.path.name]
