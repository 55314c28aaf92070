"""A JSON body read the slow and obvious way, and a way to compare it with the fast one.

The wrapper is read by the standard library, each example by `ftrl_core.features`: no msgspec and no
kernel but the one that puts a row in canonical order.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from app.ingest import (
    decode_json,
)
from app.ingest.slow_json import parse_json
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, BadExample, TooLarge
from ftrl_core.features import ObjectPairs, Place, Reader, Triples, placed_to_batch
from ftrl_core.limits import Limits

SEED = 99
LIMITS = Limits()
Outcome = tuple[object, ...]


def slow_json(
    body: bytes, limits: Limits = LIMITS, seed: int = SEED, require_labels: bool = True
) -> ExampleBatch:
    """The wrapper read by the standard library, each example by the slow path: the oracle."""
    check_pairs(body)
    whole = parse_json(body)
    assert isinstance(whole, ObjectPairs)
    members = dict(whole.items())
    reader = Reader(seed, require_labels, limits)
    if "examples" not in members:
        return placed_to_batch([(Place(0, ""), whole)], reader, Triples())
    shared = Triples()
    if "shared" in members:
        shared = reader.features(members["shared"], Place(None, "/shared"))
    examples = members["examples"]
    assert isinstance(examples, list)
    placed = [(Place(row, f"/examples/{row}"), example) for row, example in enumerate(examples)]
    return placed_to_batch(placed, reader, shared)


def outcome(decode: Callable[..., ExampleBatch], body: bytes, *arguments: object) -> Outcome:
    """The whole batch as comparable bytes, or the whole error."""
    try:
        batch = decode(body, *arguments)
    except BadBody:
        return (BadBody,)
    except (BadExample, TooLarge) as error:
        return type(error), error.detail, error.row, error.pointer
    return tuple(
        (array.dtype, array.tobytes())
        for array in (
            batch.row_offsets,
            batch.name_hashes,
            batch.feature_hashes,
            batch.values,
            batch.labels,
            batch.weights,
            batch.event_ids,
        )
    )


GOOD = b'{"label":1,"features":{"a":"b"}}'


def assert_same(body: bytes, require_labels: bool = True) -> Outcome:
    """Fast and slow agree; returns what on."""
    fast = outcome(decode_json, body, LIMITS, SEED, require_labels)
    assert fast == outcome(slow_json, body, LIMITS, SEED, require_labels)
    return fast


_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def check_pairs(body: bytes) -> None:
    """BadBody for half a surrogate pair, also where nobody looks (a label to be ignored): the
    standard library reads it."""
    high_ends = -1  # where the escape of a first half ends
    for escape in _ESCAPE.finditer(body):
        unit = int(escape[1], 16) if escape[1] else 0
        is_second = 0xDC00 <= unit < 0xE000
        if is_second != (high_ends == escape.start()):
            raise BadBody("half a surrogate pair")
        high_ends = escape.end() if 0xD800 <= unit < 0xDC00 else -1
        if high_ends >= 0 and not body.startswith(b"\\u", high_ends):
            raise BadBody("half a surrogate pair")


def says_nothing_of(body: bytes) -> bool:
    """Whether the slow reading has no verdict: of a key that comes twice it looks at the last,
    where each must be right, and of the wrapper at what it knows."""
    try:
        whole = parse_json(body)
    except BadBody:
        return False
    if not isinstance(whole, ObjectPairs):
        return False
    members = dict(whole.items())
    objects: list[object] = [whole]
    if "examples" in members:
        if not members.keys() <= {"examples", "shared"}:
            return True
        objects += [item for _, value in whole.items() if type(value) is list for item in value]
    names = ([name for name, _ in one.items()] for one in objects if isinstance(one, ObjectPairs))
    return any(len(set(many)) < len(many) for many in names)


def slow_ndjson(
    body: bytes, limits: Limits = LIMITS, seed: int = SEED, require_labels: bool = True
) -> ExampleBatch:
    """The lines of a body, each read by the standard library and the slow path."""
    check_pairs(body)
    reader = Reader(seed, require_labels, limits)
    placed = [
        (Place(row, ""), parse_json(line))
        for row, line in enumerate(body.split(b"\n"))
        if line and not line.isspace()
    ]
    return placed_to_batch(placed, reader, Triples())
