"""Ids, names and rows that would share a place in every table, if places could be known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from ftrl_core import placement
from ftrl_core.batch import ExampleBatch
from ftrl_core.deduplication import Deduplication
from ftrl_core.entry import RequestPart, encode_examples, request_table
from ftrl_core.names import FieldNames
from ftrl_core.placement import SECRET_BYTES, current_secret, home, keep_apart

MASK = 2**64 - 1


@pytest.fixture(autouse=True)
def _known_again() -> Iterator[None]:
    known = placement._secret
    yield
    placement._secret = known


def crowd(size: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Keys that share place 0 of a table of this size under the secret of now: `home` backwards."""
    first, second, third = (int(number) for number in current_secret())
    keys = []
    for number in range(1, count + 1):
        x = (number * size << 32 | number) * pow(third, -1, 2**64) & MASK
        x ^= x >> 32
        keys.append((x * pow(second, -1, 2**64) & MASK) ^ first)
    return np.array(keys, np.uint64)


def longest_run(places: list[int]) -> int:
    return int(np.bincount(places).max())


def test_the_crowd_is_one_under_the_secret_that_it_was_made_for() -> None:
    size, keys = 1 << 12, crowd(1 << 12, 400)
    assert {int(home(key, size, current_secret())) for key in keys} == {0}


def test_another_secret_spreads_it(seed: int) -> None:
    size, keys = 1 << 12, crowd(1 << 12, 400)
    keep_apart(np.random.default_rng(seed).bytes(SECRET_BYTES))
    assert longest_run([int(home(key, size, current_secret())) for key in keys]) < 20


def test_verdicts_names_and_entries_do_not_depend_on_the_secret(seed: int) -> None:
    random = np.random.default_rng(seed)
    ids = random.integers(1, 60, 400).astype(np.uint64)
    rows = [{"label": 1, "features": {f"n{i % 7}": "x", f"m{i % 5}": 2.5}} for i in range(40)]
    batch = ExampleBatch.from_examples(rows)
    told = []
    for secret in (random.bytes(SECRET_BYTES), random.bytes(SECRET_BYTES)):
        keep_apart(secret)
        window, names = Deduplication(32), FieldNames(0)
        verdicts = [
            window.judge(request_table([RequestPart(20)]), ids[at : at + 20], 0, at + 1).tolist()
            for at in range(0, 400, 20)
        ]
        names.add(["a", "b", "a"])
        payload = encode_examples(batch, request_table([RequestPart(batch.rows)]))
        told.append((verdicts, window.segment(0), names.in_order(), payload))
    assert told[0] == told[1]


def probes(window: Deduplication) -> int:
    """The most places that a look-up of a remembered id has to walk over."""
    index, size = window._index, window._index.size
    begun = [int(home(window._ids[slot - 1], size, window._secret)) for slot in index if slot]
    found = np.flatnonzero(index)
    return int(((found - np.array(begun)) % size).max())


def test_ids_that_were_made_to_crowd_take_no_longer(seed: int) -> None:
    keys = crowd(1 << 13, 2000)
    for secret in (None, np.random.default_rng(seed).bytes(SECRET_BYTES)):
        if secret is not None:
            keep_apart(secret)
        window = Deduplication(1 << 12)
        window.judge(request_table([RequestPart(keys.size)]), keys, 0, 1)
        assert (probes(window) > 1000) == (secret is None)
