"""Learning by the short way through the protocol: the same replies, and each request once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.direct_path import DirectPath
from app.errors import Unavailable
from app.ingest import warm_up
from app.ingest.content import PACKED, VW_TEXT
from app.replica import ModelReplica
from app.writing import Writer
from ftrl_core.batch import ExampleBatch
from ftrl_core.entry import encode_examples, whole_request
from tests.app.direct_client import Client, request
from tests.app.http_service import SMALL, Service, running

BODY = b'{"examples":[{"label":1,"features":{"ad":"a9","price":3.5}}]}'
LARGE = json.dumps(
    {"examples": [{"label": i % 2, "features": {"ad": f"a{i}"}} for i in range(500)]}
).encode()


STORY = (
    BODY,
    BODY,
    LARGE,
    LARGE,
    BODY.replace(b'"label"', b'"id":"x","label"'),
    BODY.replace(b'"label"', b'"id":"x","label"'),
    BODY.replace(b'"label":1', b'"label":7'),
    BODY.replace(b'"label":1', b'"label":8'),
    b'{"label":0,"weight":2.5,"features":{"ad":[1,{}]}}',
    b'{"label":0,"weight":2.5,"features":{"ad":[1,2.]}}',
    b'{"label":0,"weight":2.5,"features":{"ad":[1,20]}}',
    b'{"shared":{"u":"v"},"examples":[{"label":0,"features":{}}]}',
    b"[" * 5000,
    b'{"examples":[]}',
)


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each request that the short way was asked for, whether it took it."""
    asked: list[bool] = []
    learn = DirectPath.learn

    def asking(*given: Any) -> bool:
        asked.append(learn(*given))
        return asked[-1]

    monkeypatch.setattr(DirectPath, "learn", asking)
    return asked


async def examples(service: Service) -> int:
    return (await service.hub.get("default")).require_model().examples


async def replies(service: Service, *, direct: bool) -> list[bytes]:
    """To one story, told to a new model `ads`."""
    await service.client.put("/models/ads", json=SMALL)
    client = Client(service, direct=direct)
    paths = ("/models/ads/learn", "/models/ads/learn?predictions=false")
    given = [await client.ask(request(body, path)) for body in STORY for path in paths]
    digest = (await service.hub.get("ads")).require_model().digest()
    given.append(digest.encode())
    await service.client.delete("/models/ads")
    return given


async def test_replies_are_those_of_the_usual_way(
    redis_url: str, tmp_path: Path, handed_over: list[bool]
) -> None:
    async with running(redis_url, tmp_path) as service:
        usual = await replies(service, direct=False)
        assert handed_over == []
        assert await replies(service, direct=True) == usual
        assert handed_over.count(True) >= 8


async def test_a_body_may_come_in_pieces(
    redis_url: str, tmp_path: Path, handed_over: list[bool]
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(LARGE, "/learn")
        for size in (9000, 9000, 300, 15000):
            parts = [whole[at : at + size] for at in range(0, len(whole), size)]
            assert b'"accepted":500' in await client.ask(*parts)
        assert handed_over == [True] * 3
        assert b'"accepted":1,' in await client.ask(request(BODY, "/learn"))
        assert await examples(service) == 2001


async def test_a_body_that_trickles_in_is_left_to_the_usual_way(
    redis_url: str, tmp_path: Path, handed_over: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.direct_protocol.COLLECT_SECONDS", 0.05)
    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(BODY, "/learn")
        await client.ask(whole)
        client.protocol.data_received(whole[:-5])
        await asyncio.sleep(0.2)
        assert b'"accepted":1' in await client.ask(whole[-5:])
        assert b'"accepted":1' in await client.ask(whole)
        assert handed_over == [True]
        assert await examples(service) == 3


async def test_a_client_that_leaves_in_the_middle_is_counted_as_gone(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(BODY, "/learn")
        await client.ask(whole)
        client.protocol.data_received(whole[:-5])
        client.protocol.connection_lost(None)
        await asyncio.sleep(0.05)
        assert 'route="/learn",status="499"} 1.0' in (await service.client.get("/metrics")).text
        assert await examples(service) == 1


async def test_what_is_pipelined_is_answered_in_order(
    redis_url: str, tmp_path: Path, handed_over: list[bool]
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, learn = Client(service, direct=True), request(BODY, "/learn")
        predict = request(b'{"features":{"ad":"a9"}}')
        await client.ask(learn)
        for parts in (
            (learn, predict),
            (learn, predict + learn),
            (learn, predict[:40], predict[40:]),
        ):
            count = sum(part.count(b"POST") for part in parts)
            answers = await client.ask(*parts, replies=count)
            assert answers.index(b"accepted") < answers.rindex(b'"predictions"')
        await client.ask(learn)
        assert await examples(service) == 6
        assert handed_over == [True] * 4


async def test_a_client_that_does_not_wait_is_learned_all_the_same(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(BODY, "/learn")
        await client.ask(whole)
        client.protocol.data_received(whole)
        client.protocol.connection_lost(None)
        sent = client.wire.sent
        await Client(service, direct=True).ask(whole)  # appended after it
        assert await examples(service) == 3
        assert client.wire.sent == sent


async def test_a_server_that_stops_answers_and_closes(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(BODY, "/learn")
        await client.ask(whole)
        client.protocol.data_received(whole)
        client.protocol.shutdown()
        assert not client.wire.closed
        assert b"connection: close\r\n" in await client.ask(b"")
        assert client.wire.closed
        idle = Client(service, direct=True)
        await idle.ask(whole)
        idle.protocol.shutdown()
        assert idle.wire.closed


async def test_a_server_that_stops_finishes_what_it_has_begun_to_receive(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(BODY, "/learn")
        await client.ask(whole)
        client.protocol.data_received(whole[:-5])
        client.protocol.shutdown()
        assert not client.wire.closed
        assert b'"accepted":1' in await client.ask(whole[-5:])
        assert client.wire.closed


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (Unavailable("not now", "unavailable", "not_learned", 1.0), 503, "not_learned"),
        (Unavailable("who knows", "unavailable", "unknown", None), 503, "unknown"),
        (RuntimeError("unforeseen"), 500, "unknown"),
    ],
)
async def test_failures_after_it_was_handed_over_say_their_outcome(
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    outcome: str,
) -> None:
    async def fail(_writer: Writer, _incarnation: str, group: Any) -> bool:
        for one in group:
            one.done.set_exception(error)
        return False

    async with running(redis_url, tmp_path) as service:
        for direct in (False, True):
            client, whole = Client(service, direct=direct), request(BODY, "/learn")
            await client.ask(whole)
            with monkeypatch.context() as patch:
                patch.setattr(Writer, "learn", fail)
                head, _, body = (await client.ask(whole)).partition(b"\r\n\r\n")
            assert f" {status} ".encode() in head
            assert b"application/problem+json" in head
            assert (b"retry-after: 1" in head) is (outcome == "not_learned")
            assert json.loads(body)["outcome"] == outcome
            assert b" 200 " in await client.ask(whole)


async def test_a_replica_that_refuses_is_asked_by_the_usual_way(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handed_over: list[bool]
) -> None:
    def refuse(_replica: ModelReplica) -> None:
        raise Unavailable("not now", "redis-away", "not_learned", 1.0)

    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(BODY, "/learn")
        await client.ask(whole)
        monkeypatch.setattr(ModelReplica, "refuse_learn", refuse)
        answer = await client.ask(whole)
        assert b" 503 " in answer
        assert b"not_learned" in answer
        assert handed_over == [False]


async def test_what_nobody_foresaw_is_answered_by_the_usual_way(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(BODY, "/learn")
        await client.ask(whole)
        monkeypatch.setattr("app.direct_path.submitted", None)
        assert b'"accepted":1' in await client.ask(whole)
        assert await examples(service) == 2


async def test_a_request_with_a_key_of_its_own_goes_the_usual_way(
    redis_url: str, tmp_path: Path, handed_over: list[bool]
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(BODY, "/learn", "Idempotency-Key: k1")
        assert b'"accepted":1,"duplicates":0' in await client.ask(whole)
        for _ in range(2):
            assert b'"accepted":0,"duplicates":1' in await client.ask(whole)
        assert handed_over == []
        assert await examples(service) == 1


async def test_a_connection_is_closed_in_the_middle_of_a_head_too(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, whole = Client(service, direct=True), request(BODY, "/learn")
        await client.ask(whole)
        client.protocol.timeout_keep_alive = 1
        client.protocol.data_received(whole)
        client.protocol.data_received(b"POST /learn HT")  # and nothing more
        await client.ask()
        await asyncio.sleep(1.5)
        assert client.wire.closed


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/msgpack", PACKED, VW_TEXT])
async def test_every_body_is_handed_over(
    redis_url: str, tmp_path: Path, handed_over: list[bool], kind: str
) -> None:
    given = [{"label": i % 2, "features": {"ad": f"a{i}", "price": float(i)}} for i in range(3)]
    batch = ExampleBatch.from_examples(given)
    warm_up()  # or the first reply waits for a compiler
    bodies = {
        "application/x-ndjson": b"\n".join(json.dumps(example).encode() for example in given),
        "application/msgpack": msgspec.msgpack.encode({"examples": given}),
        PACKED: encode_examples(batch, whole_request(batch)),
        VW_TEXT: b"1 |ad a0\n-1 |ad a1 price:2\n1 |ad a2\n",
    }
    async with running(redis_url, tmp_path) as service:
        replies: dict[bool, list[bytes]] = {}
        for direct in (False, True):
            client = Client(service, direct=direct)
            for body in (bodies[kind], bodies[kind], b"\xff" * len(bodies[kind])):
                answer = await client.ask(request(body, "/learn", kind=kind))
                replies.setdefault(direct, []).append(answer)
        assert handed_over == [True, False]
        assert await examples(service) == 12
        for usual, short in zip(*replies.values(), strict=True):
            assert short.split(b"\r\n")[0] == usual.split(b"\r\n")[0]
        assert b"problem+json" in replies[True][2]
        assert replies[True][2].partition(b"{")[2] == replies[False][2].partition(b"{")[2]
