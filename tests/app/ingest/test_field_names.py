"""Names of the features of a body, read again by plain decoding."""

from __future__ import annotations

from app.ingest.field_names import BODY_BYTES_MAX, field_names


def test_names_of_shared_and_of_every_example() -> None:
    body = b'{"shared":{"u":"1"},"examples":[{"features":{"a":1}},{"features":{"b":[1]}}]}'
    assert field_names(body) == {"u", "a", "b"}


def test_one_example_without_wrapping() -> None:
    assert field_names(b'{"label":1,"features":{"\\u00e9":true}}') == {"é"}


def test_lines() -> None:
    assert field_names(b'{"features":{"a":1}}\n{"features":{"b":1}}\n') == {"a", "b"}


def test_a_large_body_waits() -> None:
    assert field_names(b'{"features":{"a":1}}' + b" " * BODY_BYTES_MAX) == set()


def test_what_plain_decoding_refuses_has_no_names() -> None:
    assert field_names(b'{"features":{"a":') == set()
