"""Snapshot files: the whole model comes back, and no changed, lost or added byte goes unseen."""

from __future__ import annotations

import io
import itertools
import json
import zlib
from functools import cache

import numpy as np
import pytest

from ftrl_core import snapshot_file
from ftrl_core.checkpoint import cut
from ftrl_core.entry import ControlEntry
from ftrl_core.errors import BadSnapshot
from ftrl_core.hashing import xxh64
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.snapshot_file import read_header, read_snapshot, write_snapshot
from tests.oracle.streams import folded, payloads, random_batch


def written(model: Model, name: str = "noon") -> bytes:
    pieces = write_snapshot(
        cut(model, -1), name=name, incarnation="ab" * 8, created_ms=77, examples=model.examples
    )
    return b"".join(pieces)


def read(content: bytes) -> Model:
    return read_snapshot(io.BytesIO(content))[1]


@cache
def small() -> bytes:
    """Of a model with a table of two pages, one of them touched, and a few ids."""
    model = folded({"table_bits": 13, "deduplication_window": 50}, payloads(1, 2, rows=6, ids=99))
    model.apply(Position(1, 3), ControlEntry("names", {"names": ["ad", "é"]}))
    return written(model)


def test_round_trip(seed: int) -> None:
    model = folded({"table_bits": 15, "deduplication_window": 9_000}, payloads(seed, 6, ids=500))
    model.apply(Position(4, 7), ControlEntry("names", {"names": ["ad", "é"]}))
    header, copy = read_snapshot(io.BytesIO(written(model)))
    assert copy.state_digest() == model.state_digest()
    assert copy.position == header.position == (4, 7)
    assert copy.names.in_order() == model.names.in_order() == ["ad", "é"]
    assert copy.stats() == model.stats()
    batch = random_batch(np.random.default_rng(seed), 40, ids=500)
    assert copy.learn(batch).tobytes() == model.learn(batch).tobytes()
    assert copy.state_digest() == model.state_digest()


def test_the_header() -> None:
    model = folded({"table_bits": 13}, payloads(1, 2))
    header = read_header(io.BytesIO(written(model, "été")))
    assert header.to_dict() == {
        "name": "été", "position": "1-2", "digest": model.digest(), "examples": 80,
        "created_ms": 77, "incarnation": "ab" * 8, "config": model.config.to_dict(),
    }  # fmt: skip


def test_a_model_that_learned_nothing() -> None:
    model = Model({"table_bits": 22})
    content = written(model)
    assert len(content) < 2_000
    assert read(content).state_digest() == model.state_digest()


def test_writing_twice_gives_the_same_bytes() -> None:
    model = folded({"table_bits": 13}, payloads(1, 2))
    assert written(model) == written(model)


def test_every_changed_byte_is_refused() -> None:
    content = small()
    head = int.from_bytes(content[8:12], "little") + 12 + 2 * 29
    offsets = {*range(0, len(content), 97), *range(head), *range(len(content) - 60, len(content))}
    for offset in sorted(offsets):
        for change in (0x01, 0xFF):
            damaged = bytearray(content)
            damaged[offset] ^= change
            with pytest.raises(BadSnapshot) as raised:
                read(bytes(damaged))
            assert str(raised.value)


def test_every_truncation_and_addition_is_refused() -> None:
    content = small()
    sizes = {*range(0, len(content), 89), *range(len(content) - 45, len(content))}
    for size in sorted(sizes):
        with pytest.raises(BadSnapshot):
            read(content[:size])
    for tail in (b"\0", content, content[-40:]):
        with pytest.raises(BadSnapshot):
            read(content + tail)


def frames(content: bytes) -> list[bytes]:
    """The file's opening and its frames."""
    at = 12 + int.from_bytes(content[8:12], "little")
    parts = [content[:at]]
    while at < len(content):
        end = at + 21 + int.from_bytes(content[at + 9 : at + 13], "little")
        parts.append(content[at:end])
        at = end
    return parts


def chained(opening: bytes, raw: list[tuple[int, int, int, bytes]]) -> bytes:
    """A file with a right chain of checksums over these frames: kind, index, raw size, stored."""
    chain, content = xxh64(opening), opening
    for kind, index, size, stored in raw:
        head = snapshot_file._FRAME.pack(kind, index, size, len(stored))
        chain = xxh64(head + stored, chain)
        content += head + chain.to_bytes(8, "little") + stored
    return content


def unpacked(part: bytes) -> tuple[int, int, int, bytes]:
    kind, index, size, _ = snapshot_file._FRAME.unpack_from(part)
    return kind, index, size, part[21:]


def test_frames_missing_repeated_or_reordered_are_refused() -> None:
    opening, *parts = frames(small())
    assert b"".join([opening, *parts]) == small()
    assert len(parts) >= 7
    for i in range(len(parts)):
        with pytest.raises(BadSnapshot):
            read(b"".join([opening, *parts[:i], *parts[i + 1 :]]))
        with pytest.raises(BadSnapshot):
            read(b"".join([opening, *parts[: i + 1], *parts[i:]]))
    for i, j in itertools.combinations(range(len(parts)), 2):
        order = list(range(len(parts)))
        order[i], order[j] = j, i
        with pytest.raises(BadSnapshot):
            read(b"".join([opening, *(parts[k] for k in order)]))


def test_parts_of_two_files_are_not_mixed() -> None:
    other = folded({"table_bits": 13, "deduplication_window": 50}, payloads(2, 3, rows=6, ids=99))
    ours, theirs = frames(small()), frames(written(other))
    for i in range(len(ours)):
        with pytest.raises(BadSnapshot):
            read(b"".join([*ours[:i], *theirs[i : i + 1], *ours[i + 1 :]]))


def test_the_helper_makes_whole_files() -> None:
    opening, *parts = frames(small())
    assert chained(opening, [unpacked(part) for part in parts]) == small()


PAGE, SEGMENT, END = snapshot_file.PAGE, snapshot_file.SEGMENT, snapshot_file.END


@pytest.mark.parametrize(("place", "frame"), [
    (1, (PAGE, 2, 32768, zlib.compress(bytes(32768)))),  # a page that the table has not
    (1, (PAGE, 0, 5, zlib.compress(b"12345"))),  # a page of another size
    (1, (9, 0, 0, b"")),  # an unknown kind
    (1, (PAGE, 0, 32768, b"nonsense")),  # stored bytes that do not decompress
    (1, (PAGE, 0, 32768, zlib.compress(b"x"))),  # fewer bytes than it says
    (1, (PAGE, 0, 32768, zlib.compress(bytes(range(256)) * 128))),  # another page: the digest
    (2, (SEGMENT, 0, 2, zlib.compress(b"[]"))),  # a core that is none
    (2, (SEGMENT, 7, 2, zlib.compress(b"[]"))),  # no core at all
    (-1, (END, 1, 0, b"")),  # another count of frames
])  # fmt: skip
def test_nonsense_with_right_checksums(place: int, frame: tuple[int, int, int, bytes]) -> None:
    opening, *parts = frames(small())
    raw = [unpacked(part) for part in parts]
    raw[place] = frame
    with pytest.raises(BadSnapshot):
        read(chained(opening, raw))


def test_a_file_that_expands_without_end_is_refused_early() -> None:
    """A frame may not claim more than a segment's bound, nor expand beyond its claim."""
    opening, *parts = frames(small())
    bomb = zlib.compress(bytes(10_000_000))
    with pytest.raises(BadSnapshot, match="long"):
        read(chained(opening, [unpacked(parts[0]), (SEGMENT, 0, 2**32 - 1, bomb)]))
    raw = [unpacked(part) for part in parts]
    raw[2] = (SEGMENT, 0, len(bomb), bomb)  # says less than it holds: the rest is not looked at
    with pytest.raises(BadSnapshot):
        read(chained(opening, raw))


@pytest.mark.parametrize("text", [
    b"{}", b"[]", b"\xff", b"{", b'{"config": {}, "position": "1-1"}',
    b'{"config": {"table_bits": 99}, "position": "1-1"}',
])  # fmt: skip
def test_a_header_that_cannot_be_read(text: bytes) -> None:
    opening = snapshot_file.MAGIC + len(text).to_bytes(4, "little") + text
    with pytest.raises(BadSnapshot):
        read(chained(opening, [(0, 0, 0, b"")]))


@pytest.mark.parametrize(
    "content", [b"", b"CFSNAP1", b"CFSNAP2\n" + bytes(100), b"CFSNAP1\n" + b"\xff" * 100]
)
def test_what_is_no_snapshot(content: bytes) -> None:
    with pytest.raises(BadSnapshot):
        read(content)
    with pytest.raises(BadSnapshot):
        read_header(io.BytesIO(content))


HEADER: dict[str, object] = {
    "config": {}, "position": "1-1", "digest": "d", "incarnation": "i", "name": "n",
    "created_ms": 1, "examples": 1,
}  # fmt: skip
STRANGE: list[object] = [None, -1, 1e400, float("nan"), [], {}, 2**70, "\ud800", "x" * 257]


@pytest.mark.parametrize("name", [name for name in HEADER if name != "config"])
@pytest.mark.parametrize("value", STRANGE)
def test_a_header_that_says_what_nobody_could_show(name: str, value: object) -> None:
    def sealed(header: dict[str, object]) -> io.BytesIO:
        text = json.dumps(header).encode()
        opening = snapshot_file.MAGIC + len(text).to_bytes(4, "little") + text
        return io.BytesIO(chained(opening, [(0, 0, 0, b"")]))

    assert read_header(sealed(HEADER)).digest == "d"
    with pytest.raises(BadSnapshot):
        read_header(sealed({**HEADER, name: value}))


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"config":' * 50_000, b"9" * 5000])
def test_a_header_that_is_nested_or_long(text: bytes) -> None:
    opening = snapshot_file.MAGIC + len(text).to_bytes(4, "little") + text
    with pytest.raises(BadSnapshot):
        read(chained(opening, [(0, 0, 0, b"")]))
