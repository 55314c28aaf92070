"""Good bodies, limits of a request, NDJSON, and many examples at once."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from app.ingest import (
    decode_json,
    decode_ndjson,
    warm_up,
)
from ftrl_core.batch import NO_LABEL, ExampleBatch
from ftrl_core.errors import BadBody, BadExample, ClickfoldError, TooLarge
from tests.oracle.slow_ingest import GOOD, LIMITS, SEED, assert_same, outcome


@pytest.mark.parametrize(
    "body",
    [
        b'{"examples":[{"label":1,"features":{}}]}',
        b'{"label":1,"features":{"a":"b"}}',
        b' { "features" : {"a":"b"} , "label" : 0.0 } ',
        (
            b'{"examples":[{"label":1,'
            b'"features":{"ad":"a9","price":3.5,"tags":["x","y"],"new":true}}],'
            b'"shared":{"user":"u17","hour":"14"}}'
        ),
        b'{"shared":{},"examples":[{"label":1.0,"features":{}},{"label":-0.0,"features":{"a":1}}]}',
        b'{"shared":{"a":1e-30},"examples":[{"label":1,"features":{"a":1}}]}',
        (
            b'{"examples":[{"label":1,"weight":0,"id":"x","features":{"a":1e-30}},'
            b'{"label":0,"weight":1000000,"id":7,"features":{"b":null}},{"label":0,"features":{}}]}'
        ),
        b'{"examples":[{"id":"\\u00e9\\u00a0","label":1,"features":{"a":"\\ud83d\\ude00"}}]}',
        (
            b'{"examples":[{"id":-9223372036854775808,"label":1,"features":{}},'
            b'{"id":18446744073709551615,"label":1,"features":{}},'
            b'{"id":-0,"label":1,"features":{}}]}'
        ),
        b'{"examples":[{"label":7,"label":1,"features":{"a":1},"features":{"a":"x","a":"x"}}]}',
        b'{"examples":[],"examples":[{"label":1,"features":{}}]}',
        '{"examples":[{"label":1,"features":{"é":"日本"},"id":"é"}]}'.encode(),
        b'{"label":1,"weight":1e-40,"features":{"a":[]}}',
    ],
)
def test_good_bodies_equal_the_slow_path(body: bytes) -> None:
    assert len(assert_same(body)) == 7
    assert len(assert_same(body, require_labels=False)) == 7


@pytest.mark.parametrize("label", [b'"label":"x",', b'"label":null,', b'"label":[{}],', b""])
def test_predicting_ignores_the_label(label: bytes) -> None:
    for body in (
        b"{" + label + b'"features":{"a":"b"}}',
        b'{"examples":[{' + label + b'"features":{"a":"b"}}]}',
    ):
        assert len(assert_same(body, require_labels=False)) == 7
        assert decode_json(body, require_labels=False).labels.tolist() == [NO_LABEL]


def test_limits_of_a_request() -> None:
    limits = replace(LIMITS, examples=3, features=5, request_features=8, decompressed_bytes=400)

    def wrapped(*counts: int, shared: int = 0) -> bytes:
        rows = [{"label": 1, "features": {"a": ["x"] * count}} for count in counts]
        return json.dumps({"shared": {"s": ["x"] * shared}, "examples": rows}).encode()

    assert decode_json(wrapped(5, 3, 0), limits).rows == 3
    assert decode_json(wrapped(1, 1, shared=3), limits).rows == 2
    for body, row, pointer in [
        (wrapped(0, 0, 0, 0), None, "/examples"),
        (wrapped(1, 6), 1, "/examples/1/features"),
        (wrapped(5, 4), None, "/examples"),
        (wrapped(1, 3, shared=3), 1, "/examples/1/features"),
        (wrapped(1, 0, 0, shared=3), None, "/examples"),
        (wrapped(0, shared=6), None, "/shared"),
        (b'{"examples":[7,7,7,7]}', None, "/examples"),
        (wrapped(0) + b" " * 400, None, None),
    ]:
        with pytest.raises(TooLarge) as caught:
            decode_json(body, limits)
        assert (caught.value.row, caught.value.pointer) == (row, pointer)
    with pytest.raises(TooLarge):
        decode_ndjson(b"\n".join([GOOD] * 4), limits)
    with pytest.raises(TooLarge):
        decode_ndjson(b"\n" * 300, limits)


def test_a_body_of_200000_features_is_too_large() -> None:
    features = {f"f{i}": "x" for i in range(200_000)}
    body = json.dumps({"examples": [{"label": 1, "features": features}]}).encode()
    with pytest.raises(TooLarge) as caught:
        decode_json(body)
    assert (caught.value.row, caught.value.pointer) == (0, "/examples/0/features")


def test_ndjson_equals_json() -> None:
    rows = [GOOD, b'{"label":0,"id":"e","weight":2,"features":{"\\u00e9":[1,"x"]}}', GOOD]
    wrapped = b'{"examples":[' + b",".join(rows) + b"]}"
    for body in (b"\n".join(rows), b"\r\n".join(rows) + b"\r\n", b"\n \n" + b"\n\n\t".join(rows)):
        assert outcome(decode_ndjson, body) == outcome(decode_json, wrapped)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"{", 1),
        (GOOD + b"\nx", 2),
        (GOOD + b"\n\n" + GOOD + GOOD, 3),
        (b'{"label":1,\n"features":{}}', 1),
    ],
)
def test_a_malformed_line_is_named(body: bytes, line: int) -> None:
    with pytest.raises(BadBody, match=f"^line {line} is "):
        decode_ndjson(body)


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\t\n"])
def test_no_lines(body: bytes) -> None:
    with pytest.raises(BadExample):
        decode_ndjson(body)


def test_thousands_of_examples() -> None:
    rows = [
        {"label": i & 1, "id": i, "features": {"a": f"v{i}", "n": i / 7}} for i in range(10_000)
    ]
    batch = decode_json(json.dumps({"examples": rows}).encode(), LIMITS, SEED)
    assert batch.rows == 10_000
    expected = ExampleBatch.from_examples(rows[5000:5100], SEED)
    part = batch.slice(5000, 5100)
    assert np.array_equal(part.feature_hashes, expected.feature_hashes)
    assert np.array_equal(part.event_ids, expected.event_ids)
    assert part.values.tobytes() == expected.values.tobytes()
    with pytest.raises(TooLarge):
        decode_json(json.dumps({"examples": [*rows, rows[0]]}).encode())


def test_warm_up_compiles_for_both_uses() -> None:
    warm_up()


A = b'{"label":1,"features":{"a":"b"}}'


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (A, 1),
        (A + b"\n" + A, 2),
        (A + b"\n" + A + b"\n", 2),
        (b"\n" + A + b"\n\n" + A + b"\n \n", 2),
        (A + b"\r\n" + A + b"\r\n", 2),
        (b" " + A + b" \n" + A, 2),
        (b"\n\n" + A, 1),
        (A + A, None),
        (A + b" " + A, None),
        (A + A + b'\n{"label":1,\n"features":{}}', None),
        (A + A + b'\n{"label":1,"features":\n{}}', None),
        (A + A + b'\n{"label":1,"features":{}\n}', None),
        (A + A + b'\n{"label":1,"features":{"a":"}\n{"}}', None),
        (A + A + b'\n{"label":1,"features":{"a":{}\n{}}}', None),
        (A + b"\n}\n{\n" + A, None),
    ],
)
def test_one_example_a_line_and_nothing_else(body: bytes, rows: int | None) -> None:
    if rows is None:
        with pytest.raises(ClickfoldError):
            decode_ndjson(body)
    else:
        assert decode_ndjson(body).rows == rows
