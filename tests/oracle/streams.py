"""Random streams of examples for the tests of the fold: every generator takes its own seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ftrl_core.batch import ExampleBatch, canonicalise
from ftrl_core.checkpoint import Cut, Manifest
from ftrl_core.entry import RequestPart, encode_examples, request_table
from ftrl_core.loader import Loader
from ftrl_core.model import Model
from ftrl_core.position import Position

Config = Mapping[str, Any]
ONE_RATE: Config = {"optimizer": {"learning_rate": 0.1}}  # a plain learner, numbers as they are


def random_batch(
    rng: np.random.Generator,
    rows: int,
    *,
    features: int = 12,
    numbers: float = 0.2,
    scale: float = 1.0,
    weights: bool = False,
    ids: int = 0,
) -> ExampleBatch:
    """Rows of up to `features` features, Zipf-like, a share of them numbers up to `scale`.

    With `weights` importances vary; `ids` > 0 gives ids from 1 to `ids`, so that they repeat.
    """
    counts = rng.integers(0, features + 1, rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    nnz = int(offsets[-1])
    names = rng.integers(0, 9, nnz).astype(np.uint32) * np.uint32(0x9E3779B1)
    hashes = (rng.zipf(1.3, nnz) % 100_000).astype(np.uint32) * np.uint32(0x85EBCA6B)
    numeric = rng.random(nnz) < numbers
    hashes[numeric] = names[numeric]
    values = np.where(numeric, rng.normal(0.0, scale, nnz), 1.0).astype(np.float32)
    given = rng.choice([0.0, 0.5, 1.0, 3.0], rows) if weights else np.ones(rows)
    return ExampleBatch(
        *canonicalise(offsets, names, hashes, values),
        (rng.random(rows) < 0.3).astype(np.uint8),
        given.astype(np.float32),
        rng.integers(1, ids + 1, rows).astype(np.uint64) if ids else np.zeros(rows, np.uint64),
    )


def payload_of(batch: ExampleBatch, *parts: RequestPart) -> bytes:
    """The entry of a batch: one request without a key unless parts are given."""
    return encode_examples(batch, request_table(parts or [RequestPart(batch.rows)]))


def payloads(seed: int, entries: int, rows: int = 40, **options: Any) -> Iterator[bytes]:
    """Entries of one random stream."""
    rng = np.random.default_rng(seed)
    for _ in range(entries):
        yield payload_of(random_batch(rng, rows, **options))


def folded(config: Config | None, entries: Iterator[bytes] | list[bytes]) -> Model:
    """A model that has folded the payloads, one second apart."""
    model = Model(config)
    for seq, payload in enumerate(entries, 1):
        model.apply(Position(1, seq), payload, 1000 * seq)
    return model


def load(manifest: Manifest, cuts: Mapping[str, Cut]) -> Model:
    """The model of a manifest whose generations are these cuts."""
    loader = Loader(Manifest.decode(manifest.encode()))
    for generation, index in loader.missing_pages():
        loader.put_page(index, bytes(cuts[generation].pages[index]))
    for generation, index in loader.missing_segments():
        loader.put_segment(index, cuts[generation].segments[index])
    return loader.finish()
