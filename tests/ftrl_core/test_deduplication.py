"""The window of ids against a deque and a dict, with every operation drawn by Hypothesis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftrl_core.deduplication import (
    CONFLICT,
    DUPLICATE,
    ID_BYTES,
    LEARN,
    SEGMENT_IDS,
    Deduplication,
)
from ftrl_core.entry import RequestPart, request_table
from ftrl_core.placement import current_secret
from tests.oracle.window import PlainWindow

Ids = Sequence[int]
Request = tuple[RequestPart, list[int]]  # the event ids of its rows


def judge(window: Deduplication, requests: Sequence[Request], second: int = 0, seq: int = 1) -> Ids:
    ids = np.array([i for _, events in requests for i in events], np.uint64)
    table = request_table([part for part, _ in requests])
    verdicts: list[int] = window.judge(table, ids, 1000 * second + 999, seq).tolist()
    return verdicts


def plain(window: PlainWindow, requests: Sequence[Request]) -> Ids:
    parts = [(p.idempotency_key, p.body_hash, p.rows, p.continues) for p, _ in requests]
    return window.judge(parts, [i for _, events in requests for i in events])


def request(key: int = 0, body: int = 0, ids: Ids = (), continues: bool = False) -> Request:
    return RequestPart(len(ids), 0, key, body, continues), list(ids)


identities = st.one_of(st.integers(0, 6), st.integers(2**64 - 4, 2**64 - 1))
one_request = st.builds(
    request, identities, st.integers(0, 2), st.lists(identities, max_size=6), st.booleans()
)
one_entry = st.lists(one_request, max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 9), st.lists(one_entry, max_size=12), st.integers(0, 12))
def test_against_a_plain_window(size: int, entries: list[list[Request]], reload_at: int) -> None:
    """Tiny windows overflow all the time; at one point the window is stored and loaded."""
    window, model = Deduplication(size), PlainWindow(size)
    for i, entry in enumerate(entries):
        if i == reload_at:
            window = reloaded(window)
        assert judge(window, entry) == plain(model, entry)
        assert window.used == len(model)
        assert window.carried == model.carried


@pytest.mark.parametrize("size", [1, 2, 3, 100, 8192, 8193, 20_000])
def test_long_random_streams(size: int, seed: int) -> None:
    rng = np.random.default_rng([seed, size])
    window, model = Deduplication(size), PlainWindow(size)
    for seq in range(1, 40):
        spread = int(rng.choice([size // 2 + 1, 2 * size, 8 * size + 100]))
        requests = []
        for _ in range(int(rng.integers(1, 6))):
            ids = rng.integers(0, spread, int(rng.integers(0, 400))).tolist()
            key, body = int(rng.integers(0, 30)), int(rng.integers(0, 2))
            requests.append(request(key, body, ids, bool(rng.random() < 0.2)))
        assert judge(window, requests, seq=seq) == plain(model, requests)
    assert window.used == len(model)


def reloaded(window: Deduplication, seq: int = 3) -> Deduplication:
    """The window stored as segments and loaded again."""
    segments = [window.segment(k) for k in range(window.segment_seqs.size)]
    copy = Deduplication(window.window)
    copy.load(window.count, window.carried, segments, seq)
    again = [copy.segment(k) for k in range(copy.segment_seqs.size)]
    assert again == segments
    return copy


@pytest.mark.parametrize("size", [0, 1, 100, SEGMENT_IDS, SEGMENT_IDS + 1, 3 * SEGMENT_IDS])
@pytest.mark.parametrize("fill", [0.0, 0.5, 1.0, 1.7])
def test_storing_and_loading(size: int, fill: float) -> None:
    window = Deduplication(size)
    count = int(size * fill)
    judge(window, [request(ids=range(1, count + 1))])
    copy = reloaded(window)
    assert copy.used == min(count, size)
    remembered = list(range(max(1, count - size + 1), count + 1)) if size else []
    assert judge(copy, [request(ids=remembered)]) == [DUPLICATE] * len(remembered)
    touched = -(-min(count, size) // SEGMENT_IDS)
    assert np.count_nonzero(reloaded(window).segment_seqs == 3) == touched


@pytest.mark.parametrize("change", [-1, 1, ID_BYTES])
def test_a_segment_of_another_size_is_refused(change: int) -> None:
    window = Deduplication(10)
    judge(window, [request(ids=[1, 2, 3])])
    content = window.segment(0)
    content = content[:change] if change < 0 else content + b"\0" * change
    with pytest.raises(ValueError, match="size"):
        Deduplication(10).load(3, 0, [content], 1)


def test_segments_changed_are_marked() -> None:
    window = Deduplication(2 * SEGMENT_IDS)
    judge(window, [request(ids=[1])], seq=4)
    assert window.segment_seqs.tolist() == [4, 0]
    judge(window, [request(ids=range(10, 10 + SEGMENT_IDS))], seq=5)
    assert window.segment_seqs.tolist() == [5, 5]
    judge(window, [request(ids=[1])], seq=6)  # a duplicate changes nothing
    assert window.segment_seqs.tolist() == [5, 5]


def test_keys() -> None:
    window = Deduplication(100)
    assert judge(window, [request(5, 1, [0, 0])]) == [LEARN, LEARN]
    assert judge(window, [request(5, 1, [0, 0])]) == [DUPLICATE, DUPLICATE]
    assert judge(window, [request(5, 2, [0, 0])]) == [CONFLICT, CONFLICT]
    assert window.used == 1, "a key costs one id however many rows it has"
    # the same number as an event id is another thing
    assert judge(window, [request(ids=[5])]) == [LEARN]


def test_a_conflict_remembers_no_event_id() -> None:
    window = Deduplication(100)
    judge(window, [request(5, 1, [0])])
    assert judge(window, [request(5, 2, [77]), request(ids=[77])]) == [CONFLICT, LEARN]


def test_a_key_and_ids_together() -> None:
    window = Deduplication(100)
    judge(window, [request(ids=[7])])
    assert judge(window, [request(5, 1, [7, 8, 8])]) == [DUPLICATE, LEARN, DUPLICATE]


@pytest.mark.parametrize(("body", "verdict"), [(1, DUPLICATE), (2, CONFLICT)])
def test_a_verdict_is_carried_over_entries_and_reloads(body: int, verdict: int) -> None:
    window = Deduplication(100)
    judge(window, [request(5, 1, [0])])
    judge(window, [request(9, 9, [0]), request(5, body, [0])])
    window = reloaded(window)
    assert judge(window, [request(ids=[1, 0], continues=True)]) == [verdict, verdict]
    assert judge(window, [request(ids=[0], continues=True), request(ids=[1])]) == [verdict, LEARN]


def test_an_empty_request_carries_its_verdict() -> None:
    window = Deduplication(4)
    assert judge(window, [request(5, 1, [])]) == []
    assert judge(window, [request(5, 1, [])]) == []
    assert judge(window, [request(ids=[0], continues=True)]) == [DUPLICATE]


def test_age() -> None:
    window = Deduplication(3)
    assert window.oldest_second() is None
    for second, identity in enumerate([11, 12, 13, 14, 15], 100):
        judge(window, [request(ids=[identity])], second=second)
        assert window.oldest_second() == max(100, second - 2)
    assert reloaded(window).oldest_second() == 102


def test_ids_that_share_one_place_of_the_index() -> None:
    """Deletion shifts a run back: build long runs on purpose and take them apart."""
    window, model = Deduplication(8), PlainWindow(8)
    index_size = 16
    crowd = [i for i in range(1, 4000) if _home(i, index_size) in (14, 15, 0)][:40]
    assert len(crowd) == 40
    rng = np.random.default_rng(3)
    for identity in rng.choice(crowd, 2_000).tolist():
        entry = [request(ids=[identity])]
        assert judge(window, entry) == plain(model, entry)


def _home(identity: int, size: int) -> int:
    first, second, third = (int(number) for number in current_secret())
    mixed = (identity ^ first) * second % 2**64
    mixed = (mixed ^ (mixed >> 32)) * third % 2**64
    return (mixed >> 32) % size
