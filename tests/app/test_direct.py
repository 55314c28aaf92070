"""The short way through the protocol answers as the usual way does, to the byte, or not at all."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.known_heads import HEADS_MAX
from app.redis_condition import RedisCondition
from tests.app.direct_client import ONE, Client, request
from tests.app.http_service import Service, running


@pytest.fixture(autouse=True)
def _not_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for two seconds makes every reply stale, and none direct."""
    monkeypatch.setattr(RedisCondition, "stale_seconds", lambda _: 0.0)


@contextmanager
def counted(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """For each request that the short way was asked for, whether it has answered."""
    asked: list[bool] = []
    predict: Callable[..., bytes | None] = service.app.state.direct.predict

    def asking(*given: Any) -> bytes | None:
        reply = predict(*given)
        asked.append(reply is not None)
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(service.app.state.direct, "predict", asking)
        yield asked


USUAL = [
    ONE,
    b'{"features":{"ad":"a9"}}',
    b'{"examples":[{"features":{"ad":"a9"}},{"features":{"ad":"a8","n":[1,"x"]},"label":1}]}',
    '{"examples":[{"features":{"città":"é"}}]}'.encode(),
    b'{"examples":[{"features":{}}]}',
]
UNUSUAL = [
    b'{"shared":{"u":"v"},"examples":[{"features":{"ad":"a9"}}]}',
    b'{"examples":[{"features":{"ad":"a9"},"weight":2}]}',
    b'{"examples":[{"features":{"ad":"a9"},"id":"x"}]}',
    b'{"examples":[{"features":{"ad":1e-30}}]}',
    b'{"examples":[{"features":{"ad":{}}}]}',
    b'{"examples":[{"features":{"ad":"\xff"}}]}',
    b'{"examples":[]}',
    b'{"examples":[{"features":{}}],"x":1}',
    b'{"examples":' + b"[" * 3000,
    b"nonsense",
    b"",
]


async def test_replies_are_those_of_the_usual_way(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(redis_url, tmp_path) as service:
        learned = {"label": 1, "features": {"ad": "a9", "price": 3.5, "città": "é"}}
        await service.client.post("/learn", json=learned)
        await service.client.put("/models/ads", json={"table_bits": 12})
        for path in ("/predict", "/models/ads/predict", "/models/none/predict"):
            for body in USUAL + UNUSUAL:
                usual = await Client(service, direct=False).ask(request(body, path))
                client = Client(service, direct=True)
                with counted(service, monkeypatch) as asked:
                    for _ in range(3):
                        assert await client.ask(request(body, path)) == usual
                is_direct = body in USUAL and "none" not in path
                assert asked == [is_direct] * 2, body


async def test_the_first_request_of_a_head_goes_the_usual_way(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, longer = Client(service, direct=True), request(ONE + b" ")
        with counted(service, monkeypatch) as asked:
            for data in (
                request(ONE),
                longer,
                longer,
                request(ONE),
                request(ONE, "/predict", "A: b"),
            ):
                assert b" 200 OK" in await client.ask(data)
        assert asked == [True, True, True]


@pytest.mark.parametrize(
    "data",
    [
        request(ONE, "/predict?uncertainty=true"),
        request(ONE, "/predict", "Connection: close"),
        request(ONE, "/predict", "Expect: 100-continue"),
        request(gzip.compress(ONE), "/predict", "Content-Encoding: gzip"),
        request(ONE, kind="application/x-ndjson"),
        request(ONE, kind="text/plain"),
        request(ONE, "/learn"),
        request(ONE, "/predict", "Host: elsewhere.example"),
        request(ONE).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_other_requests_never_go_the_short_way(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    async with running(redis_url, tmp_path) as service:
        client = Client(service, direct=True)
        with counted(service, monkeypatch) as asked:
            for _ in range(3):
                if not client.wire.closed:
                    await client.ask(data)
        assert asked == []


async def test_any_cut_of_two_requests_gives_the_same_replies(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        whole = request(ONE)
        client = Client(service, direct=True)
        one = await client.ask(whole)
        for cut in range(1, len(whole)):
            assert await client.ask(whole[:cut], whole[cut:]) == one, cut
            assert await client.ask(whole) == one, cut
        for cut in range(1, len(whole), 7):  # pipelined: the second begins in the same piece
            assert await client.ask(whole + whole[:cut], whole[cut:], replies=2) == one + one
        assert await client.ask(whole + whole + whole, replies=3) == one * 3
        client.protocol.data_received(whole * 50 + whole[:99])
        assert client.wire.sent.endswith(one * 50)  # at once, and not one a round of the loop
        client.protocol.data_received(whole[99:] + whole[:-1])
        assert client.wire.sent.endswith(one * 51)
        client.protocol.data_received(whole[-1:])
        assert client.wire.sent.endswith(one * 52)
        await client.ask(replies=52)
        assert await client.ask(whole) == one


async def test_a_head_is_admitted_with_its_key_only(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = "web predict default goodkey;other learn default otherkey"
    async with running(redis_url, tmp_path, keys=keys) as service:
        client = Client(service, direct=True)
        with counted(service, monkeypatch) as asked:
            for key, status in (("goodkey", 200), ("otherkey", 403), ("badkey00", 401)):
                for _ in range(3):
                    data = request(ONE, "/predict", f"Authorization: Bearer {key}")
                    assert b" %d " % status in await client.ask(data)
        assert asked == [True, True]


async def test_what_is_counted(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client = Client(service, direct=True)
        for _ in range(5):
            await client.ask(request(ONE))
        metrics = (await service.client.get("/metrics")).text
        assert 'requests_total{method="POST",route="/predict",status="200"} 5.0' in metrics
        assert 'request_seconds_count{route="/predict"} 5.0' in metrics


async def test_away_from_redis_a_reply_says_how_stale_it_is(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(redis_url, tmp_path) as service:
        client = Client(service, direct=True)
        assert b"stale" not in await client.ask(request(ONE))
        monkeypatch.setattr(RedisCondition, "stale_seconds", lambda _: 2.5)
        assert b'"stale_seconds":2.5' in await client.ask(request(ONE))


async def test_a_used_connection_is_kept_and_an_idle_one_closed(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        client = Client(service, direct=True)
        client.protocol.timeout_keep_alive = 1
        await client.ask(request(ONE))
        for _ in range(8):
            await asyncio.sleep(0.2)
            await client.ask(request(ONE))
        assert not client.wire.closed
        await asyncio.sleep(1.5)
        assert client.wire.closed


async def test_heads_remembered_are_bounded(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client = Client(service, direct=True)
        for i in range(200):
            await client.ask(request(ONE, "/predict", f"X-Request: {i}"))
        assert len(client.protocol._heads) == HEADS_MAX


async def test_a_model_that_is_deleted_is_gone_for_the_short_way_too(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        await service.client.put("/models/ads", json={"table_bits": 12})
        client, data = Client(service, direct=True), request(ONE, "/models/ads/predict")
        for _ in range(2):
            assert json.loads((await client.ask(data)).split(b"\r\n\r\n")[1])["model"] == "ads"
        await service.client.delete("/models/ads")
        assert b" 404 " in await client.ask(data)
