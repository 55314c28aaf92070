"""A JSON body read the slow and obvious way, and a way to compare it with the fast one.

The wrapper is read by the standard library, each example by `ftrl_core.features`: no msgspec and no
kernel but the one that puts a row in canonical order.
"""

from __future__ import annotations

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
