"""Explanations in a reply: the coordinates of `ftrl_core.explanation` under the names of the body.

The batch has hashes alone, so the body is read again, by plain decoding, and hashed one feature at
a time by the rule book (`ftrl_core.features`). What cannot be found again, as in a body without
names, is told by its slot alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.ingest.decoding import Decoded
from app.ingest.field_names import documents_of
from ftrl_core.batch import ExampleBatch
from ftrl_core.config import ModelConfig
from ftrl_core.explanation import Coordinate, Explanation
from ftrl_core.features import Place, Reader
from ftrl_core.limits import Limits

Hashes = tuple[int, int]
NOWHERE = Place(None, "")
CLAMPED_MIN = 1e-6  # of a logit; below it is the rounding of float32


def explanations_document(
    explanations: list[Explanation], decoded: Decoded, config: ModelConfig
) -> list[dict[str, Any]]:
    """The reply's `explanations`: for each example logit, bias and contributions, whose sum with
    the bias is the logit; the last item of a mixture is `mixture`, of a clamped logit `clamp`."""
    batch, reader = decoded.batch, Reader(config.hash_seed, False, Limits())
    labels: list[dict[Hashes, dict[str, Any]]] = [
        dict(_labels(features, reader)) for features in _feature_objects(decoded)
    ]
    if len(labels) != batch.rows:
        labels = [{}] * batch.rows
    lanes = config.lanes
    return [
        {
            "logit": one.logit,
            "bias": one.bias,
            "contributions": [
                *(_item(found, batch, labels[row], lanes) for found in one.coordinates),
                *_rest(one, lanes),
            ],
        }
        for row, one in enumerate(explanations)
    ]


def _item(
    one: Coordinate, batch: ExampleBatch, labels: dict[Hashes, dict[str, Any]], lanes: int
) -> dict[str, Any]:
    hashes = int(batch.name_hashes[one.feature]), int(batch.feature_hashes[one.feature])
    item = {"name": None, **labels.get(hashes, {})}
    if hashes[0] == hashes[1]:
        item["value"] = float(batch.values[one.feature])
    if one.view:
        item["view"] = one.view
    figures: dict[str, list[Any]] = {
        "x": one.x,
        "weight": one.weight,
        "n": one.n,
        "learning_rate": one.learning_rate,
        "held_at_zero": one.held_at_zero,
    }
    by_lane = {key: list_ if lanes > 1 else list_[0] for key, list_ in figures.items()}
    return {**item, "slot": one.slot, **by_lane, "contribution": one.contribution}


def _rest(one: Explanation, lanes: int) -> list[dict[str, Any]]:
    if lanes > 1:
        return [{"name": "mixture", "contribution": one.rest}]
    return [{"name": "clamp", "contribution": one.rest}] if abs(one.rest) > CLAMPED_MIN else []


def _labels(features: dict[str, Any], reader: Reader) -> Iterator[tuple[Hashes, dict[str, Any]]]:
    for name, value in features.items():
        for item in value if isinstance(value, list) else [value]:
            triples = reader.features({name: item}, NOWHERE)
            for hashes in zip(triples.names, triples.hashes, strict=True):
                yield hashes, {"name": name, "value": item}


def _feature_objects(decoded: Decoded) -> Iterator[dict[str, Any]]:
    """Of each example of the body, what it and the whole request say of it."""
    for document in documents_of(decoded.body, decoded.kind):
        shared = document.get("shared") or {}
        for example in document.get("examples", [document]):
            yield _both(shared, example["features"])


def _both(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A name of both has the values of both."""
    joined = dict(shared)
    for name, value in own.items():
        values = [
            item
            for given in ([joined[name]] if name in joined else []) + [value]
            for item in (given if isinstance(given, list) else [given])
        ]
        joined[name] = values
    return joined
