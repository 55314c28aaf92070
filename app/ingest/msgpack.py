"""`application/msgpack`: the shape of JSON, as MessagePack.

The document becomes JSON text, and that is decoded as ever: one rule book, one kernel, and errors
with the same rows and pointers. What is usual is made into text by msgspec, in two calls. It is
usual where msgspec's types say so, no map of features has a name twice (its dictionary would then
be shorter than the map's own count) and no number was NaN or infinite (which would be written as
null); all else goes through `msgpack_text`.

Cost: five times the time of the same examples as JSON. A kernel over MessagePack would be as quick
as the one over JSON; a client for which that matters sends JSON, or packed batches.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from app.ingest.bodies import decode_json
from app.ingest.msgpack_text import json_of_msgpack
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import TooLarge
from ftrl_core.limits import Limits

_Item = str | int | float | bool
_Features = dict[str, _Item | list[_Item]]
_DEFAULT_LIMITS = Limits()


class _Row(Struct, forbid_unknown_fields=True, omit_defaults=True):
    features: Raw
    label: int | float | UnsetType = UNSET
    weight: int | float | UnsetType = UNSET
    id: str | int | UnsetType = UNSET


class _Body(Struct, forbid_unknown_fields=True):
    examples: list[_Row]
    shared: Raw | UnsetType = UNSET


_BODY = msgspec.msgpack.Decoder(_Body)
_FEATURES = msgspec.msgpack.Decoder(_Features)
_encode = msgspec.json.encode


def decode_msgpack(
    body: bytes,
    limits: Limits = _DEFAULT_LIMITS,
    hash_seed: int = 0,
    require_labels: bool = True,
) -> ExampleBatch:
    """The batch of a MessagePack body. Raises BadBody, BadExample or TooLarge."""
    if len(body) > limits.decompressed_bytes:
        raise TooLarge(f"a body has at most {limits.decompressed_bytes} bytes")
    text = _usual(body)
    if text is None:
        text = json_of_msgpack(body)
    # The text is longer than the body was: its size has been checked.
    unbounded = replace(limits, decompressed_bytes=max(len(text), limits.decompressed_bytes))
    return decode_json(text, unbounded, hash_seed, require_labels)


def _usual(body: bytes) -> bytes | None:
    """The JSON text of a usual body, None for any other."""
    try:
        parsed = _BODY.decode(body)
        for row in parsed.examples:
            row.features = _json(row.features)
        if parsed.shared is not UNSET:
            parsed.shared = _json(parsed.shared)
    except (msgspec.DecodeError, _Unusual, RecursionError, UnicodeDecodeError):
        return None
    return _encode(parsed)


class _Unusual(Exception):
    """Features that are not plain."""


def _json(features: Raw) -> Raw:
    """Features as raw JSON."""
    pairs = _FEATURES.decode(features)
    text = _encode(pairs)
    if len(pairs) != _map_length(bytes(memoryview(features)[:5])) or b"null" in text:
        raise _Unusual
    return Raw(text)


def _map_length(head: bytes) -> int:
    """How many pairs a map says it has."""
    if head[0] <= 0x8F:
        return head[0] & 0x0F
    return int.from_bytes(head[1:3] if head[0] == 0xDE else head[1:5], "big")
