"""Content-Type and Content-Encoding: what is read, what is refused, and bounded expansion."""

from __future__ import annotations

import gzip
import random
from dataclasses import replace

import pytest
import zstandard

from app.ingest import (
    Decoded,
    UnsupportedMediaType,
    decode_body,
)
from ftrl_core.errors import BadBody, TooLarge
from ftrl_core.limits import Limits
from tests.oracle.slow_ingest import GOOD, LIMITS


def decode_as(
    content_type: str | None, content_encoding: str | None, body: bytes, limits: Limits = LIMITS
) -> Decoded:
    return decode_body(
        body, content_type=content_type, content_encoding=content_encoding, limits=limits
    )


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/x-ndjson",
        " application/x-ndjson ; x=y",
    ],
)
@pytest.mark.parametrize("encoding", [None, "", "identity", "gzip", "X-GZIP", "zstd"])
def test_media_types_and_encodings(content_type: str, encoding: str | None) -> None:
    body = {
        "gzip": gzip.compress(GOOD),
        "X-GZIP": gzip.compress(GOOD),
        "zstd": zstandard.compress(GOOD),
    }.get(encoding or "", GOOD)
    decoded = decode_as(content_type, encoding, body)
    assert decoded.batch.rows == 1
    assert decoded.body == GOOD


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        (None, None),
        ("", None),
        (";charset=utf-8", None),
        ("text/plain", None),
        ("application/x-www-form-urlencoded", None),
        ("image/png", None),
        ("application/json; charset=utf-16", None),
        ("application/json", "br"),
        ("application/json", "gzip, gzip"),
        ("application/json", "deflate"),
    ],
)
def test_unsupported_media(content_type: str | None, encoding: str | None) -> None:
    with pytest.raises(UnsupportedMediaType):
        decode_as(content_type, encoding, GOOD)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_compressed_bodies(encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    lines = b"\n".join([GOOD] * 3000) + b"\n"
    whole = pack(lines)
    for body, rows in [(whole, 3000), (whole + whole, 6000), (pack(b"") * 50 + whole, 3000)]:
        assert decode_as("application/x-ndjson", encoding, body).batch.rows == rows
    for body in (b"", b"x", whole[:-1], whole[:20], whole + b"x", whole + whole[:9], lines):
        with pytest.raises(BadBody):
            decode_as("application/x-ndjson", encoding, body)
    most = replace(LIMITS, decompressed_bytes=len(lines))
    assert decode_as("application/x-ndjson", encoding, whole, most).batch.rows == 3000
    for body, limits in [
        (pack(lines + b"\n"), most),
        (whole, replace(LIMITS, body_bytes=len(whole) - 1)),
        (pack(bytes(200 << 20)), LIMITS),
        (pack(b"") * 20_000, LIMITS),
    ]:
        with pytest.raises(TooLarge):
            decode_as("application/x-ndjson", encoding, body, limits)


def test_a_zstd_window_beyond_8_mib_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    noise = random.Random(1).randbytes(9 << 20)
    body = zstandard.ZstdCompressor(compression_params=parameters).compress(noise + noise)
    with pytest.raises(BadBody):
        decode_as("application/json", "zstd", body)
