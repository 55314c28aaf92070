"""decode_body: a request's bytes and two headers to a batch, and the warm-up of all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import msgspec

from app.ingest.arrow import decode_arrow
from app.ingest.bodies import decode_json, decode_ndjson
from app.ingest.content import (
    ARROW,
    JSON_TEXT,
    MSGPACK,
    PACKED,
    VW_TEXT,
    UnsupportedMediaType,
    decompressed,
    media_type,
)
from app.ingest.msgpack import decode_msgpack
from app.ingest.packed import decode_packed
from app.ingest.vw import decode_vw
from ftrl_core import columns
from ftrl_core.batch import ExampleBatch
from ftrl_core.limits import Limits

DECODERS: dict[str, Callable[[bytes, Limits, int, bool], ExampleBatch]] = {
    JSON_TEXT: decode_json,
    "application/x-ndjson": decode_ndjson,
    ARROW: decode_arrow,
    MSGPACK: decode_msgpack,
    PACKED: decode_packed,
    VW_TEXT: decode_vw,
}
_DEFAULT_LIMITS = Limits()
_WARM_UP_BODY = (
    b'{"shared":{"user":"u17"},"examples":[{"id":"imp-81","label":1,"weight":1.5,"features":'
    b'{"ad":"\\u00e9","price":3.5e0,"tags":["x",1,true,null],"new":false}},'
    b'{"label":0,"features":{}}]}'
)
_WARM_UP_PLAIN = b'{"label":1,"features":{"ad":"a9"}}'
_WARM_UP_VW = b"1 0.5 'imp-81|user:2 u17:1.5 | ad=a9 price:3.5e0\n"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request's examples, and its body without Content-Encoding (what an idempotency key covers).

    `body` is what is hashed to tell a repeated request from another one under the same key: a
    client's retry may be compressed anew.
    """

    batch: ExampleBatch
    body: bytes
    kind: str = ""  # the media type, of JSON at times none


def decode_body(
    body: bytes,
    *,
    content_type: str | None,
    content_encoding: str | None = None,
    hash_seed: int = 0,
    require_labels: bool = True,
    id_from_tag: bool = False,
    limits: Limits = _DEFAULT_LIMITS,
) -> Decoded:
    """The examples of a request. Thread-safe; large bodies are best decoded in a thread.

    id_from_tag: the tag of Vowpal Wabbit text is the event id; other bodies have no tags.
    Raises UnsupportedMediaType (before the body is looked at), BadBody, BadExample or TooLarge.
    """
    kind = media_type(content_type)
    decoder = DECODERS.get(kind)
    if decoder is None:
        raise UnsupportedMediaType("the Content-Type must be " + " or ".join(DECODERS))
    plain = decompressed(content_encoding, body, limits)
    if kind == VW_TEXT and id_from_tag:
        decoder = partial(decode_vw, id_from_tag=True)
    return Decoded(decoder(plain, limits, hash_seed, require_labels), plain, kind)


def warm_up() -> None:
    """Compile, or load from the cache, every kernel that a request may need."""
    warm_up_json()
    warm_up_vw()
    for require_labels in (True, False):
        for body in (_WARM_UP_BODY, _WARM_UP_PLAIN):
            decode_msgpack(_msgpack_of(body), _DEFAULT_LIMITS, 0, require_labels)
    if find_spec("pyarrow") is not None:
        columns.warm_up()


def _msgpack_of(body: bytes) -> bytes:
    return msgspec.msgpack.encode(msgspec.json.decode(body))


def warm_up_json() -> None:
    """The same for JSON alone, in its several media types."""
    for require_labels in (True, False):
        for body in (_WARM_UP_BODY, _WARM_UP_PLAIN):
            decode_json(body, _DEFAULT_LIMITS, 0, require_labels)
    decode_ndjson(_WARM_UP_PLAIN)


def warm_up_vw() -> None:
    """The same for Vowpal Wabbit text alone."""
    decode_vw(_WARM_UP_VW)
