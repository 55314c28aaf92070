"""What is fuzzed: each target is called with bytes and raises what it should not.

A refusal has to be one of the core's errors. What is accepted has to be right: JSON and Vowpal
Wabbit text are compared with the slow readings of the tests, entries with what they are when they
are written again, snapshots with what a model may hold. Checksums are put right on the way in:
else all that is seen of entries and snapshots is that their checksums differ.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import xxhash

from app.ingest import decode_json, plain_features
from app.ingest.msgpack import decode_msgpack
from app.ingest.msgpack_text import json_of_msgpack
from app.ingest.packed import decode_packed
from app.ingest.vw import decode_vw
from app.replies import encode_json
from ftrl_core import entry, snapshot_file
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, BadEntry, BadExample, BadSnapshot, TooLarge, UnknownVersion
from ftrl_core.features import Reader
from ftrl_core.json_scan import canonical_rows
from ftrl_core.json_score import FeatureTexts
from ftrl_core.limits import Limits
from ftrl_core.model import Model
from tests.oracle.slow_ingest import says_nothing_of, slow_json
from tests.oracle.vw_lines import slow_vw

SEED = 99
LIMITS = Limits(examples=8, features=12, request_features=40, name_bytes=12, value_bytes=16)
REFUSALS = (BadBody, BadExample, TooLarge)
DIGEST = "0" * 32  # of every model, so that snapshots need not guess one
_ROOM = FeatureTexts(LIMITS, 1 << 12)
Model.digest = lambda _: DIGEST  # type: ignore[method-assign]


class Wrong(Exception):
    """What was accepted, or refused, should not have been."""


def _arrays(batch: ExampleBatch) -> list[tuple[str, bytes]]:
    arrays = (
        batch.row_offsets, batch.name_hashes, batch.feature_hashes, batch.values,
        batch.labels, batch.weights, batch.event_ids,
    )  # fmt: skip
    return [(str(array.dtype), array.tobytes()) for array in arrays]


def _outcome(read: Callable[..., ExampleBatch], *given: Any) -> Any:
    try:
        return _arrays(read(*given))
    except REFUSALS as error:
        return type(error)


def _compare(fast: Any, slow: Any) -> None:
    """Both refuse, whatever their words, or both give the same arrays."""
    if isinstance(fast, type) != isinstance(slow, type) or (
        not isinstance(fast, type) and fast != slow
    ):
        raise Wrong(f"fast {fast}\nslow {slow}")


def read_json(data: bytes) -> None:
    """The decoder of JSON bodies, and the kernel that scores raw features."""
    require_labels = not data[:1] <= b"\x7f"
    body = data[1:]
    fast = _outcome(decode_json, body, LIMITS, SEED, require_labels)
    try:
        batch = slow_json(body, LIMITS, SEED, require_labels)
        slow = _arrays(batch) if 0 < batch.rows <= LIMITS.examples else BadBody
    except (AssertionError, *REFUSALS):  # the slow reading expects the wrapper to be one
        slow = BadBody
    if not says_nothing_of(body):
        _compare(fast, slow)
    texts = None if require_labels else plain_features(body, LIMITS)
    arguments = _ROOM.arguments([bytes(text) for text in texts], SEED) if texts else None
    if arguments is not None:
        *arrays, _, slow_count = canonical_rows(*arguments)
        scored = [(str(array.dtype), array.tobytes()) for array in arrays]
        if slow_count == 0 and scored != fast[:4]:
            raise Wrong(f"scored {scored}\nread {fast}")


def read_msgpack(data: bytes) -> None:
    """The decoder of MessagePack, against the way through JSON text."""
    require_labels = not data[:1] <= b"\x7f"
    body = data[1:]

    def as_text(*given: Any) -> ExampleBatch:
        return decode_json(json_of_msgpack(body), *given)

    given = (LIMITS, SEED, require_labels)
    _compare(_outcome(decode_msgpack, body, *given), _outcome(as_text, *given))


def read_vw(data: bytes) -> None:
    """The decoder of Vowpal Wabbit text."""
    flags, body = data[0] if data else 0, data[1:]
    require_labels, id_from_tag = bool(flags & 1), bool(flags & 2)
    fast = _outcome(decode_vw, body, LIMITS, SEED, require_labels, id_from_tag)
    reader = Reader(SEED, require_labels, LIMITS)
    try:
        body.decode()
        slow = slow_vw(body, reader, id_from_tag)
        whole = 0 < slow.rows <= LIMITS.examples and slow.nnz <= LIMITS.request_features
    except (UnicodeDecodeError, *REFUSALS):
        whole = False
    if body.count(b"\n") > LIMITS.examples:
        whole = False
    _compare(fast, _arrays(slow) if whole else BadBody)


def read_entry(data: bytes) -> None:
    """The decoder of entries of the log, and of packed bodies: as they are, and sealed."""
    _decode_entry(data)
    if len(data) > 20:
        sealed = b"CFE1\1\0" + data[6:8] + len(data).to_bytes(4, "little") + data[12:-8]
        _decode_entry(sealed + xxhash.xxh64_intdigest(sealed).to_bytes(8, "little"))


def _decode_entry(payload: bytes) -> None:
    _outcome(decode_packed, payload, LIMITS)
    try:
        read = entry.decode(payload)
    except (BadEntry, UnknownVersion):
        return
    if isinstance(read, entry.ControlEntry):
        again = entry.decode(entry.encode_control(read.op, read.fields))
        if again != read:
            raise Wrong("a control record is another one when it is written again")
        return
    batch = read.batch
    keys = batch.name_hashes.astype(np.uint64) << np.uint64(32) | batch.feature_hashes
    for first, last in zip(batch.row_offsets[:-1], batch.row_offsets[1:], strict=True):
        if not (np.diff(keys[first:last].astype(object)) > 0).all():
            raise Wrong("a row is not in canonical order")
    if not (np.isfinite(batch.values).all() and np.isfinite(batch.weights).all()):
        raise Wrong("a number is not finite")
    again = entry.decode(entry.encode_examples(batch, read.requests))
    assert isinstance(again, entry.ExamplesEntry)
    if (
        _arrays(again.batch) != _arrays(batch)
        or again.requests.tobytes() != read.requests.tobytes()
    ):
        raise Wrong("an entry is another one when it is written again")


def read_snapshot(data: bytes) -> None:
    """The reader of snapshots: of the bytes, and of the file that `sealed` makes of them."""
    for file in (data, sealed(data)):
        try:
            header, model = snapshot_file.read_snapshot(io.BytesIO(file))
        except BadSnapshot:
            continue
        encode_json(header.to_dict())
        check_model(model)


def check_model(model: Model) -> None:
    """What holds of every model."""
    numbers = (model.table.cells, model.bias, model.metrics.sums, model.metrics.bins)
    if not all(np.isfinite(array).all() for array in numbers):
        raise Wrong("a number of the model is not finite")
    counts = (model.examples, model.duplicates, model.metrics.scored, model.deduplication.count)
    if not all(type(count) is int and 0 <= count < 2**63 for count in counts):
        raise Wrong(f"counts {counts}")
    encode_json(model.stats())
    encode_json(model.names.in_order())
    model.state_digest()


def sealed(data: bytes) -> bytes:
    """A snapshot file of these parts, whose lengths and checksums are right.

    u16  bytes of the header, and the header
    then frames, each  u8 kind   u8 index   u16 bytes of the content, and the content
    """
    size = int.from_bytes(data[:2], "little")
    text = data[2 : 2 + size]
    opening = snapshot_file.MAGIC + len(text).to_bytes(4, "little") + text
    chain = xxhash.xxh64_intdigest(opening)
    out = [opening]
    frames = [(snapshot_file.SEAL, 0, b""), *_frames(data[2 + size :])]
    for kind, index, content in [*frames, (snapshot_file.END, len(frames) - 1, b"")]:
        stored = zlib.compress(content, 1)
        head = struct.pack("<BIII", kind, index, len(content), len(stored))
        chain = xxhash.xxh64_intdigest(head + stored, chain)
        out += [head, chain.to_bytes(8, "little"), stored]
    return b"".join(out)


def _frames(data: bytes) -> list[tuple[int, int, bytes]]:
    frames = []
    while len(data) >= 4:
        kind, index, size = struct.unpack("<BBH", data[:4])
        frames.append((kind, index, data[4 : 4 + size]))
        data = data[4 + size :]
    return frames


def parts_of(model: Model) -> bytes:
    """What `sealed` makes a snapshot of this model of."""
    from ftrl_core.checkpoint import cut

    taken = cut(model, -1)
    header = snapshot_file.Header(
        taken.config, taken.position, DIGEST, "0" * 16, "name", 1, model.examples
    )
    text = json.dumps(header.to_dict()).encode()
    contents = [(snapshot_file.PAGE, i, bytes(c)) for i, c in taken.pages.items()]
    contents += [(snapshot_file.SEGMENT, i, bytes(c)) for i, c in taken.segments.items()]
    frames = [struct.pack("<BBH", kind, i, len(c)) + c for kind, i, c in contents]
    return len(text).to_bytes(2, "little") + text + b"".join(frames)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "entry": read_entry,
    "json": read_json,
    "msgpack": read_msgpack,
    "snapshot": read_snapshot,
    "vw": read_vw,
}
