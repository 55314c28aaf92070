"""A second reader of log entries, from the drawing in ftrl_core/entry.py alone.

It goes through the bytes once with `struct`, example by example, and keeps nothing of the decoder
that it checks: other control flow, other types. Damage is a ValueError.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import xxhash

HEADER = struct.Struct("<4sHBBIIIIIIII")
REQUEST = struct.Struct("<QQIHH")


class Row(NamedTuple):
    """One example: (name hash, feature hash, value) in the order of the entry."""

    features: list[tuple[int, int, float]]
    label: int
    weight: float
    event_id: int


class Request(NamedTuple):
    """One request's share of an entry."""

    key: int
    body: int
    rows: int
    key_number: int
    continues: bool


@dataclass
class Examples:
    """A decoded entry of examples."""

    rows: list[Row]
    requests: list[Request]


@dataclass
class Control:
    """A decoded control entry."""

    op: str
    fields: dict[str, Any]


class _Cursor:
    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, letter: str, count: int) -> tuple[Any, ...]:
        layout = struct.Struct(f"<{count}{letter}")
        found = layout.unpack_from(self._content, self._at)
        self._at += layout.size
        return found

    def requests(self, count: int) -> list[Request]:
        found = []
        for _ in range(count):
            key, body, rows, number, flags = REQUEST.unpack_from(self._content, self._at)
            found.append(Request(key, body, rows, number, bool(flags & 1)))
            self._at += REQUEST.size
        return found

    def end(self) -> None:
        if self._at != len(self._content):
            raise ValueError("there are bytes after the last section")


def read(payload: bytes) -> Examples | Control:
    """The entry that a payload holds."""
    magic, version, kind, flags, size, *counts, zero = HEADER.unpack_from(payload)
    if (magic, version, zero, size) != (b"CFE1", 1, 0, len(payload)):
        raise ValueError("not the header of an entry")
    if xxhash.xxh64_intdigest(payload[:-8]) != int.from_bytes(payload[-8:], "little"):
        raise ValueError("damaged")
    body = payload[HEADER.size : -8]
    if kind == 2:
        document = json.loads(body)
        return Control(document.pop("op"), document)
    return _read_examples(_Cursor(body), flags, counts)


def _read_examples(cursor: _Cursor, flags: int, counts: list[int]) -> Examples:
    r, q, s, f, h, v = counts
    requests = cursor.requests(q)
    event_ids = cursor.take("Q", r) if flags & 2 else (0,) * r
    hashes = iter(cursor.take("I", h))
    numbers = iter(cursor.take("f", v))
    weights = cursor.take("f", r) if flags & 1 else (1.0,) * r
    sizes, names = cursor.take("I", s), cursor.take("I", f)
    row_schema, kinds = cursor.take("H", r), cursor.take("B", f)
    labels = cursor.take("B", r)
    cursor.end()
    starts = [sum(sizes[:i]) for i in range(s)]
    rows = []
    for i in range(r):
        start = starts[row_schema[i]]
        features = []
        for j in range(start, start + sizes[row_schema[i]]):
            hashed = names[j] if kinds[j] == 1 else next(hashes)
            value = 1.0 if kinds[j] == 0 else next(numbers)
            features.append((names[j], hashed, value))
        rows.append(Row(features, labels[i], weights[i], event_ids[i]))
    if next(hashes, None) is not None or next(numbers, None) is not None:
        raise ValueError("more hashes or numbers than the rows need")
    return Examples(rows, requests)
