"""The walk over MessagePack settles a map exactly where its texts are UTF-8 and its values ours."""

from __future__ import annotations

import random
import struct

import msgspec
import numpy as np
import pytest

from ftrl_core.json_scan import ScannedRows
from ftrl_core.limits import Limits
from ftrl_core.msgpack_scan import MSGPACK_SPARE_BYTES, scan_maps

# Bytes at the edges of what UTF-8 allows, and characters of each length.
EDGES = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1,
         0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]  # fmt: skip
CHARACTERS = ["a", "é", "\u07ff", "\u0800", "日", "\ud7ff", "\ue000", "\uffff", "😀", "\U0010ffff"]


def scan(*maps: bytes) -> ScannedRows | None:
    buf = np.frombuffer(bytearray(b"".join(maps) + b"\xa1" * MSGPACK_SPARE_BYTES), np.uint8)
    return scan_maps(buf, np.cumsum([0, *map(len, maps)]).astype(np.int64), 7, Limits())


def map_of(value: bytes) -> bytes:
    return b"\x81\xa1a" + value


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_texts_are_utf8(seed: int) -> None:
    choose = random.Random(seed)
    seen = {True: 0, False: 0}
    for _ in range(20_000):
        text = b"".join(choose.choice(CHARACTERS).encode() for _ in range(choose.randrange(8)))
        if choose.random() < 0.6:
            at = choose.randrange(len(text) + 1)
            text = text[:at] + bytes([choose.choice(EDGES)]) + text[at + choose.randrange(2) :]
        settled = scan(map_of(bytes([0xD9, len(text)]) + text)) is not None
        assert settled == is_utf8(text), text
        seen[settled] += 1
    assert min(seen.values()) > 1000


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (b"\x00", 0.0), (b"\x7f", 127.0), (b"\xe0", -32.0), (b"\xff", -1.0),
        (b"\xcc\xff", 255.0), (b"\xcd\xff\xfe", 65534.0), (b"\xce\x00\x10\x00\x00", 1048576.0),
        (b"\xcf" + struct.pack(">Q", 9_999_999), 9_999_999.0),
        (b"\xd0\x80", -128.0), (b"\xd1\x80\x00", -32768.0),
        (b"\xd2" + struct.pack(">i", -70000), -70000.0),
        (b"\xd3" + struct.pack(">q", -5_000_000), -5_000_000.0),
        (b"\xca" + struct.pack(">f", 0.1), float(np.float32(0.1))),
        (b"\xcb" + struct.pack(">d", 0.1), float(np.float32(0.1))),
        (b"\xcb" + struct.pack(">d", -0.0), 0.0), (b"\xcb" + struct.pack(">d", 1e-31), 0.0),
        (b"\xcb" + struct.pack(">d", 1e7), 1e7), (b"\xc3", 1.0),
    ],
)  # fmt: skip
def test_numbers(value: bytes, number: float) -> None:
    scanned = scan(map_of(value))
    assert scanned is not None
    (found,) = scanned.values.tolist()
    assert struct.pack(">d", found) == struct.pack(">d", number)


@pytest.mark.parametrize(
    "value",
    [
        b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\0" * 7, b"\xcb" + struct.pack(">d", 10_000_000.1),
        b"\xcb" + struct.pack(">d", float("nan")), b"\xca" + struct.pack(">f", float("inf")),
        b"\xc1", b"\xc4\x01a", b"\xd4\x01a", b"\x80", b"\x91\x90", b"\x92\x01\x81\xa1b\x01",
        msgspec.msgpack.encode("v" * 1025), b"\xdb\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff\x01",
        b"\xa5abc", b"",
    ],
)  # fmt: skip
def test_what_is_not_settled(value: bytes) -> None:
    assert scan(map_of(value)) is None
    assert scan(map_of(b"\x01"), map_of(value), map_of(b"\x01")) is None


def test_nothing_and_lists() -> None:
    scanned = scan(
        b"\x80", map_of(b"\xc0"), map_of(b"\xc2"), map_of(b"\x90"), map_of(b"\x92\x01\x02")
    )
    assert scanned is not None
    assert scanned.row_offsets.tolist() == [0, 0, 0, 0, 0, 2]
