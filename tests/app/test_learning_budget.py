"""Who wrote what, and who may write how much: counted from the log, against a plain count."""

from __future__ import annotations

import random
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import authors as module
from app.authors import Authors
from app.errors import Throttled
from app.key_lines import Key, line_of, number_of, read_lines
from app.learning_budget import Bucket, LearningBudgets
from ftrl_core.deduplication import CONFLICT, DUPLICATE, LEARN
from ftrl_core.entry import RequestPart, request_table
from ftrl_core.model import Applied
from tests.app.direct_client import Client, request
from tests.app.http_service import running

LINE = b'{"label":1,"features":{"ad":"a9"}}\n'


def folded(*parts: tuple[int, list[int]], continues: bool = False) -> Applied:
    """An entry of requests, each a key's number and the verdicts of its rows."""
    table = request_table(
        [RequestPart(len(verdicts), number, continues=continues) for number, verdicts in parts]
    )
    verdicts = np.array([one for _, verdicts in parts for one in verdicts], np.uint8)
    return Applied(np.empty(verdicts.size), verdicts, table)


def test_counts_against_a_plain_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW_EXAMPLES", 1000)
    monkeypatch.setattr(module, "BLOCKS", 10)
    rng = random.Random(7)
    authors = Authors()
    examples, duplicates, requests = Counter[int](), Counter[int](), Counter[int]()
    latest: deque[int] = deque(maxlen=1000)
    for _ in range(400):
        parts = []
        for _ in range(rng.choice([1, 1, 3, 20])):
            number = rng.choice([0, 0, 7, 8, 65535])
            verdicts = rng.choices([LEARN, DUPLICATE, CONFLICT], [8, 2, 1], k=rng.randint(1, 9))
            parts.append((number, verdicts))
            requests[number] += 1
            examples[number] += verdicts.count(LEARN)
            duplicates[number] += verdicts.count(DUPLICATE)
            latest.extend([number] * verdicts.count(LEARN))
        authors.count(folded(*parts))
    assert +authors.examples == +examples
    assert +authors.duplicates == +duplicates
    assert authors.requests == requests
    for number in examples:
        own, whole = authors.latest(number)
        assert 900 <= whole <= 1200  # whole blocks; an entry is never divided
        assert abs(own / whole - latest.count(number) / len(latest)) < 0.06


def test_the_rest_of_a_request_is_no_request() -> None:
    authors = Authors()
    authors.count(folded((7, [LEARN])))
    authors.count(folded((7, [LEARN]), continues=True))
    authors.count(folded((7, [LEARN]), (8, [LEARN]), continues=True))
    assert (authors.requests[7], authors.examples[7]) == (1, 3)


def test_names_are_few() -> None:
    authors = Authors()
    for number in range(1000):
        authors.count(folded((number, [LEARN])))
    names = {7: "web", 8: "trainer"}
    assert authors.examples_by_name(names) == {"none": 1, "web": 1, "trainer": 1, "other": 997}
    assert len(authors.to_dict(names)["keys"]) == 100


def test_a_bucket_against_the_clock() -> None:
    now = 0.0
    bucket = Bucket(100, lambda: now)
    passed = 0
    waits = []
    for tick in range(10_000):  # 100 s, asked for 30 examples every 10 ms
        now = tick / 100
        try:
            bucket.check()
        except Throttled as error:
            waits.append(error.retry_after)
        else:
            bucket.spend(30)
            passed += 30
    assert 10_000 <= passed <= 10_000 + 200 + 30
    assert 0 < max(waits) <= 0.3
    bucket.spend(100_000)  # one large request: allowed, and then waited for
    now += 500
    with pytest.raises(Throttled):
        bucket.check()
    now += 600
    bucket.check()


def key_of(*options: str) -> Key:
    """A key that learns."""
    (key,) = read_lines([("1", line_of("t", ["learn"], "*", "k", options))])
    return key


def test_a_share_binds_only_beside_others() -> None:
    budgets, authors = LearningBudgets(share=0.5), Authors()
    greedy, number = key_of(), number_of("t")
    for _ in range(50):
        budgets.spend(greedy, 100, authors)
        authors.count(folded((number, [LEARN] * 100)))
    authors.count(folded((5, [LEARN])))
    with pytest.raises(Throttled, match=r"0\.5"):
        budgets.spend(greedy, 1, authors)
    budgets.spend(key_of("share=1"), 1, authors)  # its own line goes before the setting
    authors.count(folded(*[(5, [LEARN] * 100)] * 60))
    budgets.spend(greedy, 1, authors)
    with pytest.raises(Throttled):
        budgets.spend(greedy, 5000, authors)


def test_a_second_key_is_not_shut_out_by_its_first_request() -> None:
    budgets, authors = LearningBudgets(share=0.5), Authors()
    authors.count(folded((5, [LEARN])))
    budgets.spend(key_of(), 400, authors)


KEYS = "slow learn,read * rate=5 the-slow-key; fast learn the-fast-key"


async def test_a_key_that_learns_too_fast_waits_and_nothing_is_learned(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        replica = await service.hub.get("default")
        await replica.settled(60)
        client = Client(service, direct=True)

        async def learn(key: str) -> bytes:
            kind = "application/x-ndjson"
            lines = f"Authorization: Bearer {key}"
            return await client.ask(request(LINE * 20, "/learn", lines, kind=kind))

        for _ in range(3):  # the usual way first, then the short one
            assert b" 200 " in await learn("the-fast-key")
        assert b" 200 " in await learn("the-slow-key")
        before = replica.require_model().examples
        for _ in range(3):
            refused = await learn("the-slow-key")
            assert refused.startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 2" in refused
            assert b"/problems/rate-exceeded" in refused
        assert replica.require_model().examples == before
        authorization = {"authorization": "Bearer the-slow-key"}
        stats = (await service.client.get("/stats", headers=authorization)).json()["authors"]
        shown: dict[str, Any] = {row["key"]: row for row in stats["keys"]}
        assert {name: row["examples"] for name, row in shown.items()} == {"fast": 60, "slow": 20}
        assert shown["fast"]["latest_share"] == 0.75
        metrics = (await service.client.get("/metrics", headers=authorization)).text
        labels = 'key="fast",model="default",replica="0"'
        assert f"clickfold_key_examples_total{{{labels}}} 60.0" in metrics


async def test_what_is_counted_comes_from_the_log(redis_url: str, tmp_path: Path) -> None:
    """A replica that folds what another appended counts the same."""
    headers = {"authorization": "Bearer the-fast-key", "content-type": "application/x-ndjson"}
    async with (
        running(redis_url, tmp_path / "a", keys=KEYS) as one,
        running(redis_url, tmp_path / "b", keys=KEYS) as other,
    ):
        for _ in range(3):
            await one.client.post("/learn", content=LINE * 4, headers=headers)
        replica = await other.hub.get("default")
        here = await one.hub.get("default")
        assert await replica.wait_for(here.require_model().position, 60)
        assert replica.authors.examples == {number_of("fast"): 12}
