"""Typed rows to an ExampleBatch: one kernel for labels, weights and ids, one for the features.

    rows ──► fields (settle_fields) ───────────────► labels, weights, event ids, first bad row
      └────► features: join ► scan ► slow rows ► shared ► canonicalise ► CSR arrays

What is wrong is found by number first and worded afterwards: of the bad row of the fields and the
rows that the scan did not settle, the lowest is read by the slow path, which raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any, NoReturn

import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from app.ingest.slow_json import parse_json
from ftrl_core.batch import NO_LABEL, ExampleBatch, canonicalise
from ftrl_core.errors import TooLarge
from ftrl_core.example_fields import settle_fields
from ftrl_core.features import Place, Reader, Triples
from ftrl_core.json_scan import (
    ScannedRows,
    rows_of_triples,
    scan_features,
    with_shared,
    with_slow_rows,
)
from ftrl_core.json_string import SPARE_BYTES
from ftrl_core.limits import Limits
from ftrl_core.text_scan import Fields

EventId = Annotated[str, Meta(min_length=1)] | int

_INTEGER_ID_MIN, _INTEGER_ID_MAX = -(2**63), 2**64 - 1
_NO_SHARED = Place(None, "/shared")
_BINARY = frozenset({0.0, 1.0})


class LearnRow(Struct, forbid_unknown_fields=True, gc=False):
    """An example to learn, as msgspec checks it; the features are not looked at."""

    features: Raw
    label: float
    weight: float = 1.0
    id: EventId | UnsetType = UNSET


class ScoreRow(Struct, forbid_unknown_fields=True, gc=False):
    """An example to score: a label is allowed and ignored, whatever it is."""

    features: Raw
    label: Raw = Raw()
    weight: float = 1.0
    id: EventId | UnsetType = UNSET


Row = LearnRow | ScoreRow


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from: the place of a row in the body, and its text to be read again."""

    place: Callable[[int], Place]
    text: Callable[[int], bytes]


def explain(row: int, source: Source, reader: Reader, shared: int) -> NoReturn:
    """Raise what is wrong with a row that the fast path has refused."""
    place = source.place(row)
    reader.example(parse_json(source.text(row)), place, shared)
    raise place.wrong("a key comes twice, and one of its values is wrong")


def rows_to_batch(
    rows: Sequence[Row], shared: Raw | None, source: Source, reader: Reader
) -> ExampleBatch:
    """The batch of all rows, the shared features merged into each. Raises BadExample, TooLarge."""
    common = _scan_shared(shared, reader) if shared is not None else None
    shared_count = int(common.values.size) if common is not None else 0
    labels, weights, event_ids, bad = settle(rows, reader)
    features = [row.features for row in rows]
    scanned = _scan(features, reader, shared_count, canonical=common is None)
    if scanned.slow:
        scanned = _with_slow(scanned, rows[:bad], source, reader, shared_count)
    if bad < len(rows):
        explain(bad, source, reader, shared_count)
    return batch_of(scanned, common, (labels, weights, event_ids), reader.limits)


def batch_of(
    scanned: ScannedRows, shared: ScannedRows | None, fields: Fields, limits: Limits
) -> ExampleBatch:
    """The batch of rows none of which is slow, the row `shared` merged into each.

    fields are labels, weights and event ids. Raises TooLarge.
    """
    if shared is not None:
        scanned = with_shared(scanned, shared)
    if scanned.values.size > limits.request_features:
        raise _too_many_features(limits)
    arrays = (
        scanned.row_offsets, scanned.name_hashes, scanned.feature_hashes, scanned.values
    )  # fmt: skip
    if not scanned.is_canonical:
        arrays = canonicalise(*arrays)
    return ExampleBatch(*arrays, *fields)


def settle(
    rows: Sequence[Any], reader: Reader
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.uint8]],
    np.ndarray[tuple[int], np.dtype[np.float32]],
    np.ndarray[tuple[int], np.dtype[np.uint64]],
    int,
]:
    """Labels, weights, event ids and the first row that is wrong, as `settle_fields` has them.

    rows are LearnRow, or whatever has their label, weight and id.
    """
    count = len(rows)
    labels = [row.label for row in rows] if reader.require_labels else []
    weights = [row.weight for row in rows]
    ids = [row.id for row in rows]
    has_ids = ids.count(UNSET) < count
    if not has_ids and weights.count(1.0) == count and _BINARY.issuperset(labels):  # most bodies
        given = labels or [NO_LABEL] * count
        return (
            np.array(given, np.uint8),
            np.ones(count, np.float32),
            np.zeros(count, np.uint64),
            count,
        )
    return settle_fields(
        np.array(labels, np.float64),
        np.array(weights, np.float64),
        [_id_text(value) for value in ids] if has_ids else [],
        reader.hash_seed,
        reader.limits,
    )


def _id_text(value: str | int | UnsetType) -> bytes:
    """The UTF-8 that is hashed for an id; a control character where the id is out of range."""
    if isinstance(value, str):
        return value.encode()
    if value is UNSET:
        return b""
    return b"%d" % value if _INTEGER_ID_MIN <= value <= _INTEGER_ID_MAX else b"\0"


def _scan(
    features: list[Raw], reader: Reader, shared_count: int, *, canonical: bool = False
) -> ScannedRows:
    buf = bytearray().join([*features, bytes(SPARE_BYTES)])
    starts = np.array([0, *accumulate(map(len, features))], np.int64)
    scanned = scan_features(
        np.frombuffer(buf, np.uint8),
        starts,
        reader.hash_seed,
        reader.limits,
        shared_count,
        canonical=canonical,
    )
    if scanned is None:
        raise _too_many_features(reader.limits)
    return scanned


def _scan_shared(shared: Raw, reader: Reader) -> ScannedRows:
    scanned = _scan([shared], reader, 0)
    if scanned.slow:
        return rows_of_triples(reader.features(parse_json(bytes(shared)), _NO_SHARED))
    return scanned


def _with_slow(
    scanned: ScannedRows, rows: Sequence[Row], source: Source, reader: Reader, shared_count: int
) -> ScannedRows:
    """The slow rows among `rows` read by the slow path; later ones stay empty."""
    read: list[Triples] = []
    for row in scanned.slow:
        if row >= len(rows):
            read.append(Triples())  # a row before it is bad, so the batch is refused anyway
            continue
        place = source.place(row).within("features")
        read.append(reader.features(parse_json(bytes(rows[row].features)), place, shared_count))
    return with_slow_rows(scanned, read)


def _too_many_features(limits: Limits) -> TooLarge:
    return TooLarge(
        f"a request has at most {limits.request_features} features in all its examples",
        None,
        "/examples",
    )
