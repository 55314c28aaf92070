"""Connections that send slowly, endlessly, too much or nothing, and clients that do not read.

Time is not waited for: the sweep's `look` is called with a later one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.connection_guard import (
    PIPELINED_MAX,
    REFUSALS,
    ConnectionGuard,
    ConnectionLimits,
)
from app.problems import CATALOGUE
from app.request_room import RequestRoom
from app.route_table import match_path
from tests.app.direct_client import ONE, Client, request
from tests.app.http_service import Service, running

LIMITS = ConnectionLimits(
    connections=3, head_seconds=10, body_seconds=60, reply_seconds=30, idle_seconds=75
)
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def served(redis_url: str, folder: Path) -> AsyncIterator[Service]:
    """A service whose model is loaded."""
    async with running(redis_url, folder) as service:
        await (await service.hub.get("default")).settled(60)
        yield service


def later(client: Client, seconds: float) -> str:
    """What is answered when the sweep comes by so much later; "closed", "aborted", or nothing."""
    before = len(client.wire.sent)
    client.protocol.look(asyncio.get_running_loop().time() + seconds)
    answered = status(client.wire.sent[before:])
    if answered or not client.wire.closed:
        return answered
    return "aborted" if client.wire.aborted else "closed"


def status(reply: bytes) -> str:
    """Of the first reply, and its type if it is a problem."""
    if not reply:
        return ""
    head, _, body = reply.partition(b"\r\n\r\n")
    number = head.split(b" ")[1].decode()
    if b"problem+json" not in head:
        return number
    assert b"connection: close" in head
    return f"{number} {json.loads(body)['type'].removeprefix('/problems/')}"


async def test_a_new_connection_sends_its_first_head_in_time(
    redis_url: str, tmp_path: Path
) -> None:
    async with served(redis_url, tmp_path) as service:
        client = Client(service, direct=True, guard=ConnectionGuard(LIMITS))
        assert later(client, 9) == ""
        assert later(client, 11) == "closed"


async def test_no_byte_starts_the_clock_of_a_head_again(redis_url: str, tmp_path: Path) -> None:
    async with served(redis_url, tmp_path) as service:
        guard = ConnectionGuard(LIMITS)
        client = Client(service, direct=True, guard=guard)
        for place in range(len(HEAD)):
            client.protocol.data_received(HEAD[place : place + 1])
        assert later(client, 9) == ""
        assert later(client, 11) == "408 head-timeout"
        assert client.wire.closed
        assert guard.refused == {"head-timeout": 1}


async def test_empty_lines_between_requests_do_not_keep_a_connection(
    redis_url: str, tmp_path: Path
) -> None:
    async with served(redis_url, tmp_path) as service:
        client = Client(service, direct=True, guard=ConnectionGuard(LIMITS))
        for _ in range(2):
            assert status(await client.ask(request(ONE))) == "200"
        client.protocol.data_received(b"\r\n\r\n")
        assert later(client, 74) == ""
        assert later(client, 76) == "closed"


@pytest.mark.parametrize("refused", [False, True])
async def test_a_body_has_its_time_whether_it_is_wanted_or_not(
    redis_url: str, tmp_path: Path, refused: bool
) -> None:
    async with served(redis_url, tmp_path) as service:
        client = Client(service, direct=True, guard=ConnectionGuard(LIMITS))
        started = CHUNKED.replace(b"/predict", b"/nowhere" if refused else b"/predict") + b"1\r\n{"
        if refused:
            assert status_of_many(await client.ask(started + b"\r\n")) == [404]
        else:
            client.protocol.data_received(started)
            await asyncio.sleep(0)
        assert later(client, 69) == ""
        assert later(client, 71) == ("closed" if refused else "408 body-timeout")
        assert client.wire.closed


async def test_a_reply_that_is_not_taken_is_broken_off(redis_url: str, tmp_path: Path) -> None:
    async with served(redis_url, tmp_path) as service:
        client = Client(service, direct=True, guard=ConnectionGuard(LIMITS))
        await client.ask(request(ONE))
        client.wire.unsent = 100_000
        assert later(client, 0) == ""
        assert later(client, 29) == ""
        client.protocol.resume_writing()  # most was taken: a new time begins
        assert later(client, 31) == ""
        assert later(client, 62) == "aborted"


@pytest.mark.parametrize(
    "lines",
    [
        [f"X-Much: {'x' * (32 << 10)}"],
        [f"X-{number}: y" for number in range(120)],
        [f"X-{number}: {'y' * 500}" for number in range(90)],
    ],
)
async def test_a_large_head_is_refused(redis_url: str, tmp_path: Path, lines: list[str]) -> None:
    async with served(redis_url, tmp_path) as service:
        client = Client(service, direct=True)
        assert status(await client.ask(request(ONE, "/predict", *lines))) == "431 head-too-large"
        assert client.wire.closed


async def test_an_endless_head_is_refused_before_its_end(redis_url: str, tmp_path: Path) -> None:
    async with served(redis_url, tmp_path) as service:
        for endless in (b"GET /" + b"x" * 1000, HEAD + b"X: " + b"y" * 1000):
            client = Client(service, direct=True)
            client.protocol.data_received(endless)
            sent = 0
            while not client.wire.closed:
                client.protocol.data_received(b"z" * 1000)
                sent += 1000
                assert sent < 40_000
            assert status(client.wire.sent) == "431 head-too-large"


async def test_a_long_body_before_a_head_is_not_counted_as_head(
    redis_url: str, tmp_path: Path
) -> None:
    body = json.dumps({"features": {"ad": ["x" * 1000] * 60}}).encode()
    async with served(redis_url, tmp_path) as service:
        client = Client(service, direct=True)
        sent = request(body) + request(ONE)
        reply = await client.ask(sent[:-300], sent[-300:-250], sent[-250:], replies=2)
        assert reply.count(b"HTTP/1.1 200") == 2


async def test_fields_after_a_body_are_no_part_of_the_head(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, keys="web predict,read the-key") as service:
        client = Client(service, direct=True)
        trailer = b"1\r\n{\r\n0\r\nAuthorization: Bearer the-key\r\n\r\n"
        assert status_of_many(await client.ask(CHUNKED + trailer)) == [401]


async def test_a_whole_request_gets_its_reply_whatever_follows(
    redis_url: str, tmp_path: Path
) -> None:
    learn = request(b'{"label":1,"features":{"ad":"a9"}}', "/learn")
    async with served(redis_url, tmp_path) as service:
        replica = await service.hub.get("default")
        for nonsense in (b"\x00\x00\r\n\r\n", CHUNKED.replace(b"chunked", b"x"), CHUNKED + b"zz"):
            for known in (False, True):
                client = Client(service, direct=True)
                if known:
                    await client.ask(learn)
                before = replica.require_model().examples
                reply = await client.ask(learn + nonsense)
                assert status_of_many(reply)[0] == 200, (nonsense, known)
                assert replica.require_model().examples == before + 1
                await asyncio.sleep(0.01)
                assert client.wire.closed


async def test_nonsense_alone_is_a_problem_document(redis_url: str, tmp_path: Path) -> None:
    async with served(redis_url, tmp_path) as service:
        for nonsense in (b"\x16\x03\x01\x02", b"GET\r\n\r\n", HEAD + b" folded\r\n\r\n"):
            client = Client(service, direct=True)
            client.protocol.data_received(nonsense)
            assert status(client.wire.sent) == "400 bad-request"


async def test_many_requests_at_once_are_bounded(redis_url: str, tmp_path: Path) -> None:
    async with served(redis_url, tmp_path) as service:
        client = Client(service, direct=False)
        flood = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * (PIPELINED_MAX + 100)
        client.protocol.data_received(flood)
        assert len(client.protocol.pipeline) == PIPELINED_MAX
        await client.ask(replies=PIPELINED_MAX + 1)
        assert client.wire.closed
        assert status_of_many(client.wire.sent) == [200] * (PIPELINED_MAX + 1)


async def test_a_body_that_is_being_collected_is_not_idle(redis_url: str, tmp_path: Path) -> None:
    async with served(redis_url, tmp_path) as service:
        client = Client(service, direct=True, guard=ConnectionGuard(LIMITS))
        for _ in range(2):
            await client.ask(request(ONE))
        client.protocol.data_received(request(ONE)[:-5])
        assert later(client, 76) == ""
        assert status(await client.ask(request(ONE)[-5:])) == "200"


async def test_room_is_made_by_who_has_sent_nothing(redis_url: str, tmp_path: Path) -> None:
    async with served(redis_url, tmp_path) as service:
        guard = ConnectionGuard(LIMITS)
        honest, first, second = (Client(service, direct=True, guard=guard) for _ in range(3))
        await honest.ask(request(ONE))
        third = Client(service, direct=True, guard=guard)
        assert [one.wire.closed for one in (honest, first, second, third)] == [0, 1, 0, 0]
        for other in (second, third):
            await other.ask(request(ONE))
        fourth = Client(service, direct=True, guard=guard)
        assert honest.wire.closed  # all have sent one now, and it is the oldest that waits
        assert status(await fourth.ask(request(ONE))) == "200"
        assert len(guard) == 3


async def test_who_is_being_answered_is_not_closed_to_make_room(
    redis_url: str, tmp_path: Path
) -> None:
    waits = b"POST /predict?min_position=1-9 HTTP/1.1\r\nContent-Type: application/json\r\n"
    waits += b"Content-Length: %d\r\n\r\n%b" % (len(ONE), ONE)
    async with served(redis_url, tmp_path) as service:
        guard = ConnectionGuard(LIMITS)
        clients = [Client(service, direct=True, guard=guard) for _ in range(3)]
        for client in clients:
            client.protocol.data_received(waits)
        await asyncio.sleep(0.05)
        late = Client(service, direct=True, guard=guard)
        assert status(late.wire.sent) == "503 busy"
        assert late.wire.closed
        assert not any(client.wire.closed for client in clients)


async def test_connections_of_an_address(redis_url: str, tmp_path: Path) -> None:
    async with served(redis_url, tmp_path) as service:
        guard = ConnectionGuard(ConnectionLimits(connections_per_address=1))
        first = Client(service, direct=True, guard=guard)
        second = Client(service, direct=True, guard=guard)
        assert status(second.wire.sent) == "429 too-many-connections"
        first.protocol.connection_lost(None)
        assert status(Client(service, direct=True, guard=guard).wire.sent) == ""


def test_learners_take_half_of_the_places_and_probes_need_none() -> None:
    learn, predict, livez = (match_path(path) for path in ("/learn", "/predict", "/livez"))
    assert learn
    assert predict
    assert livez
    room = RequestRoom(4)
    for _ in range(2):
        room.enter(learn.route)
    with pytest.raises(Exception, match="at once"):
        room.enter(learn.route)
    for _ in range(2):
        room.enter(predict.route)
    with pytest.raises(Exception, match="at once"):
        room.enter(predict.route)
    room.enter(livez.route)
    room.leave(learn.route)
    assert (room.requests, room.learners) == (4, 1)


def test_refusals_are_rows_of_the_catalogue() -> None:
    for refusal in REFUSALS:
        kind = CATALOGUE[refusal.slug]
        assert (refusal.status, refusal.title) == (kind.status, kind.title)


def status_of_many(replies: bytes) -> list[int]:
    """The statuses of replies, one after the other."""
    return [int(part[:3]) for part in replies.split(b"HTTP/1.1 ")[1:]]
