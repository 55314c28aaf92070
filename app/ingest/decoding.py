"""decode_body: a request's bytes and two headers to a batch, and the warm-up of all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.ingest.bodies import decode_json, decode_ndjson
from app.ingest.content import UnsupportedMediaType, decompressed, media_type
from ftrl_core.batch import ExampleBatch
from ftrl_core.limits import Limits

_DECODERS: dict[str, Callable[[bytes, Limits, int, bool], ExampleBatch]] = {
    "application/json": decode_json,
    "application/x-ndjson": decode_ndjson,
}
_DEFAULT_LIMITS = Limits()
_WARM_UP_BODY = (
    b'{"shared":{"user":"u17"},"examples":[{"id":"imp-81","label":1,"weight":1.5,"features":'
    b'{"ad":"\\u00e9","price":3.5e0,"tags":["x",1,true,null],"new":false}},'
    b'{"label":0,"features":{}}]}'
)
_PLAIN_WARM_UP_BODY = b'{"label":1,"features":{"ad":"a9"}}'


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request's examples, and its body without Content-Encoding (what an idempotency key covers).

    `body` is what is hashed to tell a repeated request from another one under the same key: a
    client's retry may be compressed anew.
    """

    batch: ExampleBatch
    body: bytes


def decode_body(
    body: bytes,
    *,
    content_type: str | None,
    content_encoding: str | None = None,
    hash_seed: int = 0,
    require_labels: bool = True,
    limits: Limits = _DEFAULT_LIMITS,
) -> Decoded:
    """The examples of a request. Thread-safe; large bodies are best decoded in a thread.

    Raises UnsupportedMediaType (before the body is looked at), BadBody, BadExample or TooLarge.
    """
    kind = media_type(content_type)
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise UnsupportedMediaType("the Content-Type must be " + " or ".join(_DECODERS))
    plain = decompressed(content_encoding, body, limits)
    return Decoded(decoder(plain, limits, hash_seed, require_labels), plain)


def warm_up() -> None:
    """Compile, or load from the cache, every kernel that a request may need."""
    for require_labels in (True, False):
        for body in (_WARM_UP_BODY, _PLAIN_WARM_UP_BODY):
            decode_json(body, _DEFAULT_LIMITS, 0, require_labels)
