"""/stats/table and /stats/features, and the names that samples of bodies teach."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app import name_dictionary, table_looks
from app.ingest.decoding import Decoded
from app.name_dictionary import NameDictionary, interval_of
from ftrl_core.batch import ExampleBatch
from ftrl_core.config import ModelConfig
from ftrl_core.model import Model
from tests.app.http_service import Service, running

EMPTY = ExampleBatch.from_examples([])


@pytest.fixture
async def service(redis_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    async with running(redis_url, tmp_path) as service:
        yield service


async def teach(service: Service, site: str, label: int, count: int = 200) -> None:
    example = {"label": label, "features": {"site": site, "hour": "3"}}
    reply = await service.client.post("/learn", json={"examples": [example] * count})
    assert reply.status_code == 200


async def names_known(service: Service, count: int) -> NameDictionary:
    dictionary = (await service.hub.get("default")).dictionary
    for _ in range(200):
        if len(dictionary) >= count:
            return dictionary
        await asyncio.sleep(0.02)
    raise AssertionError(len(dictionary))


async def test_the_largest_weights_have_their_names(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_dictionary, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(table_looks, "KEPT_SECONDS", -1.0)
    monkeypatch.setattr(table_looks, "REMEMBERED_EVERY_SECONDS", 0.0)
    await teach(service, "good", 1)
    await names_known(service, 2)
    await asyncio.sleep(0.05)
    await teach(service, "bad", 0)
    await names_known(service, 3)
    first = (await service.client.get("/stats/features")).json()
    assert first["since"] is None
    assert first["by_change"] == []
    model = (await service.hub.get("default")).require_model()
    rows = {row["names"][0]: row for row in first["by_weight"]}
    assert set(rows) == {"site=good", "site=bad", "hour=3"}
    assert rows["site=good"]["weight"] > 0 > rows["site=bad"]["weight"]
    for name in ("good", "bad"):
        record = model.record("site", name)
        weight = float(model.coefficients.posterior @ record["weight"])
        assert rows[f"site={name}"]["slot"] == record["slot"]
        assert rows[f"site={name}"]["weight"] == pytest.approx(weight, rel=1e-5)
    await teach(service, "bad", 1, 900)
    second = (await service.client.get("/stats/features", params={"top": "1"})).json()
    assert second["since"]["position"] == first["position"]
    (changed,) = second["by_change"]
    assert changed["names"] == ["site=bad"]
    assert changed["before"] == pytest.approx(rows["site=bad"]["weight"])
    assert changed["change"] == pytest.approx(changed["weight"] - changed["before"], rel=1e-5)
    reply = await service.client.get("/stats/features", params={"format": "csv", "top": "2"})
    lines = list(csv.DictReader(io.StringIO(reply.text)))
    assert [line["by"] for line in lines] == ["by_weight"] * 2 + ["by_change"] * 2
    for bad in ("0", "x", "1001", ""):
        assert (await service.client.get(f"/stats/features?top={bad}")).status_code == 422


async def test_the_table_tells_occupancy_and_collisions(service: Service) -> None:
    await teach(service, "good", 1)
    dictionary = await names_known(service, 2)
    model = (await service.hub.get("default")).require_model()
    slot = model.record("site", "good")["slot"]
    dictionary._names[slot + 4096] = "other=one"  # another hash in the same slot of 4,096
    found = (await service.client.get("/models/default/stats/table")).json()
    assert (found["slots"], found["used"], found["occupancy"]) == (4096, 2, 2 / 4096)
    assert sum(found["weights"]["count"]) == 2
    names = found["names"]
    assert (names["known"], names["slots"], names["sharing"]) == (3, 2, 2)
    assert names["collisions"] == [{"slot": slot, "names": ["site=good", "other=one"]}]
    reply = await service.client.get("/stats/table", params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert sum(int(row["count"]) for row in rows if row["of"] == "n") == 2


async def test_slices_have_names(service: Service) -> None:
    await service.client.patch("/models/default", json={"slices": ["site"]})
    await teach(service, "good", 1)
    await names_known(service, 2)
    values = (await service.client.get("/stats/slices")).json()["slices"][0]["values"]
    assert [one["value"] for one in values] == ["good"]


async def learned_from(bodies: list[tuple[bytes, str]], config: ModelConfig) -> NameDictionary:
    dictionary = NameDictionary()
    for body, kind in bodies:
        dictionary.feed(Decoded(EMPTY, body, kind), config)
        await asyncio.gather(*dictionary._tasks)
    return dictionary


async def test_every_kind_of_feature_has_a_name() -> None:
    features: dict[str, Any] = {"a": "x", "tags": ["y", "z"], "new": True, "price": 2.5, "no": None}
    body = json.dumps({"shared": {"user": "u"}, "examples": [{"features": features}]}).encode()
    config = ModelConfig.from_dict({"table_bits": 20})
    dictionary = await learned_from([(body, "application/json")], config)
    model, names = Model(config), set(dictionary._names.values())
    assert names == {
        "a=x", "tags=y", "tags=z", "new", "new in [1, 1.5)", "price", "price in [2, 3)", "user=u",
    }  # fmt: skip
    by_slot = dictionary.by_slot(1 << 20)
    assert by_slot[model.record("a", "x")["slot"]] == ["a=x"]
    assert by_slot[model.record("price")["slot"]] == ["price"]
    batch = ExampleBatch.from_examples([{"label": 0, "features": {"price": 2.5}}])
    slots = {one.slot for one in model.explain(batch)[0].coordinates}
    assert slots == {slot for slot, known in by_slot.items() if "price" in known[0]}


async def test_lines_are_sampled_all_over_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_dictionary, "BODY_BYTES_MAX", 2000)
    lines = [json.dumps({"features": {"n": str(i)}}).encode() for i in range(2000)]
    config = ModelConfig.from_dict({"numbers": "raw"})
    body = b"\n".join(lines) + b"\n"
    dictionary = await learned_from([(body, name_dictionary.NDJSON)] * 30, config)
    known = {int(name.partition("=")[2]) for name in dictionary._names.values()}
    assert len(known) > 150
    assert min(known) < 400 < 1600 < max(known)


async def test_the_least_recently_seen_name_leaves_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_dictionary, "NAMES_MAX", 2)
    bodies = [json.dumps({"features": {"a": value}}).encode() for value in "xyxz"]
    config = ModelConfig.from_dict({})
    dictionary = await learned_from([(body, "application/json") for body in bodies], config)
    assert list(dictionary._names.values()) == ["a=x", "a=z"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "[1, 1.5)"), (3.9, "[3, 4)"), (-2.5, "(-3, -2]"), (1000.0, "[768, 1024)")],
)
def test_intervals_of_bins(value: float, shown: str) -> None:
    assert interval_of(value) == shown
