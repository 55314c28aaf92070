"""Entries: round trip, pinned bytes, every damaged byte refused, and sections that disagree."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import xxhash

from ftrl_core import entry
from ftrl_core.batch import ExampleBatch
from ftrl_core.entry import (
    ControlEntry,
    ExamplesEntry,
    RequestPart,
    decode,
    encode_control,
    encode_examples,
    request_table,
    whole_request,
)
from ftrl_core.errors import BadEntry
from tests.oracle import payload as reader
from tests.oracle.streams import payload_of, random_batch

FIELDS = tuple(ExampleBatch.__dataclass_fields__)


def small_batch() -> ExampleBatch:
    """One of everything: categories, a number, a merged category, a weight, an id, no features."""
    return ExampleBatch.from_examples(
        [
            {"label": 1, "features": {"ad": "a9", "price": 3.5, "tags": ["x", "x", "y"]}},
            {"label": 0, "weight": 0.5, "id": "imp-81", "features": {}},
            {"label": 0, "features": {"ad": "a1", "price": -2, "tags": ["z", "z", "x"]}},
        ],
        hash_seed=3,
    )


SMALL_PARTS = [RequestPart(2, 7, 0x1122334455667788, 0x99, True), RequestPart(1, 65535)]


def small_payload() -> bytes:
    return payload_of(small_batch(), *SMALL_PARTS)


def sealed(content: bytes) -> bytes:
    """The payload with its length and checksum made right again."""
    content = content[:8] + len(content).to_bytes(4, "little") + content[12:]
    return content[:-8] + xxhash.xxh64_intdigest(content[:-8]).to_bytes(8, "little")


def assert_same(decoded: object, batch: ExampleBatch, requests: Any) -> None:
    assert isinstance(decoded, ExamplesEntry)
    for field in FIELDS:
        found, expected = getattr(decoded.batch, field), getattr(batch, field)
        assert found.dtype == expected.dtype, field
        assert found.tobytes() == expected.tobytes(), field
    assert decoded.requests.tobytes() == requests.tobytes()


@pytest.mark.parametrize("options", [
    {}, {"weights": True}, {"ids": 5}, {"weights": True, "ids": 1000, "numbers": 1.0},
    {"numbers": 0.0}, {"features": 0}, {"features": 300, "scale": 1e7}, {"scale": 1e-30},
])  # fmt: skip
def test_round_trip(options: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    for rows in (0, 1, 2, 100):
        batch = random_batch(rng, rows, **options)
        parts = [RequestPart(rows - rows // 3, 1, 2**64 - 1, 2**63, True), RequestPart(rows // 3)]
        table = request_table(parts)
        payload = encode_examples(batch, table)
        decoded = decode(payload)
        assert_same(decoded, batch, table)
        assert isinstance(decoded, ExamplesEntry)
        assert encode_examples(decoded.batch, decoded.requests) == payload


def test_a_second_reader_finds_the_same(seed: int) -> None:
    batch = random_batch(np.random.default_rng(seed), 80, weights=True, ids=9)
    found = reader.read(payload_of(batch, RequestPart(30, 2, 5, 6, True), RequestPart(50)))
    assert isinstance(found, reader.Examples)
    assert found.requests == [(5, 6, 30, 2, True), (0, 0, 50, 0, False)]
    assert [row.label for row in found.rows] == batch.labels.tolist()
    assert [row.weight for row in found.rows] == batch.weights.tolist()
    assert [row.event_id for row in found.rows] == batch.event_ids.tolist()
    arrays = (batch.name_hashes, batch.feature_hashes, batch.values)
    features = list(zip(*(array.tolist() for array in arrays), strict=True))
    assert [feature for row in found.rows for feature in row.features] == features
    lengths = [len(row.features) for row in found.rows]
    assert lengths == np.diff(batch.row_offsets).tolist()


GOLDEN = (
    "4346453101000103e90000000300000002000000030000000800000006000000040000000000000088776655"
    "44332211990000000000000002000000070001000000000000000000000000000000000001000000ffff0000"
    "000000000000000000f540ba02e3cbb30000000000000000a41eec0ff4deb163d97d01d4e549fb47f4deb163"
    "7b4c6f75000000400000604000000040000000c00000803f0000003f0000803f040000000000000004000000"
    "b758728eb758728e05dea4c7c5cc76fdb758728eb758728e05dea4c7c5cc76fd000001000200000201000200"
    "0100010000237fe40bae5058c9"
)


def test_the_format_is_pinned() -> None:
    """Logs live longer than code: these bytes may never change, and must be readable for ever."""
    assert small_payload().hex() == GOLDEN
    assert_same(decode(bytes.fromhex(GOLDEN)), small_batch(), request_table(SMALL_PARTS))


def test_a_control_record_is_pinned() -> None:
    payload = encode_control("names", {"names": ["ad", "é"]})
    text = b'{"names":["ad","\\u00e9"],"op":"names"}'
    head = struct.pack("<4sHBBIIIIIIII", b"CFE1", 1, 2, 0, 48 + len(text), len(text), *[0] * 6)
    expected = head + text
    expected += xxhash.xxh64_intdigest(expected).to_bytes(8, "little")
    assert payload == expected
    assert decode(payload) == ControlEntry("names", {"names": ["ad", "é"]})


@pytest.mark.parametrize("op", entry.OPERATIONS)
def test_control_round_trip(op: str) -> None:
    fields = {"config": {"a": 1.5}, "seq": 7, "names": ["ad"], "generation": "1-0", "none": None}
    assert decode(encode_control(op, fields)) == ControlEntry(op, fields)


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("names", {}),
        ("names", {"names": ["a", 5]}),
        ("create", {}),
        ("configure", {"config": [1]}),
        ("restore", {"generation": 1}),
        ("skip", {"seq": "1"}),
    ],
)
def test_a_control_record_without_its_fields_is_refused(op: str, fields: dict[str, Any]) -> None:
    with pytest.raises(BadEntry, match="fields"):
        decode(encode_control(op, fields))


@pytest.mark.parametrize("payload", [small_payload(), encode_control("create", {"config": {}})])
def test_every_changed_byte_is_refused(payload: bytes) -> None:
    for offset in range(len(payload)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(payload)
            damaged[offset] ^= change
            with pytest.raises(BadEntry):
                decode(bytes(damaged))


def test_every_truncation_is_refused() -> None:
    payload = small_payload()
    for size in range(len(payload)):
        with pytest.raises(BadEntry):
            decode(payload[:size])
        if size >= 48:
            with pytest.raises(BadEntry):
                decode(sealed(payload[:size]))
    with pytest.raises(BadEntry):
        decode(payload + b"\0")


# A valid checksum over nonsense, as another version's or a faulty writer's would have: (offset
# of a little-endian number, struct letter, its new value) in the small payload.
NONSENSE = {
    "version": (4, "H", 2),
    "kind": (6, "B", 3),
    "kind zero": (6, "B", 0),
    "flag": (7, "B", 7),
    "rows": (12, "I", 4),
    "rows, huge": (12, "I", 2**32 - 1),
    "requests": (16, "I", 3),
    "no requests": (16, "I", 0),
    "schemas": (20, "I", 9),
    "fields": (24, "I", 1),
    "hashes": (28, "I", 2**31),
    "numbers": (32, "I", 0),
    "reserved": (36, "I", 1),
    "request's rows": (40 + 16, "I", 1),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_sections_that_disagree_are_refused(name: str) -> None:
    offset, letter, value = NONSENSE[name]
    content = bytearray(small_payload())
    struct.pack_into(f"<{letter}", content, offset, value)
    with pytest.raises(BadEntry):
        decode(sealed(bytes(content)))


def handmade(**changed: Any) -> bytes:
    """An entry of two rows of one schema (a hash, a number), with parts replaced."""
    parts: dict[str, Any] = {
        "requests": struct.pack("<QQIHH", 0, 0, 2, 0, 0),
        "ids": b"",
        "hashes": np.array([11, 12], np.uint32).tobytes(),
        "numbers": np.array([0.5, 2.0], np.float32).tobytes(),
        "weights": b"",
        "sizes": np.array([2], np.uint32).tobytes(),
        "names": np.array([5, 9], np.uint32).tobytes(),
        "rows": np.array([0, 0], np.uint16).tobytes(),
        "kinds": bytes([0, 1]),
        "labels": bytes([0, 1]),
    }
    flags = changed.pop("flags", 0)
    parts.update(changed)
    counts = [2, len(parts["requests"]) // 24, len(parts["sizes"]) // 4, len(parts["names"]) // 4,
              len(parts["hashes"]) // 4, len(parts["numbers"]) // 4]  # fmt: skip
    body = b"".join(parts.values())
    head = struct.pack("<4sHBBIIIIIIII", b"CFE1", 1, 1, flags, 0, *counts, 0)
    return sealed(head + body + b"\0" * 8)


def test_a_handmade_entry_is_read() -> None:
    decoded = decode(handmade())
    assert isinstance(decoded, ExamplesEntry)
    assert decoded.batch.feature_hashes.tolist() == [11, 9, 12, 9]
    assert decoded.batch.values.tolist() == [1.0, 0.5, 1.0, 2.0]


def floats(*values: float) -> bytes:
    return np.array(values, np.float32).tobytes()


@pytest.mark.parametrize("changed", [
    {"kinds": bytes([0, 3])},
    {"kinds": bytes([1, 1])},
    {"sizes": np.array([3], np.uint32).tobytes()},
    {"sizes": np.array([1], np.uint32).tobytes()},
    {"sizes": np.array([2**32 - 1], np.uint32).tobytes()},
    {"rows": np.array([0, 1], np.uint16).tobytes()},
    {"names": np.array([9, 5], np.uint32).tobytes()},
    {"names": np.array([9, 9], np.uint32).tobytes(), "kinds": bytes([1, 1]),
     "hashes": b"", "numbers": floats(1, 1, 1, 1)},
    {"labels": bytes([0, 2])},
    {"labels": bytes([0, 255])},
    {"numbers": floats(0.5, float("nan"))},
    {"numbers": floats(0.5, float("inf"))},
    {"numbers": floats(0.5, -2e12)},
    {"flags": 1, "weights": floats(1.0, -1.0)},
    {"flags": 1, "weights": floats(1.0, float("nan"))},
    {"flags": 1, "weights": floats(1.0, 1.1e6)},
    {"flags": 2},
    {"hashes": np.array([11, 12, 13], np.uint32).tobytes()},
    {"requests": struct.pack("<QQIHH", 0, 0, 1, 0, 0)},
    {"requests": struct.pack("<QQIHH", 0, 0, 2**32 - 1, 0, 0) * 2},
])  # fmt: skip
def test_nonsense_with_a_right_checksum_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(BadEntry):
        decode(handmade(**changed))


@pytest.mark.parametrize("text", [
    b"", b"[]", b"1", b"{}", b"{", b"\xff", b'{"op":"explode"}', b'{"op":null}', b'{"op":[]}',
    b'"op"',
])  # fmt: skip
def test_a_control_record_that_is_none_is_refused(text: bytes) -> None:
    head = struct.pack("<4sHBBIIIIIIII", b"CFE1", 1, 2, 0, 0, len(text), *[0] * 6)
    with pytest.raises(BadEntry):
        decode(sealed(head + text + b"\0" * 8))


def test_a_control_record_says_its_own_length() -> None:
    text = b'{"op":"names"}'
    head = struct.pack("<4sHBBIIIIIIII", b"CFE1", 1, 2, 0, 0, len(text) + 1, *[0] * 6)
    with pytest.raises(BadEntry):
        decode(sealed(head + text + b"\0" * 8))


def test_random_bytes_with_a_right_checksum_never_do_worse(seed: int) -> None:
    """Whatever the bytes, the outcome is an entry or BadEntry."""
    rng = np.random.default_rng(seed)
    original = small_payload()
    outcomes: set[type] = set()
    for _ in range(3_000):
        content = bytearray(original)
        for offset in rng.integers(12, len(content) - 8, int(rng.integers(1, 4))):
            content[offset] = int(rng.choice([0, 1, 2, 0x7F, 0xFF]))
        try:
            outcomes.add(type(decode(sealed(bytes(content)))))
        except BadEntry:
            outcomes.add(BadEntry)
    assert outcomes == {ExamplesEntry, BadEntry}


def test_plan_entries() -> None:
    rng = np.random.default_rng(2)
    batch = random_batch(rng, 40_000, features=3)
    ranges = entry.plan_entries(batch)
    assert [first for first, _ in ranges] == [0, *(last for _, last in ranges[:-1])]
    assert ranges[-1][1] == batch.rows
    for first, last in ranges:
        assert 0 < last - first <= entry.ROWS_MAX
        assert batch.row_offsets[last] - batch.row_offsets[first] <= entry.FEATURES_MAX
    assert entry.plan_entries(batch.slice(0, 0)) == []
    assert len(entry.plan_entries(random_batch(rng, 40_000, features=0))) == 3


def test_a_typical_example_is_small() -> None:
    """39 categories: 4 bytes each, the schema and a label (DESIGN says 159 bytes)."""
    features = [{f"C{i}": str(i * row) for i in range(39)} for row in range(200)]
    batch = ExampleBatch.from_examples([{"label": 0, "features": f} for f in features])
    size = len(encode_examples(batch, whole_request(batch)))
    assert 159 * 200 < size < 159 * 200 + 400
