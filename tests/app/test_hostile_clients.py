"""Rows of docs/fault-matrix.md that no other test shows: pickles, URLs, keys, series, replays."""

from __future__ import annotations

import hmac
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.app.http_service import SMALL, chunks, raw_request, running

KEYS = "one admin * first-key-of-all; two predict * second-key-of-all; three read * third-key"
ONE = {"label": 1, "features": {"ad": "a9"}}


PICKLE = b"cbuiltins\nopen\n(S'opened'\nS'w'\ntR."  # makes a file when it is loaded


def _is_opened() -> bool:
    return Path("opened").exists()


async def test_a_pickle_is_no_snapshot_and_no_body(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        reply = await service.client.put("/admin/snapshots/one/file", content=PICKLE)
        assert reply.status_code == 422
        for kind in ("application/msgpack", "application/x-clickfold-batch", "application/json"):
            headers = {"content-type": kind}
            reply = await service.client.post("/learn", content=PICKLE, headers=headers)
            assert reply.status_code in (400, 422), kind
    assert not _is_opened()


@pytest.mark.parametrize(
    "source",
    [
        "http://127.0.0.1:1/x",
        "file:///etc/passwd",
        "//host/x",
        "../default/one",
        "default/../one",
        7,
    ],
)
async def test_a_snapshot_is_named_and_never_fetched(
    redis_url: str, tmp_path: Path, source: object
) -> None:
    async with running(redis_url, tmp_path) as service:
        reply = await service.client.put("/models/made", json={"from_snapshot": source})
        assert reply.status_code == 422
        assert reply.json()["type"] == "/problems/bad-config"


async def test_every_key_is_compared_whole_whichever_fits(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def counted(a: Any, b: Any) -> bool:
        assert isinstance(a, bytes)
        assert isinstance(b, bytes)
        compared.append((len(a), len(b)))
        return compare(a, b)

    async with running(redis_url, tmp_path, keys=KEYS) as service:
        monkeypatch.setattr(hmac, "compare_digest", counted)
        for presented in ("first-key-of-all", "third-key", "first-key-of-alL", "", "x" * 5000, "é"):
            compared.clear()
            headers = [(b"authorization", b"Bearer " + presented.encode("latin-1"))]
            reply = await service.client.get("/models", headers=headers)
            assert reply.status_code == (200 if presented in KEYS and presented else 401)
            assert compared == [(32, 32)] * 3


async def test_no_client_makes_a_series(redis_url: str, tmp_path: Path) -> None:
    draw = random.Random(1)
    async with running(redis_url, tmp_path) as service:
        client = service.client

        async def series() -> set[str]:
            text = (await client.get("/metrics")).text
            return {line.rpartition(" ")[0] for line in text.splitlines() if line[:1] != "#"}

        async def ask(name: str) -> None:
            await client.get(f"/{name}")
            await client.get(f"/models/{name}/stats")
            await client.get(f"/problems/{name}")
            await client.request(name.upper(), "/learn")

        await ask("first")
        await series()
        before = await series()
        for _ in range(300):
            await ask("".join(draw.choice("abcdefghij") for _ in range(12)))
        assert await series() == before


@pytest.mark.parametrize(
    "name", ["a{b}", "a b", "a\r\nDEL x", "{default}:log", "a*", "A", "é", "a" * 65]
)
async def test_a_name_makes_no_key_of_its_own(redis_url: str, tmp_path: Path, name: str) -> None:
    async with running(redis_url, tmp_path) as service:
        before = await service.digest()
        for method, path in (("PUT", ""), ("DELETE", ""), ("GET", "/stats"), ("POST", "/learn")):
            body = json.dumps(SMALL if method == "PUT" else ONE).encode()
            headers = {"content-type": "application/json"}
            reply = await raw_request(
                service.app, method, f"/models/{name}{path}", headers=headers, pieces=chunks(body)
            )
            assert reply.status in (404, 422), (method, reply.body)
        listed = (await service.client.get("/models")).json()["models"]
        assert [one["model"] for one in listed] == ["default"]
        assert await service.digest() == before


async def test_a_weight_of_zero_teaches_nothing_and_its_id_is_known(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        client, event = service.client, {**ONE, "id": "e1"}
        before = (await client.post("/predict", json=ONE)).json()["predictions"]
        told = (await client.post("/learn", json={**event, "weight": 0})).json()
        assert (told["accepted"], told["duplicates"]) == (1, 0)
        assert (await client.post("/predict", json=ONE)).json()["predictions"] == before
        told = (await client.post("/learn", json=event)).json()
        assert (told["accepted"], told["duplicates"]) == (0, 1)
