"""Group commit: how requests become entries, and entries verdicts again. No Redis, no waiting."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from app.errors import IdempotencyConflict
from app.group import GROUP_FEATURES_MAX, LearnRequest, plan, resolve, take_group
from ftrl_core.entry import FEATURES_MAX, ExamplesEntry, decode
from ftrl_core.model import Applied, Model
from ftrl_core.position import Position
from tests.recovery.harness import SMALL, batch_of


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(29)


def _request(random: np.random.Generator, rows: int, key: int = 0, body: int = 0) -> LearnRequest:
    return LearnRequest(batch_of(random, rows), 0, 4, key, body, covered=bool(key))


async def test_a_group_ends_where_the_next_request_would_make_it_too_large(
    random: np.random.Generator,
) -> None:
    half = GROUP_FEATURES_MAX // 12
    queue = [_request(random, rows) for rows in (half, half, 1, 3 * half, 1)]
    groups = [take_group(queue) for _ in range(3)]
    assert [[r.batch.rows for r in group] for group in groups] == [[half, half], [1], [3 * half]]
    assert len(queue) == 1


async def test_entries_hold_every_row_in_order_and_name_a_key_once(
    random: np.random.Generator,
) -> None:
    rows = FEATURES_MAX // 6
    group = [_request(random, rows - 1), _request(random, 2 * rows, 77, 5), _request(random, 3)]
    entries = [decode(payload) for payload, _ in plan(group)]
    nonces = {nonce for _, nonce in plan(group)}
    assert len(nonces) == len(entries) == 4
    parts = []
    for entry in entries:
        assert isinstance(entry, ExamplesEntry)
        assert entry.batch.nnz <= FEATURES_MAX
        parts += [tuple(part) for part in entry.requests.tolist()]
    keys_rows_continues = [(key, body, size, flags) for key, body, size, _, flags in parts]
    assert sum(part[2] for part in keys_rows_continues) == 3 * rows + 2
    of_the_second = [part for part in keys_rows_continues if part[0] == 77]
    assert [part[3] for part in of_the_second] == [0] + [1] * (len(of_the_second) - 1)
    hashes = np.concatenate(
        [e.batch.feature_hashes for e in entries if isinstance(e, ExamplesEntry)]
    )
    wanted = np.concatenate([request.batch.feature_hashes for request in group])
    assert np.array_equal(hashes, wanted)


def _fold(model: Model, group: list[LearnRequest]) -> list[tuple[Position, Applied]]:
    folded = []
    for payload, _ in plan(group):
        position = Position(1, model.position.seq + 1)
        applied = model.apply(position, payload)
        assert applied is not None
        folded.append((position, applied))
    return folded


async def test_each_request_gets_the_verdict_and_position_of_its_own_last_row(
    random: np.random.Generator,
) -> None:
    model, rows = Model(SMALL), FEATURES_MAX // 6
    first = [_request(random, 2, key=9, body=1)]
    resolve(first, _fold(model, first))
    group = [_request(random, 5), _request(random, 2 * rows, 8, 1), _request(random, 1, 9, 1)]
    group.append(_request(random, 4, 9, 2))
    group[0].done.cancel()
    resolve(group, _fold(model, group))
    whole, duplicate = group[1].done.result(), group[2].done.result()
    assert (whole.accepted, whole.position) == (2 * rows, Position(1, 4))
    assert (duplicate.accepted, duplicate.duplicates) == (0, 1)
    with pytest.raises(IdempotencyConflict):
        group[3].done.result()


async def test_how_requests_are_grouped_changes_no_bit(random: np.random.Generator) -> None:
    requests = [_request(random, int(rows)) for rows in random.integers(1, 8000, 12)]
    one, each = Model(SMALL), Model(SMALL)
    _fold(one, requests)
    for request in requests:
        _fold(each, [request])
    assert one.digest() == each.digest()
    assert one.metrics.summary() == each.metrics.summary()
    await asyncio.sleep(0)
