"""Learning and predicting over HTTP: replies, options, idempotency, limits."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.model import Model
from tests.app.http_service import SMALL, chunks, raw_request, running

ONE = {"label": 1, "features": {"ad": "a9", "price": 3.5}}
MANY = {
    "shared": {"user": "u17"},
    "examples": [
        {"id": "e1", "label": 1, "features": {"ad": "a1", "tags": ["x", "y"]}},
        {"id": "e2", "label": 0, "features": {"ad": "a2", "new": True}},
    ],
}
JSON = {"content-type": "application/json"}


async def test_learn_replies_with_the_contract(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        reply = await service.client.post("/learn", json=MANY)
        assert reply.status_code == 200, reply.text
        body = reply.json()
        assert {k: v for k, v in body.items() if k not in ("position", "predictions")} == {
            "model": "default",
            "accepted": 2,
            "duplicates": 0,
            "durability": "fsync",
        }
        assert body["position"].startswith("1-")
        assert all(0 < p < 1 for p in body["predictions"])
        assert reply.headers["cache-control"] == "no-store"
        again = (await service.client.post("/learn", json=MANY)).json()
        assert (again["accepted"], again["duplicates"]) == (0, 2)
        assert again["predictions"] == [None, None]


async def test_service_equals_library(redis_url: str, tmp_path: Path) -> None:
    rows = [
        {"label": int(i % 3 == 0), "features": {"ad": f"a{i % 7}", "price": i / 10}}
        for i in range(90)
    ]
    library = Model(SMALL)
    async with running(redis_url, tmp_path) as service:
        for first in range(0, 90, 30):
            part = rows[first : first + 30]
            expected = library.learn(ExampleBatch.from_examples(part))
            reply = await service.client.post("/learn", json={"examples": part})
            assert reply.json()["predictions"] == expected.tolist()
        reply = await service.client.post("/predict", json={"examples": rows})
        expected = library.predict(ExampleBatch.from_examples(rows))
        assert reply.json()["predictions"] == expected.tolist()
        stats = (await service.client.get("/stats")).json()
        assert stats["digest"] == library.digest()


async def test_predictions_can_be_left_out(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        reply = await service.client.post("/learn?predictions=false", json=ONE)
        assert reply.status_code == 200
        assert "predictions" not in reply.json()


async def test_ndjson_and_gzip(redis_url: str, tmp_path: Path) -> None:
    lines = b"".join(json.dumps(ONE).encode() + b"\n" for _ in range(3))
    async with running(redis_url, tmp_path) as service:
        headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
        reply = await service.client.post("/learn", content=gzip.compress(lines), headers=headers)
        assert reply.status_code == 200, reply.text
        assert reply.json()["accepted"] == 3


def _fail(error: Exception) -> Callable[..., Any]:
    def failing(*_given: Any, **_named: Any) -> Any:
        raise error

    return failing


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("app.hot_path.decode_body", MemoryError()),
        ("app.request_body.BodyReader.read", MemoryError()),
        ("asyncio.to_thread", RuntimeError("can't start new thread")),
    ],
)
async def test_no_memory_is_503(
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: Exception,
) -> None:
    body = json.dumps({"examples": [{"label": 1, "features": {"text": "x" * 900}}] * 400}).encode()
    async with running(redis_url, tmp_path) as service:
        await service.hub.get("default")  # is loaded, which takes threads too
        for path in ("/learn", "/predict"):
            with monkeypatch.context() as patch:
                patch.setattr(where, _fail(error))
                reply = await service.client.post(path, content=body, headers=JSON)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            if path == "/learn":
                assert reply.json()["outcome"] == "not_learned"
            reply = await service.client.post(path, content=body, headers=JSON)
            assert reply.status_code == 200
        assert (await service.hub.get("default")).require_model().examples == 400


async def test_large_bodies_are_decoded_in_a_thread(redis_url: str, tmp_path: Path) -> None:
    examples = [
        {"label": i % 2, "features": {f"f{j}": f"v{i * j}" for j in range(20)}} for i in range(3000)
    ]
    async with running(redis_url, tmp_path) as service:
        reply = await service.client.post("/learn", json={"examples": examples})
        assert reply.status_code == 200, reply.text
        assert reply.json()["accepted"] == 3000


async def test_idempotency_key(redis_url: str, tmp_path: Path) -> None:
    headers = {"idempotency-key": "request-1"}
    async with running(redis_url, tmp_path) as service:
        first = await service.client.post("/learn", json=ONE, headers=headers)
        assert first.json()["accepted"] == 1
        again = await service.client.post("/learn", json=ONE, headers=headers)
        assert again.status_code == 200
        assert (again.json()["accepted"], again.json()["duplicates"]) == (0, 1)
        other = {**ONE, "label": 0}
        conflict = await service.client.post("/learn", json=other, headers=headers)
        assert conflict.status_code == 422
        assert conflict.json()["type"] == "/problems/idempotency-conflict"
        stats = (await service.client.get("/stats")).json()
        assert stats["examples"] == 1


@pytest.mark.parametrize("key", ["", "x" * 257, "with space", "line\tbreak", "\u00e9"])
async def test_bad_idempotency_keys(redis_url: str, tmp_path: Path, key: str) -> None:
    async with running(redis_url, tmp_path) as service:
        headers = [*JSON.items(), ("idempotency-key", key)]
        body = json.dumps(ONE).encode()
        reply = await raw_request(
            service.app, "POST", "/learn", headers=headers, pieces=chunks(body)
        )
        assert reply.status == 422
        assert json.loads(reply.body)["type"] == "/problems/bad-idempotency-key"


async def test_min_position(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.hot_path.MIN_POSITION_SECONDS", 0.2)
    async with running(redis_url, tmp_path) as service:
        position = (await service.client.post("/learn", json=ONE)).json()["position"]
        reply = await service.client.post(f"/predict?min_position={position}", json=ONE)
        assert reply.status_code == 200
        assert reply.json()["position"] == position
        late = await service.client.post("/predict?min_position=1-999999", json=ONE)
        assert late.status_code == 503
        assert late.json()["type"] == "/problems/position-not-reached"
        assert late.headers["retry-after"] == "1"
        older = await service.client.post("/predict?min_position=0-999999", json=ONE)
        assert older.status_code == 200


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/predict", "min_position=x"),
        ("/predict", "min_position="),
        ("/predict", "min_position=1-2&min_position=1-2"),
        ("/predict", "explain=yes"),
        ("/predict", "predictions=false"),
        ("/learn", "predictions=no"),
        ("/learn", "min_position=1-1"),
        ("/learn", "id=tag"),
        ("/learn", "%ff=1"),
        ("/learn", "&&&"),
        ("/stats", "x=1"),
    ],
)
async def test_unknown_or_wrong_queries(
    redis_url: str, tmp_path: Path, path: str, query: str
) -> None:
    async with running(redis_url, tmp_path) as service:
        before = await service.digest()
        method = "GET" if path == "/stats" else "POST"
        reply = await service.client.request(
            method, f"{path}?{query}", content=json.dumps(ONE), headers=JSON
        )
        assert reply.status_code == 422, reply.text
        assert reply.json()["type"] == "/problems/bad-query"
        assert await service.digest() == before


async def test_a_body_over_the_limit_is_refused(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, limit_body_bytes=1000) as service:
        before = await service.digest()
        stated = await raw_request(
            service.app, "POST", "/learn", headers={**JSON, "content-length": "1001"}
        )
        counted = await raw_request(
            service.app, "POST", "/learn", headers=JSON, pieces=chunks(b"x" * 600, b"x" * 600)
        )
        lied = await raw_request(
            service.app,
            "POST",
            "/learn",
            headers={**JSON, "content-length": "10"},
            pieces=chunks(b"x" * 2000),
        )
        for reply in (stated, counted, lied):
            assert reply.status == 413
            assert json.loads(reply.body)["type"] == "/problems/too-large"
        assert await service.digest() == before


async def test_a_body_may_come_in_pieces(redis_url: str, tmp_path: Path) -> None:
    body = json.dumps(ONE).encode()
    async with running(redis_url, tmp_path) as service:
        pieces = chunks(*(body[i : i + 1] for i in range(len(body))))
        reply = await raw_request(service.app, "POST", "/learn", headers=JSON, pieces=pieces)
        assert reply.status == 200


async def test_a_client_that_leaves_gets_nothing(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        before = await service.digest()
        piece = {"type": "http.request", "body": b'{"label": 1', "more_body": True}
        reply = await raw_request(service.app, "POST", "/learn", headers=JSON, pieces=[piece])
        assert reply.status == 0
        assert await service.digest() == before
        metrics = (await service.client.get("/metrics")).text
        assert 'route="/learn",status="499"} 1.0' in metrics


async def test_other_models(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        missing = await service.client.post("/models/ads/learn", json=ONE)
        assert missing.status_code == 404
        assert missing.json()["type"] == "/problems/model-not-found"
        made = await service.client.put("/models/ads", json=SMALL)
        assert made.status_code == 201, made.text
        reply = await service.client.post("/models/ads/learn", json=ONE)
        assert reply.json()["model"] == "ads"
        assert (await service.client.get("/stats")).json()["examples"] == 0
