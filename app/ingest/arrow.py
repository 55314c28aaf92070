"""`application/vnd.apache.arrow.stream`: one row an example, read column by column.

    label, weight, id     by name, as in JSON; a null is as if it were not there
    any other column      a feature of that name
      text, dictionary    a category                     (a dictionary's values are hashed once)
      number              itself
      boolean             true contributes 1, false nothing
      list of these       each of its items
      null                nothing, in any column

Texts are hashed from their buffers. Whatever pyarrow reads is checked by it in full first (offsets,
UTF-8), since kernels believe them; string views are refused, because that check does not catch all
that is wrong with them. pyarrow is an extra (`clickfold[arrow]`), imported when the
first such body comes. Errors name the row, and the column as the pointer's last part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from app.ingest.arrow_texts import text_hashes
from app.ingest.content import UnsupportedMediaType
from ftrl_core.batch import ExampleBatch, canonicalise, frozen
from ftrl_core.columns import hash_texts, place_items
from ftrl_core.errors import BadBody, TooLarge
from ftrl_core.example_fields import settle_fields
from ftrl_core.features import TINY, Place
from ftrl_core.hashing import name_hash
from ftrl_core.limits import Limits

I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]
Features = tuple[I64, U32, U32, npt.NDArray[np.float32]]  # as in ExampleBatch, not yet canonical
_DEFAULT_LIMITS = Limits()
RESERVED = ("label", "weight", "id")
_TYPE = "a column is of text, numbers, true and false, or lists of these"


@dataclass(frozen=True, slots=True)
class _Items:
    """The items of a column: the row of each, its hash and its value."""

    rows: I64
    hashes: npt.NDArray[np.uint32]
    values: npt.NDArray[np.float32]


def decode_arrow(
    body: bytes,
    limits: Limits = _DEFAULT_LIMITS,
    hash_seed: int = 0,
    require_labels: bool = True,
) -> ExampleBatch:
    """The batch of an Arrow IPC stream. Raises BadBody, BadExample, TooLarge, and
    UnsupportedMediaType where pyarrow is not installed."""
    table = _read(body, limits)
    try:
        return table_to_batch(table, limits, hash_seed, require_labels, body)
    except library().ArrowException:
        raise BadBody("a column is of a type that cannot be read") from None


def table_to_batch(
    table: Any, limits: Limits, hash_seed: int, require_labels: bool, body: bytes = b""
) -> ExampleBatch:
    """The batch of a checked table, of any number of rows; raises as decode_arrow does.

    body: the stream that the table was read from, if it is at hand.
    """
    columns = [
        (_Column(limits, hash_seed, name), data)
        for name, data in zip(table.column_names, table.columns, strict=True)
        if name not in RESERVED
    ]
    features = _plain_rows(columns, body, table.num_rows, limits)
    if features is None:
        every = np.arange(table.num_rows)
        items = [(column, column.items(_whole(data), every)) for column, data in columns]
        features = _rows(items, table.num_rows, limits)
    fields = _fields(table, limits, hash_seed, require_labels)
    return ExampleBatch(*canonicalise(*features), *fields)


def arrow_names(body: bytes) -> set[str]:
    """Names of the features of a body that was accepted."""
    pa = library()
    return set(pa.ipc.open_stream(body).schema.names) - set(RESERVED)


def library() -> Any:
    """pyarrow; UnsupportedMediaType where it is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ImportError:
        raise UnsupportedMediaType("Arrow bodies need pyarrow: clickfold[arrow]") from None
    return pa


def _read(body: bytes, limits: Limits) -> Any:
    """The table of a stream, checked in full."""
    pa = library()
    if len(body) > limits.decompressed_bytes:
        raise TooLarge(f"a body has at most {limits.decompressed_bytes} bytes")
    try:
        table = pa.ipc.open_stream(pa.py_buffer(body)).read_all()
        table.validate(full=True)  # before anything else looks at it
        if table.nbytes > limits.decompressed_bytes:
            raise TooLarge(f"a body has at most {limits.decompressed_bytes} bytes")
        table = table.unify_dictionaries()
    except (pa.ArrowException, OSError, ValueError, MemoryError):
        raise BadBody("the body is not an Arrow IPC stream") from None
    if table.num_rows == 0:
        raise Place(None, "").wrong("there are no examples")
    if table.num_rows > limits.examples:
        raise TooLarge(f"a request has at most {limits.examples} examples")
    if table.num_columns > limits.features + len(RESERVED):
        raise TooLarge(f"an example has at most {limits.features} features")
    if any(table.column_names.count(name) > 1 for name in RESERVED):
        raise Place(None, "").wrong("label, weight or id is there twice")
    return table


def _whole(column: Any) -> Any:
    """A column of several chunks as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


@lru_cache(maxsize=4096)
def _name_hash(name: str, hash_seed: int) -> int:
    """The columns of one client's bodies have the same names."""
    return name_hash(name, hash_seed)


class _Column:
    """One column that is a feature: how its values become items."""

    def __init__(self, limits: Limits, hash_seed: int, name: str) -> None:
        self.name = name
        self._limits = limits
        if len(name.encode()) > limits.name_bytes:
            raise Place(None, "").wrong(
                f"the name of a feature is longer than {limits.name_bytes} bytes"
            )
        self.name_hash = _name_hash(name, hash_seed)

    def items(self, array: Any, rows: I64) -> _Items:
        """The items of an array whose i-th value belongs to row rows[i]."""
        pa = library()
        kind = array.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            if pa.types.is_nested(kind.value_type):
                raise self._place(None).wrong("a list inside a list is not a value")
            lengths = np.asarray(array.value_lengths().fill_null(0), np.int64)
            return self.items(array.flatten(), np.repeat(rows, lengths))
        if array.null_count:
            present = np.asarray(array.is_valid())
            array, rows = array.drop_null(), rows[present]
        if pa.types.is_null(kind):
            return self._numbers(np.empty(0), rows[:0])
        if pa.types.is_boolean(kind):
            return self._numbers(np.ones(array.true_count), rows[np.asarray(array)])
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return self._numbers(np.asarray(array.cast(pa.float64(), safe=False)), rows)
        return self._categories(array, rows)

    def _place(self, row: int | None) -> Place:
        return Place(row, "").within("features").within(self.name)

    def _numbers(self, numbers: npt.NDArray[np.float64], rows: I64) -> _Items:
        most = self._limits.abs_value
        bad = np.flatnonzero(~(np.abs(numbers) <= most))
        if bad.size:
            raise self._place(int(rows[bad[0]])).wrong(
                f"a number must be finite and at most {most:g} in magnitude"
            )
        values = np.where(np.abs(numbers) < TINY, 0.0, numbers).astype(np.float32)
        return _Items(rows, np.full(rows.size, self.name_hash, np.uint32), values)

    def _categories(self, array: Any, rows: I64) -> _Items:
        pa = library()
        kind = array.type
        if pa.types.is_dictionary(kind) and _is_text(kind.value_type):
            if array.dictionary.null_count:
                return self.items(array.cast(kind.value_type), rows)
            indices = np.asarray(array.indices.cast(pa.int64()))
            hashes, too_long = self._hashes(array.dictionary)
            bad = np.flatnonzero(np.isin(indices, too_long))
            hashes = hashes[indices]
        elif _is_text(kind):
            hashes, bad = self._hashes(array)
        else:
            raise self._place(None).wrong(_TYPE)
        if bad.size:
            detail = f"a value is longer than {self._limits.value_bytes} bytes"
            raise self._place(int(rows[bad[0]])).wrong(detail)
        return _Items(rows, hashes, np.ones(rows.size, np.float32))

    def _hashes(self, texts: Any) -> tuple[npt.NDArray[np.uint32], I64]:
        """Feature hashes of an array of texts, and which are too long."""
        pa = library()
        texts = texts.cast(pa.large_string()).fill_null("")
        if len(texts) == 0:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        _, ends, data = texts.buffers()
        offsets = np.frombuffer(ends, np.int64)[texts.offset :][: len(texts) + 1]
        text = np.frombuffer(data, np.uint8) if data else np.zeros(1, np.uint8)
        most = self._limits.value_bytes
        hashes = hash_texts(frozen(offsets), frozen(text), self.name_hash, most)
        return hashes, np.flatnonzero(np.diff(offsets) > most)


def _is_text(kind: Any) -> bool:
    types = library().types
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _plain_rows(
    columns: list[tuple[_Column, Any]], body: bytes, rows: int, limits: Limits
) -> Features | None:
    """All columns as rows of features if they are texts that can be read in one go."""
    width = len(columns)
    if not 0 < width <= limits.features or width * rows > limits.request_features:
        return None
    names = [column.name_hash for column, _ in columns]
    data = [data for _, data in columns]
    hashes = text_hashes(body, data, library().string(), names, limits.value_bytes)
    if hashes is None:
        return None
    offsets = np.arange(0, rows * width + 1, width)
    every_name = np.tile(np.array(names, np.uint32), rows)
    return offsets, every_name, hashes, np.ones(rows * width, np.float32)


def _rows(columns: list[tuple[_Column, _Items]], rows: int, limits: Limits) -> Features:
    """All columns as rows of features, not yet canonical."""
    counts = np.zeros(rows, np.int64)
    for _, items in columns:
        counts += np.bincount(items.rows, minlength=rows)
    if rows and counts.max() > limits.features:
        row = int(np.argmax(counts > limits.features))
        detail = f"an example has at most {limits.features} features"
        raise Place(row, "/features").too_large(detail)
    total = int(counts.sum())
    if total > limits.request_features:
        raise TooLarge(
            f"a request has at most {limits.request_features} features in all its examples"
        )
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    names, hashes = np.empty(total, np.uint32), np.empty(total, np.uint32)
    values = np.empty(total, np.float32)
    following = offsets.copy()
    for column, items in columns:
        place_items(
            items.rows, column.name_hash, items.hashes, items.values, following,
            names, hashes, values,
        )  # fmt: skip
    return offsets, names, hashes, values


def _fields(
    table: Any, limits: Limits, hash_seed: int, require_labels: bool
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.uint64]]:
    """Labels, weights and event ids."""
    labels = _numeric(table, "label", np.nan) if require_labels else np.empty(0)
    weights = _numeric(table, "weight", 1.0)
    ids = _ids(table)
    settled = settle_fields(labels, weights, ids, hash_seed, limits)
    bad = settled[3]
    if bad == table.num_rows:
        return settled[:3]
    place = Place(bad, "")
    if require_labels and labels[bad] not in (0.0, 1.0):
        raise place.within("label").wrong("label must be the number 0 or 1")
    if not 0 <= weights[bad] <= limits.weight:
        raise place.within("weight").wrong(f"weight must be a number from 0 to {limits.weight:g}")
    raise place.within("id").wrong(
        f"id must be a string of 1 to {limits.id_chars} characters, none of them a control "
        "character, or an integer"
    )


def _numeric(table: Any, name: str, missing: float) -> npt.NDArray[np.float64]:
    """A column of numbers as float64[rows]; `missing` where there is none."""
    pa = library()
    if name not in table.column_names:
        return np.full(table.num_rows, missing)
    array = _whole(table.column(name))
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise Place(None, "").within(name).wrong(f"{name} must be a column of numbers")
    return np.array(array.cast(pa.float64(), safe=False).fill_null(missing))


def _ids(table: Any) -> list[bytes]:
    """The UTF-8 of each row's id, empty where it has none; an empty list without the column."""
    pa = library()
    if "id" not in table.column_names:
        return []
    array = _whole(table.column("id"))
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if not (pa.types.is_integer(array.type) or _is_text(array.type)):
        raise Place(None, "/id").wrong("id must be a column of strings or integers")
    # An empty string is an id that is wrong, and not one that is missing.
    return [b"" if v is None else str(v).encode() or b"\0" for v in array.to_pylist()]
