"""The payload of a log entry: a packed batch of examples, or a control record.

Everything that a later fold could need is here: names stay apart from values, so fields can be
ignored, crossed or given other options from the log alone. Little-endian throughout:

     0  4s   magic "CFE1"
     4  u16  format version, 1
     6  u8   kind: 1 examples, 2 control
     7  u8   flags: 1 weights given, 2 event ids given
     8  u32  bytes of the payload, checksum included
    12  u32  rows R                       (control: bytes of the JSON document, rest 0)
    16  u32  requests Q
    20  u32  schemas S
    24  u32  schema fields F
    28  u32  hashes H
    32  u32  numbers V
    36  u32  zero
    40       requests   Q x { u64 idempotency key, u64 body hash, u32 rows, u16 key number,
                              u16 flags: 1 continues the previous entry's last request }
             event ids  R x u64           if flag 2; 0 is none
             hashes     H x u32           value hashes, row after row
             numbers    V x f32           values that are not an implied 1
             weights    R x f32           if flag 1
             schema sizes  S x u32        fields of each schema
             schema names  F x u32        name hash of each field; a list repeats its field
             row schemas   R x u16        the schema of each row
             schema kinds  F x u8         0 a hash, implied 1; 1 a number, under the name's hash;
                                          2 a hash and a number
             labels        R x u8         0 or 1
    end - 8  u64  XXH64 of all before it

Rows are canonical (see `batch`), so a schema lists its names in ascending order and the kinds need
no order of their own. A typical example of 39 categorical features takes 159 bytes. The nonce, the
previous entry's nonce and the append time are fields of the stream entry beside the payload: the
chain survives a damaged payload.

A control payload has the JSON document {"op": ..., ...} after the header. Operations: create,
names, configure, restore, delete, skip. They are how every replica changes at one position.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import ExampleBatch
from ftrl_core.entry_kernels import assign_schemas, expand_rows, flatten_rows
from ftrl_core.errors import BadEntry, UnknownVersion
from ftrl_core.hashing import xxh64

MAGIC = b"CFE1"
VERSION = 1
EXAMPLES, CONTROL = 1, 2
HAS_WEIGHTS, HAS_IDS = 1, 2
CONTINUES = 1
FEATURES_MAX = 32_768  # of one entry: about 0.3 ms of fold, so predictions see whole positions
ROWS_MAX = 16_384
WEIGHT_MAX = 1e6  # keeps every gradient's square finite in float32, see kernels
OPERATIONS = ("create", "names", "configure", "restore", "delete", "skip")


def _is_text(value: object) -> bool:
    """Whether it is a string that UTF-8 can hold: JSON can say half a surrogate pair."""
    return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value


_FIELDS_FIT: dict[str, Callable[[dict[str, Any]], bool]] = {
    "create": lambda f: isinstance(f.get("config"), dict),
    "configure": lambda f: isinstance(f.get("config"), dict),
    "names": lambda f: isinstance(f.get("names"), list) and all(_is_text(n) for n in f["names"]),
    "restore": lambda f: isinstance(f.get("generation"), str),
    "skip": lambda f: isinstance(f.get("seq"), int) and f["seq"] >= 1,
    "delete": lambda _: True,
}
_HEADER = struct.Struct("<4sHBB8I")
_REQUEST = np.dtype(
    [("key", "<u8"), ("body", "<u8"), ("rows", "<u4"), ("key_number", "<u2"), ("flags", "<u2")]
)
Requests = npt.NDArray[np.void]


class RequestPart(NamedTuple):
    """One request's share of an entry."""

    rows: int
    key_number: int = 0  # which API key sent it
    idempotency_key: int = 0  # hash, 0 none
    body_hash: int = 0
    continues: bool = False  # takes the verdict of the previous entry's last request


@dataclass(slots=True)
class ExamplesEntry:
    """A decoded batch and the requests that its rows came from, in order.

    requests is a structured array with the fields key, body, rows, key_number, flags.
    """

    batch: ExampleBatch
    requests: Requests


@dataclass(slots=True)
class ControlEntry:
    """A decoded control record."""

    op: str
    fields: dict[str, Any]


Entry = ExamplesEntry | ControlEntry


def request_table(parts: Sequence[RequestPart]) -> Requests:
    """The parts as the structured array that an entry holds."""
    rows = [
        (p.idempotency_key, p.body_hash, p.rows, p.key_number, CONTINUES if p.continues else 0)
        for p in parts
    ]
    return np.array(rows, _REQUEST)


def whole_request(batch: ExampleBatch) -> Requests:
    """The table of an entry whose rows are one request without a key."""
    return request_table([RequestPart(batch.rows)])


def plan_entries(batch: ExampleBatch) -> list[tuple[int, int]]:
    """Row ranges of the entries that a batch is cut into: each within the limits of an entry."""
    ranges = []
    first = 0
    while first < batch.rows:
        budget = int(batch.row_offsets[first]) + FEATURES_MAX
        last = int(np.searchsorted(batch.row_offsets, budget, side="right")) - 1
        last = min(max(last, first + 1), first + ROWS_MAX, batch.rows)
        ranges.append((first, last))
        first = last
    return ranges


def encode_examples(batch: ExampleBatch, requests: Requests) -> bytes:
    """The payload of a canonical batch with labels; requests as `request_table` makes them."""
    row_schema, first_rows = assign_schemas(
        batch.row_offsets, batch.name_hashes, batch.feature_hashes, batch.values
    )
    sizes, names, kinds, hashes, numbers = flatten_rows(
        batch.row_offsets, batch.name_hashes, batch.feature_hashes, batch.values, first_rows
    )
    flags = 0
    sections: list[npt.NDArray[Any]] = [requests]
    if batch.event_ids.any():
        flags |= HAS_IDS
        sections.append(batch.event_ids)
    sections += [hashes, numbers]
    if (batch.weights != 1).any():
        flags |= HAS_WEIGHTS
        sections.append(batch.weights)
    sections += [sizes, names, row_schema, kinds, batch.labels]
    body = b"".join(section.tobytes() for section in sections)
    counts = (batch.rows, len(requests), sizes.size, names.size, hashes.size, numbers.size)
    return _sealed(EXAMPLES, flags, counts, body)


def encode_control(op: str, fields: Mapping[str, Any]) -> bytes:
    """The payload of a control record; `fields` is JSON-able."""
    assert op in OPERATIONS
    document = json.dumps({"op": op, **fields}, sort_keys=True, separators=(",", ":")).encode()
    return _sealed(CONTROL, 0, (len(document), 0, 0, 0, 0, 0), document)


def decode(payload: bytes) -> Entry:
    """The entry of a payload; BadEntry when it is damaged, UnknownVersion when it is whole and of
    another version, kind or operation."""
    if len(payload) < _HEADER.size + 8:
        raise BadEntry("the payload is shorter than its header")
    magic, version, kind, flags, size, *counts, zero = _HEADER.unpack_from(payload)
    if magic != MAGIC:
        raise BadEntry("the payload does not begin with its magic")
    if size != len(payload):
        raise BadEntry("the payload is not as long as its header says")
    if xxh64(memoryview(payload)[:-8]) != int.from_bytes(payload[-8:], "little"):
        raise BadEntry("the payload's checksum differs")
    if version != VERSION or zero:
        raise UnknownVersion(f"the payload's format version {version} is not known")
    if kind == CONTROL:
        return _decode_control(payload, counts)
    if kind != EXAMPLES or flags & ~(HAS_WEIGHTS | HAS_IDS):
        raise UnknownVersion("the payload is of an unknown kind")
    return _decode_examples(payload, flags, counts)


def _sealed(kind: int, flags: int, counts: tuple[int, ...], body: bytes) -> bytes:
    size = _HEADER.size + len(body) + 8
    head = _HEADER.pack(MAGIC, VERSION, kind, flags, size, *counts, 0) + body
    return head + xxh64(head).to_bytes(8, "little")


def _decode_control(payload: bytes, counts: Sequence[int]) -> ControlEntry:
    try:
        fields = json.loads(payload[_HEADER.size : -8])
        op = fields.pop("op")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise BadEntry("the control record is not a JSON object with an operation") from error
    if counts[0] != len(payload) - _HEADER.size - 8:
        raise BadEntry("the control record is not as long as its header says")
    if op not in OPERATIONS:
        raise UnknownVersion("the control record's operation is not known")
    if not _FIELDS_FIT[op](fields):
        raise BadEntry(f"the {op} record does not have its fields")
    return ControlEntry(op, fields)


class _Sections:
    """Cuts consecutive arrays off a payload, within its bounds."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = _HEADER.size
        self._end = len(payload) - 8

    def take(self, dtype: Any, count: int) -> npt.NDArray[Any]:
        size = np.dtype(dtype).itemsize * count
        self.require(size)
        array = np.frombuffer(self._payload, dtype, count, self._at)
        self._at += size
        return array

    def require(self, size: int) -> None:
        """So many bytes are left at least."""
        if self._at + size > self._end:
            raise BadEntry("a section of the payload is longer than the payload")

    def finish(self) -> None:
        if self._at != self._end:
            raise BadEntry("the payload is longer than its sections")


def _decode_examples(payload: bytes, flags: int, counts: Sequence[int]) -> ExamplesEntry:
    rows, requests, schemas, fields, hashes, numbers = counts
    cut = _Sections(payload)
    cut.require(rows)  # a label each: before an array of that many is made
    table = cut.take(_REQUEST, requests)
    ids = cut.take(np.uint64, rows) if flags & HAS_IDS else np.zeros(rows, np.uint64)
    value_hashes = cut.take(np.uint32, hashes)
    values = cut.take(np.float32, numbers)
    weights = cut.take(np.float32, rows) if flags & HAS_WEIGHTS else np.ones(rows, np.float32)
    sizes = cut.take(np.uint32, schemas)
    names = cut.take(np.uint32, fields)
    row_schema = cut.take(np.uint16, rows)
    kinds = cut.take(np.uint8, fields)
    labels = cut.take(np.uint8, rows)
    cut.finish()
    _check_small_sections(table, weights if flags & HAS_WEIGHTS else None, labels, rows)
    expanded = expand_rows(sizes, names, kinds, row_schema, value_hashes, values)
    return ExamplesEntry(ExampleBatch(*expanded, labels, weights, ids), table)


def _check_small_sections(
    table: Requests,
    weights: npt.NDArray[np.float32] | None,
    labels: npt.NDArray[np.uint8],
    rows: int,
) -> None:
    if int(table["rows"].sum()) != rows:
        raise BadEntry("the requests' rows are not the entry's rows")
    if weights is not None and not ((weights >= 0) & (weights <= WEIGHT_MAX)).all():
        raise BadEntry("a weight is out of range")
    if labels.max(initial=0) > 1:
        raise BadEntry("a label is out of range")
