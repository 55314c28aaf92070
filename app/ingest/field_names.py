"""The field names of a body, for the rare request that has one the log does not know yet.

The fast path hashes names in place and keeps none of them, so this reads the body again, by plain
decoding. It is called after the body was accepted, so it does not check anything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec

from app.ingest.arrow import arrow_names
from app.ingest.content import ARROW, MSGPACK, PACKED, VW_TEXT
from app.ingest.msgpack_text import json_of_msgpack
from ftrl_core.vw_text import vw_names

BODY_BYTES_MAX = 256 << 10  # a larger body waits for a smaller one that has its names
_decode = msgspec.json.Decoder().decode
_decode_lines = msgspec.json.Decoder().decode_lines


def field_names(body: bytes, kind: str = "") -> set[str]:
    """Names of all features of a body of that media type (JSON or NDJSON unless it is another);
    empty for a large one, and for packed batches, which have hashes only."""
    if len(body) > BODY_BYTES_MAX:
        return set()
    if kind == VW_TEXT:
        return vw_names(body)
    if kind == ARROW:
        return arrow_names(body)
    return {name for document in documents_of(body, kind) for name in _names(document)}


def documents_of(body: bytes, kind: str) -> list[dict[str, Any]]:
    """The documents of an accepted body of that media type; none where it is no JSON of a kind."""
    if kind in (ARROW, VW_TEXT, PACKED):
        return []
    if kind == MSGPACK:
        body = json_of_msgpack(body)
    with contextlib.suppress(msgspec.DecodeError):
        return [_decode(body)]
    with contextlib.suppress(msgspec.DecodeError):
        return _decode_lines(body)
    return []


def _names(document: dict[str, Any]) -> Iterator[str]:
    yield from document.get("shared") or {}
    for example in document.get("examples", [document]):
        yield from example["features"]
