"""Limits: the page says what the code does, and what is beyond a limit is refused as it says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from app.limit_table import GROUPS
from app.problems import CATALOGUE, Problem
from app.request_body import SMALL_BYTES, BodyReader
from app.settings import Settings
from tests.app.http_service import running

LIMITS = [limit for limits in GROUPS.values() for limit in limits]


def test_every_limit_among_the_settings_is_in_the_table() -> None:
    of_clients = {"head_seconds", "body_seconds", "reply_seconds", "idle_seconds", "stop_seconds"}
    settings = {name for name in Settings.model_fields if name.startswith("limit_")} | of_clients
    assert settings <= {limit.setting for limit in LIMITS}


def test_every_answer_is_a_row_of_the_catalogue() -> None:
    for limit in LIMITS:
        for part in limit.answer.split(", "):
            status, _, slug = part.removeprefix("room is made, else ").partition(" ")
            if status.isdigit() and not slug.startswith("with"):
                assert CATALOGUE[slug].status == int(status), limit


def examples(*documents: dict[str, Any]) -> bytes:
    return json.dumps({"examples": documents}).encode()


def one(**fields: Any) -> dict[str, Any]:
    return {"label": 1, "features": {"a": "b"}, **fields}


# A setting, its value, a body at the limit, one beyond it.
CASES = [
    ("limit_body_bytes", 200, examples(one()) + b" " * 140, b" " * 201),
    ("limit_examples", 2, examples(one(), one()), examples(one(), one(), one())),
    (
        "limit_features",
        2,
        examples(one(features={"a": 1, "b": 2})),
        examples(one(features={"a": 1, "b": 2, "c": 3})),
    ),
    (
        "limit_request_features",
        3,
        examples(one(), one(), one()),
        examples(one(), one(), one(features={"a": 1, "b": 2})),
    ),
    ("limit_name_bytes", 3, examples(one(features={"é1": 1})), examples(one(features={"éé": 1}))),
    (
        "limit_value_bytes",
        3,
        examples(one(features={"a": "é1"})),
        examples(one(features={"a": "éé"})),
    ),
    (
        "limit_abs_value",
        10.0,
        examples(one(features={"a": -10})),
        examples(one(features={"a": -10.5})),
    ),
    ("limit_weight", 10.0, examples(one(weight=10)), examples(one(weight=10.5))),
    ("limit_id_chars", 3, examples(one(id="abc")), examples(one(id="abcd"))),
]


@pytest.mark.parametrize(("setting", "value", "within", "beyond"), CASES)
async def test_at_and_beyond(
    setting: str, value: float, within: bytes, beyond: bytes, redis_url: str, tmp_path: Path
) -> None:
    (limit,) = (limit for limit in LIMITS if limit.setting == setting)
    headers = {"content-type": "application/json"}
    async with running(redis_url, tmp_path, **{setting: value}) as service:
        for path in ("/learn", "/predict"):
            taken = await service.client.post(path, content=within, headers=headers)
            assert taken.status_code == 200, taken.text
            before = await service.digest()
            refused = await service.client.post(path, content=beyond, headers=headers)
            slug = refused.json()["type"].removeprefix("/problems/")
            assert f"{refused.status_code} {slug}" == limit.answer
            assert await service.digest() == before


async def test_a_small_body_that_is_large_when_read(redis_url: str, tmp_path: Path) -> None:
    body = gzip.compress(b" " * 100_000 + examples(one()))
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    async with running(redis_url, tmp_path, limit_decompressed_bytes=100_000) as service:
        before = await service.digest()
        refused = await service.client.post("/learn", content=body, headers=headers)
        assert refused.status_code == 413
        assert await service.digest() == before
        assert service.app.state.reader.in_flight_bytes == 0


async def test_small_bodies_are_taken_while_large_ones_hold_all_the_memory() -> None:
    reader = BodyReader(1 << 20, in_flight_max=1 << 20)
    large, small = bytes(1 << 20), bytes(SMALL_BYTES)

    async def read(body: bytes, *, chunked: bool = False) -> bytes:
        size = 4096 if chunked else len(body)
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        messages = [{"type": "http.request", "body": one, "more_body": True} for one in pieces]
        messages[-1]["more_body"] = False
        waiting = iter(messages)

        async def receive() -> Any:
            return next(waiting)

        return await reader.read({"headers": []}, receive)

    assert await read(large) == large
    for chunked in (False, True):
        assert await read(small, chunked=chunked) == small
        with pytest.raises(Problem) as refused:
            await read(large, chunked=chunked)
        assert refused.value.slug == "busy"
    reader.release(len(large))
    assert await read(large, chunked=True) == large
    reader.release(len(large))
    reader.release(len(small))
    assert reader.in_flight_bytes == 0
