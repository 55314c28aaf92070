"""Packed batches: equal to JSON where a client hashes as it should, refused where it does not."""

from __future__ import annotations

import random
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest

from app.ingest.packed import decode_packed
from ftrl_core.batch import ExampleBatch
from ftrl_core.entry import RequestPart, encode_control, encode_examples, request_table
from ftrl_core.errors import BadBody, BadExample, ClickfoldError, TooLarge
from ftrl_core.hashing import xxh64
from ftrl_core.limits import Limits
from tests.oracle.slow_ingest import LIMITS, SEED, outcome

EXAMPLES: list[dict[str, Any]] = [
    {"label": 1, "weight": 0.5, "id": "e1", "features": {"ad": "a9", "n": 3.5, "t": ["x", "y"]}},
    {"label": 0, "features": {}},
    {"label": 0, "features": {"ad": ["a9", "a9"]}},
]


def batch() -> ExampleBatch:
    return ExampleBatch.from_examples(EXAMPLES, hash_seed=SEED)


def body_of(examples: ExampleBatch) -> bytes:
    return encode_examples(examples, request_table([RequestPart(examples.rows)]))


def sealed(body: bytes) -> bytes:
    """The body with its checksum made right again."""
    return body[:-8] + xxh64(body[:-8]).to_bytes(8, "little")


def test_it_is_the_batch_of_the_same_examples() -> None:
    assert outcome(decode_packed, body_of(batch())) == outcome(lambda _: batch(), b"")


def test_labels_are_left_out_to_predict() -> None:
    assert decode_packed(body_of(batch()), LIMITS, 0, False).labels.tolist() == [255] * 3


def test_tiny_numbers_are_zero() -> None:
    made = batch()
    made.values[np.argmax(made.values)] = np.float32(1e-40)
    made.weights[1] = np.float32(1e-40)
    read = decode_packed(body_of(made))
    assert 0.0 in read.values.tolist()
    assert read.weights.tolist() == [0.5, 0.0, 1.0]


@pytest.mark.parametrize(
    ("field", "value", "row"),
    [("values", 2e7, 0), ("values", -2e7, 0), ("weights", 2e5, 1)],
)
def test_out_of_range_names_the_row(field: str, value: float, row: int) -> None:
    made = batch()
    getattr(made, field)[1] = value
    with pytest.raises(BadExample) as raised:
        decode_packed(body_of(made), Limits(weight=1e5))
    assert raised.value.row == row


@pytest.mark.parametrize(
    "limits",
    [
        Limits(examples=2),
        Limits(features=3),
        Limits(request_features=4),
        Limits(decompressed_bytes=50),
    ],
)
def test_limits(limits: Limits) -> None:
    with pytest.raises(TooLarge):
        decode_packed(body_of(batch()), limits)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"CFE1" * 20,
        body_of(batch())[:-1],
        body_of(batch()) + b"\0",
        encode_control("delete", {}),
        sealed(body_of(batch()).replace(b"CFE1", b"CFE2")),
        sealed(body_of(batch())[:4] + struct.pack("<H", 9) + body_of(batch())[6:]),
    ],
)
def test_what_is_no_packed_batch_is_a_bad_body(body: bytes) -> None:
    with pytest.raises(BadBody):
        decode_packed(body)


def test_no_examples() -> None:
    with pytest.raises(BadExample):
        decode_packed(body_of(batch().slice(0, 0)))


def test_damage_under_a_right_checksum_is_an_error_of_our_own(seed: int) -> None:
    choose = random.Random(seed)
    good = body_of(batch())
    for _ in range(3000):
        body = bytearray(good)
        for _ in range(choose.randrange(1, 4)):
            at = choose.choice([choose.randrange(len(body)), choose.randrange(8, 64)])
            body[at] = choose.randrange(256)
        try:
            read = decode_packed(sealed(bytes(body)))
        except ClickfoldError:
            continue
        assert np.isfinite(read.values).all()
        assert read.row_offsets[-1] == read.values.size
        assert ((read.labels <= 1) & (read.weights >= 0)).all()


@pytest.mark.parametrize("place", [12, 16, 20, 24, 28, 32])
def test_counts_that_lie_take_no_memory(place: int) -> None:
    for count in (1 << 20, 1 << 31, (1 << 32) - 1):
        body = body_of(batch())
        lying = sealed(body[:place] + struct.pack("<I", count) + body[place + 4 :])
        tracemalloc.start()
        with pytest.raises(BadBody):
            decode_packed(lying)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 1 << 18
