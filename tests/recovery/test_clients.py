"""Clients that leave at any moment, and retries in any order.

Whatever a client does, what was sent for the log is appended and folded once; the replies of others
are their own; and nothing that a request held is kept.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.app.http_service import Message, Service, running
from tests.recovery.harness import assert_agree, batch_of, default_of, hub_on

HEADERS = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]


def body_of(first: int, rows: int) -> dict[str, Any]:
    """Examples whose ids are numbers from `first`, each with a value that only it has."""
    return {
        "examples": [
            {"id": f"e{n}", "label": n % 2, "features": {"n": f"v{n}", "x": 1.5}}
            for n in range(first, first + rows)
        ]
    }


async def _leaves(service: Service, path: str, body: bytes, receives: int) -> None:
    """One request whose client is gone after so many messages; what is sent then is dropped."""
    pieces = [body[i : i + 40] for i in range(0, len(body), 40)]
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]}
        for piece in pieces
    ]
    left = iter(messages[:receives])

    async def receive() -> Message:
        await asyncio.sleep(0)
        return next(left, {"type": "http.disconnect"})

    async def send(_message: Any) -> None:
        await asyncio.sleep(0)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": HEADERS, "client": ("127.0.0.1", 1), "server": None,
    }  # fmt: skip
    await service.app(scope, receive, send)


async def test_a_client_that_leaves_at_any_message(redis_url: str, tmp_path: Path) -> None:
    """Beside clients that stay: these get the replies to their own requests, all of them."""
    async with running(redis_url, tmp_path) as service:
        replica = await service.hub.get("default")
        body = json.dumps(body_of(1, 2)).encode()
        pieces = len(body) // 40 + 1
        cases = [
            _leaves(service, path, body, receives)
            for path in ("/learn", "/predict")
            for receives in range(pieces + 2)
        ]
        stay = [service.client.post("/learn", json=body_of(1000 * n, 3)) for n in range(1, 40)]
        leaving = asyncio.gather(*cases)
        for reply in await asyncio.gather(*stay):
            assert reply.status_code == 200
            assert (reply.json()["accepted"], len(reply.json()["predictions"])) == (3, 3)
        await leaving
        assert replica.require_model().examples == 39 * 3 + 2  # whoever left sent the same ids
        assert service.app.state.reader.in_flight_bytes == 0
        assert replica._owner.queue.features == 0


async def test_a_handler_cancelled_at_any_await(redis_url: str, tmp_path: Path) -> None:
    """As a server that cancels would do it: the append goes on, the next reply is the right one."""
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        draw = np.random.default_rng(5)
        learned = 0
        for turns in range(30):
            batch = batch_of(draw, 3, first_id=1 + 10 * turns)
            task = asyncio.create_task(replica.learn(batch, covered=True))
            names = asyncio.create_task(hub.names())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            names.cancel()
            await asyncio.wait({task, names})
            again = await replica.learn(batch, covered=True)
            assert again.accepted + again.duplicates == 3
            learned += 3
            assert await hub.names() == ["default"]
        assert replica.require_model().examples == learned


async def test_retries_in_any_order_and_overlapping_count_once(
    redis_url: str, tmp_path: Path, seed: int
) -> None:
    """Batches of neighbouring ids, cut anywhere, sent many times to two replicas at once."""
    draw = np.random.default_rng(seed)
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        replicas = [await default_of(a), await default_of(b)]
        whole = batch_of(draw, 400, first_id=1)
        accepted = 0

        async def send(first: int, rows: int, replica: int) -> None:
            nonlocal accepted
            outcome = await replicas[replica].learn(whole.slice(first, first + rows), covered=True)
            assert outcome.accepted + outcome.duplicates == rows
            assert np.isnan(outcome.predictions).sum() == outcome.duplicates
            accepted += outcome.accepted

        sends = [(int(first), 40, int(draw.integers(2))) for first in draw.integers(0, 361, 60)]
        sends += [(first, 40, turn % 2) for turn, first in enumerate(range(0, 400, 40))]
        draw.shuffle(sends)
        await asyncio.gather(*(send(*one) for one in sends))
        assert accepted == 400
        await assert_agree(*replicas)
        assert replicas[0].require_model().examples == 400


async def test_of_one_id_with_two_contents_the_first_is_learned(
    redis_url: str, tmp_path: Path
) -> None:
    """An event id says nothing of the content, and whoever sends another one is told that it
    counts as seen; an Idempotency-Key covers the body, so there it is an error."""
    async with running(redis_url, tmp_path) as service:
        event = {"id": "e1", "label": 1, "features": {"ad": "a1"}}
        assert (await service.client.post("/learn", json=event)).json()["accepted"] == 1
        digest = (await service.client.get("/stats")).json()["digest"]
        other = {"id": "e1", "label": 0, "features": {"ad": "a2"}}
        reply = (await service.client.post("/learn", json=other)).json()
        assert (reply["accepted"], reply["duplicates"], reply["predictions"]) == (0, 1, [None])
        key = {"idempotency-key": "k1"}
        anew = {"label": 1, "features": {"ad": "a3"}}
        assert (await service.client.get("/stats")).json()["digest"] == digest
        reply = (await service.client.post("/learn", json=anew, headers=key)).json()
        assert reply["accepted"] == 1
        digest = (await service.client.get("/stats")).json()["digest"]
        refused = await service.client.post("/learn", json=other, headers=key)
        assert (refused.status_code, refused.json()["type"]) == (
            422,
            "/problems/idempotency-conflict",
        )
        again = (await service.client.post("/learn", json=anew, headers=key)).json()
        assert (again["accepted"], again["duplicates"]) == (0, 1)
        assert (await service.client.get("/stats")).json()["digest"] == digest


async def test_a_retry_past_the_window_counts_again_as_documented(
    redis_url: str, tmp_path: Path
) -> None:
    """The window is a number of ids, and /stats has its age; a key costs one id for a request."""
    draw = np.random.default_rng(3)
    config = {"deduplication_window": 100}
    async with hub_on(redis_url, tmp_path, config=config) as hub:
        replica = await default_of(hub)
        old = batch_of(draw, 10, first_id=1)
        await replica.learn(old, covered=True)
        await replica.learn(batch_of(draw, 90, first_id=1001), covered=True)
        assert (await replica.learn(old, covered=True)).duplicates == 10  # the last of the window
        stats = await replica.stats()
        assert 0 <= stats["deduplication_window_seconds"] < 60
        await replica.learn(batch_of(draw, 91, first_id=2001), covered=True)
        assert (await replica.learn(old, covered=True)).accepted >= 1
        keyed = batch_of(draw, 500)
        assert (await replica.learn(keyed, idempotency_key=7, body_hash=7)).accepted == 500
        await replica.learn(batch_of(draw, 99, first_id=5001), covered=True)
        assert (await replica.learn(keyed, idempotency_key=7, body_hash=7)).duplicates == 500
