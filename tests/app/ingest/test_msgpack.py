"""MessagePack bodies are the JSON bodies of the same examples: batches and refusals alike."""

from __future__ import annotations

import json
import random
import struct

import msgspec
import pytest

from app.ingest import decode_json
from app.ingest.field_names import field_names
from app.ingest.msgpack import _usual, decode_msgpack
from app.ingest.msgpack_text import json_of_msgpack
from app.ingest.slow_json import parse_json
from ftrl_core.errors import BadBody, ClickfoldError, TooLarge
from ftrl_core.features import ObjectPairs, Reader
from ftrl_core.limits import Limits
from tests.app.ingest.test_random_bodies import random_body
from tests.oracle.slow_ingest import LIMITS, SEED, outcome

ONE = {"label": 1, "weight": 0.5, "id": "imp-81", "features": {"ad": "a9", "n": 3.5, "t": ["x"]}}


def packed(value: object, choose: random.Random) -> bytes:
    """MessagePack of a JSON value, pairs as they come, in one of the ways to write it."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        if choose.random() < 0.5:
            return msgspec.msgpack.encode(value)
        return (
            (b"\xd3" + struct.pack(">q", value)) if value < 2**63 else msgspec.msgpack.encode(value)
        )
    if isinstance(value, int | float):
        return b"\xcb" + struct.pack(">d", float(value))
    if isinstance(value, str):
        data = value.encode()
        return head(len(data), 0xA0, 31, 0xD9, choose) + data
    if isinstance(value, ObjectPairs):
        pairs = list(value.items())
        inside = b"".join(packed(k, choose) + packed(v, choose) for k, v in pairs)
        return head(len(pairs), 0x80, 15, 0xDD, choose) + inside
    assert isinstance(value, list)
    items = b"".join(packed(item, choose) for item in value)
    return head(len(value), 0x90, 15, 0xDB, choose) + items


def head(length: int, short: int, short_max: int, code: int, choose: random.Random) -> bytes:
    """The head of a string (code 0xD9), an array (0xDB) or a map (0xDD), as short or longer."""
    if length <= short_max and choose.random() < 0.7:
        return bytes([short | length])
    if code == 0xD9 and length < 256 and choose.random() < 0.7:
        return bytes([0xD9, length])
    if length < 65_536 and choose.random() < 0.7:
        return bytes([code + 1]) + struct.pack(">H", length)
    return bytes([code + 2]) + struct.pack(">I", length)


def test_random_bodies_equal_json(seed: int) -> None:
    choose = random.Random(seed)
    refused = 0
    for _ in range(700):
        text = random_body(choose)
        body = packed(parse_json(text), choose)
        said = outcome(decode_msgpack, body, LIMITS, SEED)
        assert said == outcome(decode_json, text, LIMITS, SEED), text
        refused += len(said) != 7
    assert 100 < refused < 600


@pytest.mark.parametrize("require_labels", [True, False])
def test_usual_bodies_are_not_made_into_text(require_labels: bool) -> None:
    for value in (
        {"examples": [ONE, {"label": 0, "features": {}}]},
        {"examples": [ONE], "shared": {"user": "u17", "new": True, "n": -1}},
    ):
        body = msgspec.msgpack.encode(value)
        assert _usual(body, Reader(SEED, require_labels, LIMITS)) is not None
        expected = outcome(decode_json, json.dumps(value).encode(), LIMITS, SEED, require_labels)
        assert outcome(decode_msgpack, body, LIMITS, SEED, require_labels) == expected
        assert len(expected) == 7
    one = msgspec.msgpack.encode(ONE)
    assert decode_msgpack(one, LIMITS, SEED).rows == 1
    assert field_names(one, "application/msgpack") == {"ad", "n", "t"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_has_not(number: float) -> None:
    body = msgspec.msgpack.encode({"examples": [{"label": 1, "features": {"a": [1.0, number]}}]})
    assert outcome(decode_msgpack, body)[2:] == (0, "/examples/0/features/a/1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffabc",
        b"\x81\xa1\xff\x01",
        b"\x81\x01\x01",
        b"\x91" * 5000 + b"\x01",
        msgspec.msgpack.encode(ONE) + b"\x00",
        msgspec.msgpack.encode({"label": 1, "features": {"a": b"bytes"}}),
        msgspec.msgpack.encode({"label": 1, "features": {"a": msgspec.msgpack.Ext(1, b"x")}}),
    ],
)
def test_what_is_no_document_is_a_bad_body(body: bytes) -> None:
    with pytest.raises(BadBody):
        decode_msgpack(body)


def test_too_large() -> None:
    with pytest.raises(TooLarge):
        decode_msgpack(msgspec.msgpack.encode(ONE), Limits(decompressed_bytes=10))


def test_damaged_bodies_are_errors_of_our_own(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(1500):
        body = bytearray(packed(parse_json(random_body(choose)), choose))
        for _ in range(choose.randrange(1, 4)):
            body[choose.randrange(len(body))] = choose.randrange(256)
        try:
            fast = outcome(decode_msgpack, bytes(body), LIMITS, SEED)
        except ClickfoldError:
            continue
        if len(fast) == 7:
            text = json_of_msgpack(bytes(body))
            assert fast == outcome(decode_json, text, LIMITS, SEED)
