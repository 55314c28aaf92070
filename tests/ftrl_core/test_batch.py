"""Canonical form: sorted, merged, and the same bits from every permutation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ftrl_core.batch import NO_LABEL, ExampleBatch, canonicalise
from tests.oracle.float64 import Hasher
from tests.oracle.streams import random_batch

Row = list[tuple[int, int, float]]


def canonical_rows(rows: list[Row]) -> list[Row]:
    """What `canonicalise` makes of rows."""
    flat = [feature for row in rows for feature in row]
    offsets = np.cumsum([0] + [len(row) for row in rows]).astype(np.int64)
    names, hashes, values = (np.array([f[i] for f in flat]) for i in range(3))
    out = canonicalise(
        offsets, names.astype(np.uint32), hashes.astype(np.uint32), values.astype(np.float32)
    )
    found = list(zip(*(array.tolist() for array in out[1:]), strict=True))
    return [found[a:b] for a, b in zip(out[0][:-1], out[0][1:], strict=True)]


def plain(row: Row) -> Row:
    """The same in plain Python."""
    groups: dict[tuple[int, int], list[float]] = {}
    for name, hashed, value in row:
        groups.setdefault((name, hashed), []).append(float(np.float32(value)))
    merged = []
    for key, values in sorted(groups.items()):
        total = 0.0
        for value in sorted(values):
            total += value
        merged.append((*key, float(np.float32(total))))
    return merged


def random_rows(rng: np.random.Generator, rows: int, longest: int) -> list[Row]:
    made: list[Row] = []
    for _ in range(rows):
        size = int(rng.integers(0, longest + 1))
        names = rng.choice([1, 2, 3, 0xFFFFFFFF, 0x80000000], size)
        hashes = rng.integers(0, 1 + longest // 2, size)
        values = rng.choice([1.0, 0.1, -0.1, 1e7, -1e7, 3e-30], size)
        features = zip(names.tolist(), hashes.tolist(), values.tolist(), strict=True)
        made.append(sorted(features) if rng.random() < 0.3 else list(features))
    return made


@pytest.mark.parametrize("longest", [3, 20, 64, 65, 300])
def test_against_plain_python(longest: int, seed: int) -> None:
    rows = random_rows(np.random.default_rng([seed, longest]), 60, longest)
    assert canonical_rows(rows) == [plain(row) for row in rows]


@pytest.mark.parametrize("size", [5, 64, 200])
def test_permutations_give_the_same_bits(size: int, seed: int) -> None:
    """Values that cancel: in another order of summing even the float32 of the sum differs."""
    rng = np.random.default_rng([seed, size])
    values = rng.choice([1e7, -1e7, 1.1e-9, 2.3e-9, 0.7], size).tolist()
    row: Row = [(7, int(h), v) for h, v in zip(rng.integers(0, 2, size), values, strict=True)]
    expected = canonical_rows([row])[0]
    for _ in range(30):
        shuffled = [row[i] for i in rng.permutation(size)]
        assert canonical_rows([row, shuffled, shuffled])[1:] == [expected, expected]


def test_a_remembered_order_is_only_a_guess() -> None:
    """Rows of one length after another, of which the first row's permutation fits some."""
    a, b, c = (3, 1, 1.0), (1, 2, 1.0), (2, 9, 1.0)
    rows = [[a, b, c], [a, b, c], [b, c, a], [c, b, a], [a, a, b], [a, b, c], [], [a]]
    assert canonical_rows(rows) == [plain(row) for row in rows]


def test_inputs_are_not_changed() -> None:
    names = np.array([5, 3, 5], np.uint32)
    hashes = np.array([1, 1, 1], np.uint32)
    values = np.array([1, 2, 3], np.float32)
    offsets = np.array([0, 3], np.int64)
    given: list[np.ndarray[Any, Any]] = [offsets, names, hashes, values]
    before = [array.tobytes() for array in given]
    canonicalise(offsets, names, hashes, values)
    assert [array.tobytes() for array in given] == before


def same(a: ExampleBatch, b: ExampleBatch) -> bool:
    fields = ExampleBatch.__dataclass_fields__
    return all(getattr(a, f).tobytes() == getattr(b, f).tobytes() for f in fields)


def test_slices_and_concatenation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch = random_batch(rng, 50, weights=True, ids=9)
    for cut in (0, 1, 25, 50):
        parts = [batch.slice(0, cut), batch.slice(cut, 50)]
        assert [part.rows for part in parts] == [cut, 50 - cut]
        assert parts[0].nnz + parts[1].nnz == batch.nnz
        assert all(part.row_offsets[0] == 0 for part in parts)
        assert same(ExampleBatch.concatenate(parts), batch)
    assert same(ExampleBatch.concatenate([batch]), batch)
    threes = [batch.slice(i, i + 5) for i in range(0, 50, 5)]
    assert same(ExampleBatch.concatenate(threes), batch)


def test_from_examples() -> None:
    features = {"ad": "a9", "price": 3.5, "tags": ["x", "y", "x"], "is_new": True, "no": None}
    batch = ExampleBatch.from_examples(
        [{"label": 1, "weight": 2.0, "id": "e", "features": features}, {"label": 0, "features": {}}]
    )
    rows = list(
        zip(batch.name_hashes.tolist(), batch.feature_hashes.tolist(), batch.values.tolist(),
            strict=True)
    )  # fmt: skip
    assert rows == Hasher().features(features)
    assert batch.row_offsets.tolist() == [0, 5, 5]
    assert batch.labels.tolist() == [1, 0]
    assert batch.weights.tolist() == [2.0, 1.0]
    assert batch.event_ids[0] != 0
    assert batch.event_ids[1] == 0


def test_from_examples_to_predict() -> None:
    batch = ExampleBatch.from_examples([{"features": {"a": "b"}}], require_labels=False)
    assert batch.labels.tolist() == [NO_LABEL]


def test_no_examples() -> None:
    batch = ExampleBatch.from_examples([])
    assert (batch.rows, batch.nnz) == (0, 0)


def test_merging_never_leaves_a_negative_zero_or_a_denormal() -> None:
    row: Row = [(1, 1, 3e-30), (1, 1, -3e-30), (1, 2, 1e7), (1, 2, -1e7)]
    values = [value for _, _, value in canonical_rows([row])[0]]
    assert values == [0.0, 0.0]
    assert all(math.copysign(1, value) == 1 for value in values)
