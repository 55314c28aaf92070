"""`application/msgpack`: the shape of JSON, as MessagePack.

    body ─► msgspec: wrapper by type, features raw ─► scan_maps ─► batch
      └──── whatever is unusual or wrong: JSON text (`msgpack_text`) ─► decode_json

So there is one rule book, and errors have the same rows and pointers. The way through text is slow
(a microsecond a byte) and meant for bodies that are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import msgspec
import numpy as np
from msgspec import UNSET, Raw, Struct, UnsetType

from app.ingest.bodies import decode_json
from app.ingest.msgpack_text import json_of_msgpack
from app.ingest.rows import EventId, LearnRow, batch_of, settle
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import TooLarge
from ftrl_core.features import Reader
from ftrl_core.json_scan import ScannedRows
from ftrl_core.limits import Limits
from ftrl_core.msgpack_scan import MSGPACK_SPARE_BYTES, scan_maps

_DEFAULT_LIMITS = Limits()


class _ScoreRow(Struct, forbid_unknown_fields=True, gc=False):
    """An example to score: its label is ignored. (As raw bytes it could be what JSON has not.)"""

    features: Raw
    label: int | float | str | bool | None = None
    weight: float = 1.0
    id: EventId | UnsetType = UNSET


class _LearnBody(Struct, forbid_unknown_fields=True):
    examples: list[LearnRow]
    shared: Raw | UnsetType = UNSET


class _ScoreBody(Struct, forbid_unknown_fields=True):
    examples: list[_ScoreRow]
    shared: Raw | UnsetType = UNSET


_LEARN = msgspec.msgpack.Decoder(_LearnBody), msgspec.msgpack.Decoder(LearnRow)
_SCORE = msgspec.msgpack.Decoder(_ScoreBody), msgspec.msgpack.Decoder(_ScoreRow)


def decode_msgpack(
    body: bytes,
    limits: Limits = _DEFAULT_LIMITS,
    hash_seed: int = 0,
    require_labels: bool = True,
) -> ExampleBatch:
    """The batch of a MessagePack body. Raises BadBody, BadExample or TooLarge."""
    if len(body) > limits.decompressed_bytes:
        raise TooLarge(f"a body has at most {limits.decompressed_bytes} bytes")
    batch = _usual(body, Reader(hash_seed, require_labels, limits))
    if batch is not None:
        return batch
    text = json_of_msgpack(body)
    # The text is longer than the body was: its size has been checked.
    unbounded = replace(limits, decompressed_bytes=max(len(text), limits.decompressed_bytes))
    return decode_json(text, unbounded, hash_seed, require_labels)


def _usual(body: bytes, reader: Reader) -> ExampleBatch | None:
    """The batch of a body in which nothing is wrong; None where that is not sure."""
    parsed = _parsed(body, require_labels=reader.require_labels)
    if parsed is None or not 0 < len(parsed[0]) <= reader.limits.examples:
        return None
    rows, shared = parsed
    labels, weights, event_ids, bad = settle(rows, reader)
    if bad < len(rows):
        return None
    common = None if shared is UNSET else _scan([shared], reader, 0, canonical=False)
    if common is None and shared is not UNSET:
        return None
    count = 0 if common is None else int(common.values.size)
    scanned = _scan([row.features for row in rows], reader, count, canonical=common is None)
    if scanned is None:
        return None
    return batch_of(scanned, common, (labels, weights, event_ids), reader.limits)


def _parsed(
    body: bytes, *, require_labels: bool
) -> tuple[Sequence[LearnRow | _ScoreRow], Raw | UnsetType] | None:
    """The examples of a body, or the one that it is, and what they share; None for any other."""
    of_body, of_row = _LEARN if require_labels else _SCORE
    try:
        try:
            parsed = of_body.decode(body)
        except msgspec.ValidationError:
            return [of_row.decode(body)], UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return parsed.examples, parsed.shared


def _scan(
    maps: Sequence[Raw], reader: Reader, shared_count: int, *, canonical: bool
) -> ScannedRows | None:
    buf = bytearray().join([*maps, bytes(MSGPACK_SPARE_BYTES)])
    starts = np.array([0, *accumulate(map(len, maps))], np.int64)
    return scan_maps(
        np.frombuffer(buf, np.uint8), starts, reader.hash_seed, reader.limits, shared_count,
        canonical=canonical,
    )  # fmt: skip
