"""/predict?explain=true: names, sums, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from app.hot_path import EXPLAINED_ROWS_MAX
from app.schemas import PredictReply
from tests.app.http_service import Service, running

BODY: dict[str, Any] = {
    "shared": {"user": "u1"},
    "examples": [
        {"features": {"ad": "a1", "tags": ["x", "y"], "price": 2.5, "new": True, "old": False}},
        {"features": {"ad": "never seen"}},
    ],
}


async def taught(service: Service, model: str = "") -> None:
    example = {"features": {"user": "u1", "ad": "a1", "tags": ["x"], "price": 2.5}, "label": 1}
    reply = await service.client.post(f"{model}/learn", json={"examples": [example] * 20})
    assert reply.status_code == 200, reply.text


async def explained(service: Service, body: Any = BODY, model: str = "") -> dict[str, Any]:
    reply = await service.client.post(f"{model}/predict?explain=true", json=body)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    PredictReply.model_validate(told)
    return told


def assert_sums(told: dict[str, Any]) -> None:
    for p, one in zip(told["predictions"], told["explanations"], strict=True):
        total = one["bias"] + sum(item["contribution"] for item in one["contributions"])
        assert total == pytest.approx(math.log(p / (1 - p)), abs=1e-6)
        assert one["logit"] == pytest.approx(total, abs=1e-6)


async def test_a_mixture_is_explained_by_name(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        await taught(service)
        told = await explained(service)
        assert_sums(told)
        first, second = (one["contributions"] for one in told["explanations"])
        assert first[-1].keys() == {"name", "contribution"}
        assert first[-1]["name"] == second[-1]["name"] == "mixture"
        named = {(item["name"], item["value"], item.get("view")) for item in first[:-1]}
        assert named == {
            ("user", "u1", None), ("ad", "a1", None), ("tags", "x", None), ("tags", "y", None),
            ("price", 2.5, "logarithm"), ("price", 2.5, "bin"), ("new", 1.0, "logarithm"),
            ("new", 1.0, "bin"),
        }  # fmt: skip
        assert all(len(item["weight"]) == 4 for item in first[:-1])
        assert {item["name"] for item in second[:-1]} == {"user", "ad"}
        plain = (await service.client.post("/predict", json=BODY)).json()
        assert plain["predictions"] == told["predictions"]
        assert "explanations" not in plain


async def test_one_rate_has_plain_numbers_and_tells_what_l1_holds(
    redis_url: str, tmp_path: Path
) -> None:
    config = {"optimizer": {"learning_rate": 0.1, "l1_regularization_strength": 50.0}}
    async with running(redis_url, tmp_path) as service:
        made = await service.client.put("/models/held", json=config)
        assert made.status_code == 201, made.text
        await taught(service, "/models/held")
        told = await explained(service, model="/models/held")
        assert_sums(told)
        by_name = {i["name"]: i for i in told["explanations"][0]["contributions"]}
        assert by_name["ad"]["held_at_zero"] is True
        assert by_name["ad"]["weight"] == 0.0
        assert by_name["ad"]["n"] > 0.0
        assert by_name["price"]["x"] == by_name["price"]["value"] == 2.5
        assert "mixture" not in by_name


async def test_ndjson_and_no_features_are_explained(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        await taught(service)
        reply = await service.client.post(
            "/predict?explain=true",
            content=b'{"features":{}}\n{"features":{"ad":"a1"}}\n',
            headers={"content-type": "application/x-ndjson"},
        )
        told = reply.json()
        assert_sums(told)
        assert [i["name"] for i in told["explanations"][0]["contributions"]] == ["mixture"]
        assert told["explanations"][1]["contributions"][0]["name"] == "ad"
        assert_sums(await explained(service, {"features": {}}))


async def test_too_many_examples_and_other_words_are_refused(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        many: dict[str, Any] = {"examples": [{"features": {}}] * (EXPLAINED_ROWS_MAX + 1)}
        for url, body in (("/predict?explain=true", many), ("/predict?explain=1", BODY)):
            refused = await service.client.post(url, json=body)
            assert (refused.status_code, refused.json()["type"]) == (422, "/problems/bad-query")
