"""Every error reply Redis knows, to the writes alone and to everything: 503, never 500.

An error reply means that nothing was executed, so /learn says `not_learned` and the same events
are accepted once the reply ends; /predict goes on. Some replies are provoked in a real server, the
others are put in by a proxy, since no server can be made to say MASTERDOWN or MOVED on its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.app.http_service import Service, running
from tests.recovery.harness import until
from tests.recovery.proxy import Command, forward, proxied

REPLIES = [
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM User default has no permissions to run the 'evalsha' command",
    "NOSCRIPT No matching script.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "CLUSTERDOWN The cluster is down",
    "MOVED 866 127.0.0.1:7002",
    "ASK 866 127.0.0.1:7002",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "UNBLOCKED client unblocked via CLIENT UNBLOCK",
    "NOREPLICAS Not enough good replicas to write.",
    "INPROG Failover already in progress.",
    "EXECABORT Transaction discarded because of previous errors.",
    "ERR max number of clients reached",
    "ERR unknown command 'EVALSHA'",
    "ERR Protocol error: too big mbulk count string",
]
WRITES = {b"EVALSHA", b"EVAL", b"SCRIPT"}
READ_ROUTES = ("/stats", "/models", "/models/default", "/metrics", "/admin/snapshots", "/readyz")


def body(first: int, count: int) -> dict[str, Any]:
    """A request of /learn with ids from `first` on."""
    rows = [
        {"id": f"e{n}", "label": int(n % 3 == 0), "features": {"ad": f"a{n % 7}", "x": n % 5}}
        for n in range(first, first + count)
    ]
    return {"examples": rows}


@pytest.fixture(autouse=True)
def _nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No trace in the log: neither a failed request nor a task whose error nobody took."""
    yield
    traces = [record for record in caplog.records if record.exc_info]
    assert not traces, [record.getMessage() for record in traces]


async def _refused(service: Service, first: int, words: str) -> None:
    """/learn is 503 `not_learned` at once and says when to come back; the rest is served."""
    async with asyncio.timeout(2.0):
        reply = await service.client.post("/learn", json=body(first, 5))
        assert reply.status_code == 503, (words, reply.text)
        assert reply.json()["outcome"] == "not_learned", (words, reply.text)
        assert "retry-after" in reply.headers, words
        reply = await service.client.post("/predict", json=body(first, 2))
        assert reply.status_code == 200, (words, reply.text)
        for route in READ_ROUTES:
            status = (await service.client.get(route)).status_code
            assert status in (200, 503), (words, route, status)
        for method, route in (("PUT", "/models/other"), ("PATCH", "/models/default")):
            reply = await service.client.request(method, route, json={"table_bits": 13})
            assert reply.status_code in (409, 503), (words, reply.text)


async def _accepted(service: Service, first: int, words: str) -> None:
    replica = await service.hub.get("default")
    await until(replica.can_learn, f"after {words} it takes examples again", 5.0)
    reply = await service.client.post("/learn", json=body(first, 5))
    assert reply.status_code == 200, (words, reply.text)
    assert reply.json()["duplicates"] == 0, words


@pytest.mark.parametrize("what", ["writes", "everything"])
async def test_an_error_reply_is_503_and_nothing_was_learned(
    redis_url: str, tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with proxied(tmp_path, redis_url) as proxy, running(proxy.url, tmp_path) as service:
        replica = await service.hub.get("default")
        for number, words in enumerate(REPLIES):
            await _accepted(service, 10 * number, words)
            caplog.clear()
            proxy.refuse = partial(refuse, words.encode(), what == "everything")
            await _refused(service, 10 * number + 5, words)
            await asyncio.sleep(0.15)  # time for a look that succeeds
            await _refused(service, 10 * number + 5, words)
            ready, told = service.hub.ready()
            assert (ready, told["learn"]) == (True, False), words
            assert len(caplog.records) < 5, "a reply that lasts is told once"
            proxy.refuse = forward
            await _accepted(service, 10 * number + 5, words)
        assert replica.require_model().examples == 10 * len(REPLIES)
        assert replica._owner.log_regressions == 0


def refuse(words: bytes, everything: bool, command: Command) -> bytes | None:
    """What the proxy answers; NOSCRIPT is the answer to a script alone."""
    is_write = command[0].upper() in WRITES
    return words if is_write or (everything and not words.startswith(b"NOSCRIPT")) else None
