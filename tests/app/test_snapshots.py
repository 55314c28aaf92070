"""The snapshot directory: hostile names, links, crashes in the middle, two writers at once."""

from __future__ import annotations

import os
import random
import stat
import string
import time
from pathlib import Path

import pytest

from app.errors import Conflict
from app.names import is_name
from app.problems import Problem
from app.snapshots import ABANDONED_SECONDS, SnapshotDirectory, new_name
from ftrl_core.batch import ExampleBatch
from ftrl_core.checkpoint import cut
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadSnapshot
from ftrl_core.model import Model
from ftrl_core.snapshot_file import write_snapshot


@pytest.fixture(scope="module")
def content() -> bytes:
    """A small snapshot file."""
    model = Model({"table_bits": 10, "deduplication_window": 64})
    model.learn(ExampleBatch.from_examples([{"label": 1, "features": {"a": "b"}}]))
    pieces = write_snapshot(
        cut(model, -1), name="origin", incarnation="0" * 16, created_ms=1000, examples=1
    )
    return b"".join(pieces)


def _files(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def test_take_describe_load_delete(tmp_path: Path, content: bytes) -> None:
    directory = SnapshotDirectory(tmp_path / "snapshots")
    described = directory.take("ads", "one", [content[:10], content[10:]])
    assert described == directory.describe("ads", "one")
    assert described.to_dict()["name"] == "one"
    assert described.file_bytes == len(content)
    assert directory.list_of("ads") == [described]
    assert directory.list_of("none") == []
    _, model = directory.load("ads", "one")
    assert model.examples == 1
    with directory.open("ads", "one") as file:
        assert file.read() == content
    directory.delete("ads", "one")
    assert directory.list_of("ads") == []
    directory.close()


def test_files_are_private(tmp_path: Path, content: bytes) -> None:
    directory = SnapshotDirectory(tmp_path / "snapshots")
    directory.take("ads", "one", [content])
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "snapshots", *(tmp_path / "snapshots").rglob("*"))
    }
    assert modes == {"snapshots": 0o700, "ads": 0o700, "one.cfs": 0o600, ".store-id": 0o600}
    directory.close()


def test_the_store_id_is_drawn_once(tmp_path: Path) -> None:
    first = SnapshotDirectory(tmp_path / "a")
    second = SnapshotDirectory(tmp_path / "a")
    other = SnapshotDirectory(tmp_path / "b")
    assert first.store_id == second.store_id
    assert len(first.store_id) == 16
    assert first.store_id != other.store_id
    for directory in (first, second, other):
        directory.close()


HOSTILE = [
    "..",
    ".",
    "",
    "/etc/passwd",
    "../../etc/passwd",
    "a/../b",
    "a\x00b",
    "con ",
    "A",
    "a" * 65,
    "a\n",
    "\u00e9",
    ".part",
    "-rf",
]


def test_hostile_names_touch_nothing(tmp_path: Path, content: bytes, seed: int) -> None:
    directory = SnapshotDirectory(tmp_path / "snapshots")
    draw = random.Random(seed)
    letters = string.printable + "\x00\u00e9/../"
    fuzzed = ["".join(draw.choices(letters, k=draw.randrange(12))) for _ in range(3000)]
    for name in [*HOSTILE, *(name for name in fuzzed if not is_name(name))]:
        for model, snapshot in ((name, "one"), ("ads", name)):
            with pytest.raises(Problem):
                directory.begin(model, snapshot)
            for act in (directory.open, directory.describe, directory.load, directory.delete):
                with pytest.raises(Problem):
                    act(model, snapshot)
    assert _files(tmp_path) == {"snapshots/.store-id"}
    assert content
    directory.close()


def test_links_lead_nowhere(tmp_path: Path, content: bytes) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.cfs").write_bytes(content)
    directory = SnapshotDirectory(tmp_path / "snapshots")
    directory.take("ads", "one", [content])
    (tmp_path / "snapshots/ads/link.cfs").symlink_to(outside / "secret.cfs")
    (tmp_path / "snapshots/linked").symlink_to(outside)
    for model, name in (("ads", "link"), ("linked", "secret")):
        for act in (directory.open, directory.describe, directory.load):
            with pytest.raises(Problem):
                act(model, name)
    with pytest.raises(Problem):
        directory.delete("linked", "secret")
    with pytest.raises(OSError, match="linked"):
        directory.begin("linked", "new")
    with pytest.raises(Conflict):
        directory.begin("ads", "link")
    assert [one.name for one in directory.list_of("ads")] == ["one"]
    assert directory.list_of("linked") == []
    assert _files(outside) == {"secret.cfs"}
    directory.close()


def test_a_name_is_given_once(tmp_path: Path, content: bytes) -> None:
    directory = SnapshotDirectory(tmp_path / "snapshots")
    with directory.begin("ads", "one") as first, directory.begin("ads", "one") as second:
        for upload in (first, second):
            upload.write(content)
            upload.verify()
        first.publish()
        with pytest.raises(Conflict):
            second.publish()
    with pytest.raises(Conflict):
        directory.begin("ads", "one")
    assert _files(tmp_path / "snapshots/ads") == {"one.cfs"}
    directory.close()


def test_what_is_not_published_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    directory = SnapshotDirectory(tmp_path / "snapshots")
    with directory.begin("ads", "one") as upload:
        upload.write(content)
    with directory.begin("ads", "two") as upload:
        upload.write(content[:-1])
        with pytest.raises(BadSnapshot):
            upload.verify()
    assert _files(tmp_path / "snapshots/ads") == set()
    directory.close()


def test_what_a_crash_left_is_removed_when_it_is_old(tmp_path: Path, content: bytes) -> None:
    directory = SnapshotDirectory(tmp_path / "snapshots")
    directory.take("ads", "one", [content])
    old, young = (tmp_path / "snapshots/ads" / f".{name}.part" for name in ("old", "young"))
    for file in (old, young):
        file.write_bytes(b"x")
    long_ago = time.time() - ABANDONED_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    assert len(directory.list_of("ads")) == 1
    directory.take("ads", "two", [content])
    assert not old.exists()
    assert young.exists()
    directory.close()


def test_damaged_files_are_not_listed(tmp_path: Path, content: bytes) -> None:
    directory = SnapshotDirectory(tmp_path / "snapshots")
    directory.take("ads", "one", [content])
    (tmp_path / "snapshots/ads/bad.cfs").write_bytes(b"damaged")
    (tmp_path / "snapshots/ads/folder.cfs").mkdir()
    os.mkfifo(tmp_path / "snapshots/ads/pipe.cfs")
    (tmp_path / "snapshots/ads/UPPER.cfs").write_bytes(content)
    assert [one.name for one in directory.list_of("ads")] == ["one"]
    with pytest.raises(BadSnapshot):
        directory.describe("ads", "bad")
    directory.close()


def test_new_names_are_names() -> None:
    assert new_name("1-42", 0) == "19700101t000000z-1-42"
    assert is_name(new_name("9007199254740991-9007199254740991", 10**12))


def test_a_model_that_does_not_fit_is_refused_before_it_is_made(tmp_path: Path) -> None:
    model = Model({"table_bits": 10, "deduplication_window": 64})
    pieces = list(
        write_snapshot(cut(model, -1), name="x", incarnation="0" * 16, created_ms=1, examples=0)
    )
    seen: list[int] = []

    def require_room(config: ModelConfig) -> None:
        seen.append(config.table_bits)
        raise Conflict("memory-limit", "too large")

    directory = SnapshotDirectory(tmp_path / "snapshots", require_room)
    with directory.begin("ads", "one") as upload:
        for piece in pieces:
            upload.write(piece)
        with pytest.raises(Conflict):
            upload.verify()
    directory.take("ads", "two", pieces)  # our own are not looked at
    with pytest.raises(Conflict):
        directory.load("ads", "two")
    assert seen == [10, 10]
    directory.close()
