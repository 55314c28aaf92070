"""Content-Type and Content-Encoding: the media type's decoder, and expansion that stays bounded.

A compressed body may expand to `decompressed_bytes`: both decompressors are fed so little at a time
that what one step can produce is bounded, and the sum is checked after each step. A zstd frame may
ask for a window of 8 MiB at most (RFC 9659), or its memory would be the sender's to choose.

A body without a Content-Type is refused rather than guessed: a web page can send such a request to
a service on its visitor's machine without asking first, and application/json it cannot.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard

from ftrl_core.errors import BadBody, ClickfoldError, TooLarge
from ftrl_core.limits import Limits

JSON_TEXT = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
MSGPACK = "application/msgpack"
PACKED = "application/x-clickfold-batch"
VW_TEXT = "text/x-vw"
_GZIP = 16 + zlib.MAX_WBITS  # a gzip header and trailer are expected
_GZIP_STEP_BYTES = 4 << 10  # of input: deflate expands at most 1032-fold, so 4 MiB a step
_ZSTD_STEP_BYTES = 256  # of input: a block of 4 bytes can expand to 128 KiB, so 8 MiB a step
ZSTD_WINDOW_MAX = 8 << 20
FRAMES_MAX = 10_000  # members of a gzip file, frames of zstd: each costs a decompressor
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii"})


class UnsupportedMediaType(ClickfoldError):
    """The Content-Type or the Content-Encoding is none that is read here: 415."""


def media_type(content_type: str | None) -> str:
    """The media type of a Content-Type header, in lower case and without parameters.

    Raises UnsupportedMediaType where the header is missing or names a charset that is not UTF-8.
    """
    kind, *parameters = (content_type or "").lower().split(";")
    if not kind.strip():
        raise UnsupportedMediaType("a Content-Type is needed")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in _CHARSETS:
            raise UnsupportedMediaType("the charset must be UTF-8")
    return kind.strip()


def decompressed(content_encoding: str | None, body: bytes, limits: Limits) -> bytes:
    """The body without its Content-Encoding (identity, gzip or zstd).

    Raises TooLarge beyond limits.body_bytes before and limits.decompressed_bytes after, BadBody for
    damaged data and UnsupportedMediaType for any other encoding, or several.
    """
    if len(body) > limits.body_bytes:
        raise TooLarge(f"a body has at most {limits.body_bytes} bytes")
    encoding = (content_encoding or "").strip().lower()
    most = limits.decompressed_bytes
    try:
        if encoding in ("", "identity"):
            return body
        if encoding in ("gzip", "x-gzip"):
            return _expanded(body, lambda: zlib.decompressobj(_GZIP), _GZIP_STEP_BYTES, most)
        if encoding == "zstd":
            decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
            return _expanded(body, decompressor.decompressobj, _ZSTD_STEP_BYTES, most)
    except (zlib.error, zstandard.ZstdError):
        raise BadBody("the compressed data are damaged") from None
    raise UnsupportedMediaType("the Content-Encoding must be gzip, zstd or identity")


class _Frame(Protocol):
    """What zlib's and zstandard's decompressors have in common: one member or frame of a body."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: memoryview, /) -> bytes: ...


def _expanded(body: bytes, new_frame: Callable[[], _Frame], step_bytes: int, most: int) -> bytes:
    """All frames of `body`, one after the other, `most` bytes together at the most.

    The input is fed in small steps, so that the rest after a frame's end, which is handed back as a
    copy, is small too: many tiny frames must not cost the square of their number.
    """
    pieces: list[bytes] = []
    length = at = 0
    frames = 1
    frame = new_frame()
    view = memoryview(body)
    while at < len(body):
        if frame.eof:
            frame = new_frame()
            frames += 1
        step = view[at : at + step_bytes]
        pieces.append(frame.decompress(step))
        length += len(pieces[-1])
        if length > most or frames > FRAMES_MAX:
            raise TooLarge(f"a body has at most {most} bytes after decompression")
        at += len(step) - len(frame.unused_data)
    if not frame.eof:
        raise BadBody("the compressed data are truncated")
    return b"".join(pieces)
