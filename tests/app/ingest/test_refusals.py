"""What is refused: which error, which row, which pointer, and never a word of the input."""

from __future__ import annotations

import pytest

from app.ingest import (
    decode_json,
    decode_ndjson,
)
from ftrl_core.errors import BadBody, BadExample, ClickfoldError
from tests.oracle.slow_ingest import GOOD, assert_same


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD + b"x",
        GOOD + GOOD,
        GOOD + b"\x00",
        b"{'label':1}",
        b'{"label":1,"features":{"a":"b"},}',
        b'{"label":NaN,"features":{}}',
        b'{"label":1,"features":{"a":NaN}}',
        b'{"label":1,"features":{"a":-Infinity}}',
        b'{"label":01,"features":{}}',
        b'{"label":1,"features":{"a":1.}}',
        b'{"label":1,"features":{"a":+1}}',
        b'{"label":1,"features":{"a":trux}}',
        b'{"label":1,"features":{"a":"b\xff"}}',
        b'{"label":1,"features":{"a":"\xed\xa0\x80"}}',
        b'{"label":1,"features":{"a":"\xc0\xaf"}}',
        b'{"label":1,"features":{"\xff":1}}',
        b'{"label":1,"features":{},"id":"\xff"}',
        b'{"label":1,"features":{"a":"\\ud800"}}',
        b'{"label":1,"features":{"a":"\\ud800\\u0041"}}',
        b'{"label":1,"features":{"\\udc00":1}}',
        b'{"label":1,"features":{},"id":"\\ud800"}',
        b'{"label":1,"features":{"a":"\\x41"}}',
        b'{"label":1,"features":{"a":"\n"}}',
        b'{"label":1,"features":{"a":"\x00"}}',
        b'{"label":1,"features":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"label":1,"features":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"examples":[' + GOOD,
    ],
)
def test_what_cannot_be_decoded(body: bytes) -> None:
    with pytest.raises(BadBody) as caught:
        decode_json(body)
    assert len(str(caught.value)) < 80


def with_features(features: bytes) -> bytes:
    return b'{"label":1,"features":' + features + b"}"


def with_field(field: bytes) -> bytes:
    return b'{"features":{"a":"b"},"label":1,' + field + b"}"


BAD_EXAMPLES: list[tuple[bytes, str]] = [
    (b'{"features":{}}', "/label"),
    (b'{"label":1}', "/features"),
    (b"{}", "/label"),
    (b"[]", ""),
    (b"null", ""),
    (b"7", ""),
    (b'"x"', ""),
    (with_field(b'"label":2'), "/label"),
    (with_field(b'"label":-1'), "/label"),
    (with_field(b'"label":0.5'), "/label"),
    (with_field(b'"label":"1"'), "/label"),
    (with_field(b'"label":null'), "/label"),
    (with_field(b'"label":true'), "/label"),
    (with_field(b'"label":1e999'), "/label"),
    (with_field(b'"label":[1]'), "/label"),
    (with_field(b'"label":' + b"9" * 5000), "/label"),
    (with_field(b'"label":1.0000000000000002'), "/label"),
    (with_field(b'"weight":-1'), "/weight"),
    (with_field(b'"weight":"x"'), "/weight"),
    (with_field(b'"weight":1e300'), "/weight"),
    (with_field(b'"weight":1e999'), "/weight"),
    (with_field(b'"weight":1000000.1'), "/weight"),
    (with_field(b'"weight":null'), "/weight"),
    (with_field(b'"weight":true'), "/weight"),
    (with_field(b'"id":""'), "/id"),
    (with_field(b'"id":"' + b"x" * 129 + b'"'), "/id"),
    (with_field(b'"id":"' + b"x" * 5000 + b'"'), "/id"),
    (with_field(b'"id":5.5'), "/id"),
    (with_field(b'"id":5.0'), "/id"),
    (with_field(b'"id":1e400'), "/id"),
    (with_field(b'"id":null'), "/id"),
    (with_field(b'"id":false'), "/id"),
    (with_field(b'"id":{}'), "/id"),
    (with_field(b'"id":"a\\nb"'), "/id"),
    (with_field(b'"id":"\\u0000"'), "/id"),
    (with_field(b'"id":"\\u007f"'), "/id"),
    (with_field(b'"id":"\\u0085"'), "/id"),
    (with_field(b'"id":18446744073709551616'), "/id"),
    (with_field(b'"id":-9223372036854775809'), "/id"),
    (with_field(b'"id":' + b"9" * 5000), "/id"),
    (with_field(b'"extra":1'), "/extra"),
    (with_field(b'"shared":{}'), "/shared"),
    (with_field(b'"a/b~":1'), "/a~1b~0"),
    (with_field(b'"' + b"k" * 300 + b'":1'), ""),
    (with_features(b"[]"), "/features"),
    (with_features(b"null"), "/features"),
    (with_features(b'"x"'), "/features"),
    (with_features(b"7"), "/features"),
    (with_features(b'{"a":{"b":1}}'), "/features/a"),
    (with_features(b'{"a":{}}'), "/features/a"),
    (with_features(b'{"a":[[1]]}'), "/features/a/0"),
    (with_features(b'{"a":["x",{}]}'), "/features/a/1"),
    (with_features(b'{"a":1e999}'), "/features/a"),
    (with_features(b'{"a":-1e999}'), "/features/a"),
    (with_features(b'{"a":1e38}'), "/features/a"),
    (with_features(b'{"a":10000000.000001}'), "/features/a"),
    (with_features(b'{"a":[1,-10000001]}'), "/features/a/1"),
    (with_features(b'{"a":' + b"9" * 5000 + b"}"), "/features/a"),
    (with_features(b'{"a":18446744073709551616}'), "/features/a"),
    (with_features(b'{"a":"' + b"v" * 1025 + b'"}'), "/features/a"),
    (with_features(b'{"a":"' + b"\\u00e9" * 513 + b'"}'), "/features/a"),
    (with_features(b'{"a":"' + "é".encode() * 513 + b'"}'), "/features/a"),
    (with_features(b'{"' + b"n" * 257 + b'":1}'), "/features"),
    (with_features(b'{"x/y":{}}'), "/features/x~1y"),
]


@pytest.mark.parametrize(("example", "pointer"), BAD_EXAMPLES)
def test_a_bad_example_names_its_row_and_pointer(example: bytes, pointer: str) -> None:
    for body, row in [
        (b'{"examples":[' + example + b"]}", 0),
        (b'{"examples":[' + GOOD + b"," + GOOD + b"," + example + b"," + example + b"]}", 2),
        (b'{"shared":{"s":"t"},"examples":[' + GOOD + b"," + example + b"]}", 1),
    ]:
        got = assert_same(body)
        assert (got[0], *got[2:]) == (BadExample, row, f"/examples/{row}{pointer}")
        assert len(str(got[1])) < 120


@pytest.mark.parametrize(("example", "pointer"), BAD_EXAMPLES)
def test_a_bad_line_names_its_index_and_pointer(example: bytes, pointer: str) -> None:
    for body, row in [(example, 0), (GOOD + b"\n\n" + GOOD + b"\r\n" + example + b"\n" + GOOD, 3)]:
        with pytest.raises(BadExample) as caught:
            decode_ndjson(body)
        assert (caught.value.row, caught.value.pointer) == (row, pointer)


@pytest.mark.parametrize(("example", "pointer"), BAD_EXAMPLES)
def test_a_bad_example_alone(example: bytes, pointer: str) -> None:
    with pytest.raises(BadExample) as caught:
        decode_json(example)
    if example.startswith(b'{"'):
        assert (caught.value.row, caught.value.pointer) == (0, pointer)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"[]", ""),
        (b"null", ""),
        (b"true", ""),
        (b"3", ""),
        (b'"examples"', ""),
        (b"{}", "/examples"),
        (b'{"shared":{}}', "/examples"),
        (b'{"exampels":[]}', "/examples"),
        (b'{"examples":[]}', "/examples"),
        (b'{"examples":null}', "/examples"),
        (b'{"examples":{}}', "/examples"),
        (b'{"examples":"x"}', "/examples"),
        (b'{"examples":[' + GOOD + b'],"extra":1}', "/extra"),
        (b'{"examples":[' + GOOD + b'],"label":1}', "/label"),
        (b'{"features":{},"examples":[' + GOOD + b"]}", "/features"),
        (b'{"examples":[' + GOOD + b'],"shared":null}', "/shared"),
        (b'{"examples":[' + GOOD + b'],"shared":[]}', "/shared"),
        (b'{"examples":[' + GOOD + b'],"shared":{"a":{}}}', "/shared/a"),
        (b'{"examples":[' + GOOD + b'],"shared":{"a":[1,1e9]}}', "/shared/a/1"),
    ],
)
def test_a_bad_wrapper(body: bytes, pointer: str) -> None:
    with pytest.raises(BadExample) as caught:
        decode_json(body)
    assert (caught.value.row, caught.value.pointer) == (None, pointer)


def test_the_first_wrong_row_is_named_whatever_is_wrong_with_it() -> None:
    kinds = [
        with_field(b'"label":"x"'),
        with_field(b'"label":3'),
        with_field(b'"id":"\\n"'),
        with_features(b'{"a":{}}'),
        with_features(b'{"a":1e99}'),
    ]
    for first in kinds:
        for second in kinds:
            got = assert_same(b'{"examples":[' + GOOD + b"," + first + b"," + second + b"]}")
            assert got[2] == 1


def test_a_key_that_comes_twice_must_be_right_twice() -> None:
    for body, row, pointer in [
        (b'{"examples":7,"examples":[' + GOOD + b"]}", None, ""),
        (b'{"examples":[{"id":0.5,"id":1,"label":1,"features":{}}]}', 0, "/examples/0"),
        (with_features(b'{},"label":"x","label":1'), 0, ""),
    ]:
        with pytest.raises(BadExample) as caught:
            decode_json(body)
        assert (caught.value.row, caught.value.pointer) == (row, pointer)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"examples":' + b"[" * 100_000])
def test_deep_nesting_is_refused(text: bytes) -> None:
    for decode in (decode_json, decode_ndjson):
        with pytest.raises((BadBody, BadExample)):
            decode(text)


def test_no_error_repeats_the_input() -> None:
    secret = "tell-nobody"
    for value in (f'"{secret}' + "x" * 2000 + '"', f'{{"{secret}":1}}', f'[["{secret}"]]'):
        for body in (
            f'{{"label":1,"features":{{"a":{value}}}}}',
            f'{{"label":{value},"features":{{}}}}',
            f'{{"id":{value},"label":1,"features":{{}}}}',
            f'{{"label":1,"features":{{}}, "weight":{value}}}',
            f'{{"examples":{value}}}',
            f'{{"label":1,"features":{value} {value}}}',
        ):
            with pytest.raises(ClickfoldError) as caught:
                decode_json(body.encode())
            assert secret not in str(caught.value)
            assert caught.value.__cause__ is None
