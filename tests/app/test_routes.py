"""Models, snapshots and what is observed, route by route."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.embedded_server import EmbeddedServer
from tests.app.http_service import SMALL, Service, chunks, raw_request, running

STATS = {
    "model",
    "position",
    "digest",
    "state_digest",
    "examples",
    "duplicates",
    "log_loss",
    "auc",
    "normalized_entropy",
    "calibration",
    "window",
    "deduplication_window_seconds",
    "durability",
    "stale_seconds",
    "config",
}


def examples(first: int, count: int) -> dict[str, Any]:
    """A body of distinct examples."""
    rows = range(first, first + count)
    return {
        "examples": [
            {"label": int(i % 3 == 0), "features": {"ad": f"a{i % 5}", "n": i / 100}} for i in rows
        ]
    }


async def learn(service: Service, first: int, count: int, model: str = "default") -> None:
    """Learn some examples."""
    reply = await service.client.post(f"/models/{model}/learn", json=examples(first, count))
    assert reply.status_code == 200, reply.text


async def test_life_of_a_model(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client = service.client
        made = await client.put("/models/ads", json={**SMALL, "optimizer": {"beta": 0.5}})
        assert made.status_code == 201
        body = made.json()
        assert body["config"]["optimizer"]["beta"] == 0.5
        assert min(body["config"]["optimizer"]["learning_rate"]) > 0
        assert body["config"]["table_bits"] == SMALL["table_bits"]
        same = await client.put("/models/ads", json={**SMALL, "optimizer": {"beta": 0.5}})
        assert same.status_code == 200
        assert same.json()["incarnation"] == body["incarnation"]
        replaced = await client.put("/models/ads", json=SMALL)
        assert replaced.status_code == 201
        assert replaced.json()["incarnation"] != body["incarnation"]
        await learn(service, 0, 10, "ads")
        refused = await client.put("/models/ads", json={**SMALL, "hash_seed": 7})
        assert refused.status_code == 409
        described = (await client.get("/models/ads")).json()
        assert described["examples"] == 10
        assert described["memory_bytes"] > 8 << SMALL["table_bits"]
        names = [one["model"] for one in (await client.get("/models")).json()["models"]]
        assert names == ["ads", "default"]
        assert (await client.delete("/models/ads")).status_code == 204
        assert (await client.get("/models/ads")).status_code == 404
        assert (await client.post("/models/ads/predict", json=examples(0, 1))).status_code == 404
        again = await client.put("/models/ads", json=SMALL)
        assert again.status_code == 201
        assert again.json()["examples"] == 0


async def test_patch_changes_a_live_model(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client = service.client
        await learn(service, 0, 30)
        probe = examples(0, 5)
        before = (await client.post("/predict", json=probe)).json()["predictions"]
        grown = await client.patch("/models/default", json={"table_bits": 14})
        assert grown.status_code == 200, grown.text
        assert grown.json()["config"]["table_bits"] == 14
        assert (await client.post("/predict", json=probe)).json()["predictions"] == before
        for change in ({"hash_seed": 3}, {"table_bits": 13}, {"deduplication_window": 7}):
            refused = await client.patch("/models/default", json=change)
            assert refused.status_code == 409, refused.text
        bad = await client.patch("/models/default", json={"optimizer": {"learning_rate": -1}})
        assert bad.status_code == 422
        assert bad.json()["type"] == "/problems/bad-config"
        large = await client.patch("/models/default", json={"table_bits": 30})
        assert (large.status_code, large.json()["type"]) == (409, "/problems/memory-limit")


LIVE_CHANGES: list[dict[str, Any]] = [
    {"learning_rate": 0.05},
    {"learning_rate": [0.1, 0.2, 0.4, 0.8], "beta": 0.5},
    {"learning_rate_power": -0.4},
]


@pytest.mark.parametrize("optimizer", LIVE_CHANGES, ids=str)
async def test_a_live_change_does_not_jump(
    optimizer: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        await learn(service, 0, 30)
        probe = examples(0, 5)
        before = (await service.client.post("/predict", json=probe)).json()["predictions"]
        changed = await service.client.patch("/models/default", json={"optimizer": optimizer})
        assert changed.status_code == 200, changed.text
        after = (await service.client.post("/predict", json=probe)).json()["predictions"]
        assert after == pytest.approx(before, rel=1e-5)
        await learn(service, 30, 60)


async def test_uncertainty_is_told_when_asked_for(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        await learn(service, 0, 30)
        plain = (await service.client.post("/predict", json=examples(0, 5))).json()
        assert "uncertainty" not in plain
        url = "/predict?uncertainty=true"
        told = (await service.client.post(url, json=examples(0, 5))).json()
        assert told["predictions"] == plain["predictions"]
        assert len(told["uncertainty"]) == 5
        assert all(0 < u <= 30 for u in told["uncertainty"])
        refused = await service.client.post("/predict?uncertainty=1", json=examples(0, 5))
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/bad-query")


OPTIONS: list[dict[str, Any]] = [
    {"optimizer": {"learning_rate": {"class_name": "CosineDecay", "config": {
        "initial_learning_rate": 0.1, "decay_steps": 1000, "warmup_target": 0.3,
        "warmup_steps": 100}}}},
    {"optimizer": {"learning_rate": [0.1, 0.5], "clipvalue": 1.0}, "numbers": "log_bins"},
    {"admission": {"kind": "bloom", "count": 1, "bits": 12}, "sampling_rate": 0.5},
    {"optimizer": {"learning_rate": 0.1, "learning_rate_power": -0.4}, "rates_from": "counts"},
]  # fmt: skip


@pytest.mark.parametrize("given", OPTIONS, ids=str)
async def test_every_option_of_a_model_over_http(
    given: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        made = await service.client.put("/models/ads", json={**SMALL, **given})
        assert made.status_code == 201, made.text
        again = await service.client.put("/models/ads", json=made.json()["config"])
        assert again.status_code == 200, "the whole configuration is the same configuration"
        await learn(service, 0, 40, "ads")
        reply = await service.client.post("/models/ads/predict", json=examples(0, 5))
        assert all(0 < p < 1 for p in reply.json()["predictions"])


BAD_CONFIGS: list[tuple[str, bytes, str, int]] = [
    ("unknown name", b'{"QZXJ": 1}', "application/json", 422),
    ("bad value", b'{"table_bits": 99}', "application/json", 422),
    ("text for a number", b'{"optimizer": {"beta": "QZXJ"}}', "application/json", 422),
    (
        "an unknown schedule",
        b'{"optimizer": {"learning_rate": {"class_name": "Q", "config": {}}}}',
        "application/json",
        422,
    ),
    ("a schedule of nothing", b'{"optimizer": {"learning_rate": {}}}', "application/json", 422),
    (
        "nine lanes",
        b'{"optimizer": {"learning_rate": [1,1,1,1,1,1,1,1,1]}}',
        "application/json",
        422,
    ),
    ("admission by nothing", b'{"admission": {"kind": "poisson"}}', "application/json", 422),
    ("optimizer a list", b'{"optimizer": []}', "application/json", 422),
    ("a list", b"[]", "application/json", 422),
    ("cut off", b'{"table', "application/json", 400),
    ("deep", b"[" * 60_000, "application/json", 400),
    ("not utf-8", b'{"\xff": 1}', "application/json", 400),
    ("a form", b"table_bits=9", "application/x-www-form-urlencoded", 415),
    ("text, as a web page could send it", b"{}", "text/plain", 415),
    ("large", b" " * 70_000, "application/json", 413),
    ("snapshot and more", b'{"from_snapshot": "a/b", "table_bits": 9}', "application/json", 422),
    ("no snapshot name", b'{"from_snapshot": "a/../b"}', "application/json", 422),
    ("snapshot missing", b'{"from_snapshot": "a/b"}', "application/json", 404),
]


async def test_bad_configurations(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        for name, body, kind, status in BAD_CONFIGS:
            reply = await service.client.put(
                "/models/ads", content=body, headers={"content-type": kind}
            )
            assert reply.status_code == status, (name, reply.text)
            assert "QZXJ" not in reply.text
            assert reply.headers["content-type"] == "application/problem+json"
        assert (await service.client.get("/models/ads")).status_code == 404


@pytest.mark.parametrize("name", ["ADS", "-ads", ".ads", "a" * 65, "a b", "a:b", "{a}", "\u00e9"])
async def test_bad_model_names(redis_url: str, tmp_path: Path, name: str) -> None:
    async with running(redis_url, tmp_path) as service:
        for method, path, status in (
            ("PUT", f"/models/{name}", 422),
            ("GET", f"/models/{name}", 404),
            ("DELETE", f"/models/{name}", 404),
            ("GET", f"/models/{name}/stats", 404),
            ("POST", f"/models/{name}/learn", 404),
        ):
            reply = await raw_request(service.app, method, path, raw_path=b"/", pieces=chunks(b""))
            assert reply.status == status, (method, path, reply.body)


async def test_snapshot_and_restore(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client = service.client
        await learn(service, 0, 50)
        probe = examples(0, 20)
        before = (await client.post("/predict", json=probe)).json()["predictions"]
        taken = await client.post("/admin/snapshots", json={"name": "one"})
        assert taken.status_code == 201, taken.text
        assert taken.json()["name"] == "one"
        assert taken.json()["examples"] == 50
        twice = await client.post("/admin/snapshots", json={"name": "one"})
        assert twice.status_code == 409
        await learn(service, 50, 50)
        learned = (await client.get("/stats")).json()["digest"]
        restored = await client.post("/admin/snapshots/one/restore")
        assert restored.status_code == 200, restored.text
        assert restored.json()["position"].startswith("2-")
        assert (await client.get("/stats")).json()["digest"] == taken.json()["digest"]
        assert (await client.post("/predict", json=probe)).json()["predictions"] == before
        await learn(service, 50, 50)
        assert (await client.get("/stats")).json()["digest"] == learned


async def test_a_model_from_a_snapshot(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client = service.client
        await learn(service, 0, 50)
        taken = (await client.post("/admin/snapshots")).json()
        made = await client.put("/models/copy", json={"from_snapshot": f"default/{taken['name']}"})
        assert made.status_code == 201, made.text
        assert (await client.get("/models/copy/stats")).json()["digest"] == taken["digest"]


async def test_snapshot_files_travel(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client = service.client
        await learn(service, 0, 50)
        await client.post("/admin/snapshots", json={"name": "one"})
        file = await client.get("/admin/snapshots/one/file")
        assert file.status_code == 200
        assert int(file.headers["content-length"]) == len(file.content)
        put = await client.put("/admin/snapshots/two/file", content=file.content)
        assert put.status_code == 201, put.text
        listed = (await client.get("/admin/snapshots")).json()["snapshots"]
        assert sorted(one["name"] for one in listed) == ["one", "two"]
        one = (await client.get("/admin/snapshots/one")).json()
        two = (await client.get("/admin/snapshots/two")).json()
        assert {**one, "name": ""} == {**two, "name": ""}
        assert (await client.delete("/admin/snapshots/one")).status_code == 204
        assert (await client.delete("/admin/snapshots/one")).status_code == 404
        assert (await client.get("/admin/snapshots/one/file")).status_code == 404
        assert (await client.post("/admin/snapshots/two/restore")).status_code == 200


async def test_a_damaged_upload_is_never_visible(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client = service.client
        await learn(service, 0, 50)
        await client.post("/admin/snapshots", json={"name": "one"})
        content = (await client.get("/admin/snapshots/one/file")).content
        before = await service.digest()
        bad = [content[:-1], content + b"x", b"", b"QZXJ" * 100]
        for offset in range(0, len(content), 997):
            damaged = bytearray(content)
            damaged[offset] ^= 0x40
            bad.append(bytes(damaged))
        for body in bad:
            reply = await client.put("/admin/snapshots/bad/file", content=body)
            assert reply.status_code == 422, reply.text
            assert reply.json()["type"] == "/problems/bad-snapshot"
            assert len(reply.json()["detail"]) > 10
        assert (await client.get("/admin/snapshots/bad")).status_code == 404
        assert await service.digest() == before
        files = {path.name for path in (service.settings.snapshots_path() / "default").iterdir()}
        assert files == {"one.cfs"}


async def test_an_upload_has_a_limit_of_its_own(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.routes_snapshots.UPLOAD_BYTES_MAX", 1000)
    async with running(redis_url, tmp_path) as service:
        path = "/admin/snapshots/big/file"
        stated = await raw_request(service.app, "PUT", path, headers={"content-length": "1001"})
        counted = await raw_request(service.app, "PUT", path, pieces=chunks(b"x" * 600, b"x" * 600))
        assert (stated.status, counted.status) == (413, 413)
        left = await raw_request(
            service.app, "PUT", path, pieces=[{**chunks(b"x")[0]}]
        )  # the client is gone after one piece
        assert left.status == 0
        assert list((service.settings.snapshots_path() / "default").iterdir()) == []


async def test_snapshot_names(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        for name in ("../x", "UPPER", "", ".hidden", "a" * 65, "a/b", 7, ["x"]):
            reply = await service.client.post("/admin/snapshots", json={"name": name})
            assert reply.status_code == 422, reply.text
        extra = await service.client.post("/admin/snapshots", json={"name": "x", "QZXJ": 1})
        assert extra.status_code == 422


async def test_another_snapshot_directory_is_refused(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        assert (await service.client.get("/admin/snapshots")).status_code == 200
    async with running(redis_url, tmp_path, snapshot_dir=tmp_path / "other") as service:
        reply = await service.client.get("/admin/snapshots")
        assert reply.status_code == 503
        assert reply.json()["type"] == "/problems/snapshot-store-differs"


async def test_stats_and_metrics(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        client = service.client
        await learn(service, 0, 30)
        stats = (await client.get("/stats")).json()
        assert stats.keys() >= STATS
        assert (stats["examples"], stats["stale_seconds"]) == (30, 0.0)
        for _ in range(20):
            await client.get("/no/such/path")
        text = (await client.get("/metrics")).text
        assert 'clickfold_examples_total{model="default"} 30.0' in text
        assert 'clickfold_position_seq{model="default",replica="0"} 3.0' in text
        assert 'method="GET",route="unknown",status="404"} 20.0' in text
        assert "no/such" not in text
        one = (await client.get("/models/default/metrics")).text
        assert 'clickfold_examples_total{model="default"} 30.0' in one


async def test_skip_is_refused_when_nothing_is_stuck(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        await learn(service, 0, 3)
        reply = await service.client.post("/admin/skip", json={"position": "1-2"})
        assert reply.status_code == 409, reply.text
        for body in ({}, {"position": 7}, {"position": "x"}):
            reply = await service.client.post("/admin/skip", json=body)
            assert reply.status_code == 422


async def test_while_redis_is_away(redis_server: EmbeddedServer, tmp_path: Path) -> None:
    async with running(redis_server.url, tmp_path) as service:
        client = service.client
        await learn(service, 0, 30)
        probe = examples(0, 3)
        before = (await client.post("/predict", json=probe)).json()["predictions"]
        redis_server.stop()
        async with asyncio.timeout(10):
            refused = await client.post("/learn", json=probe)
            assert refused.status_code == 503
            assert refused.json()["outcome"] in ("not_learned", "unknown")
            refused = await client.post("/learn", json=probe)
            assert refused.status_code == 503
            assert refused.json()["outcome"] == "not_learned"
            assert "retry-after" in refused.headers
            reply = await client.post("/predict", json=probe)
            assert reply.status_code == 200
            assert reply.json()["predictions"] == before
            assert reply.json()["stale_seconds"] > 0
            assert (await client.get("/readyz")).status_code == 200
            assert (await client.get("/readyz")).json()["learn"] is False
            assert (await client.get("/readyz?for=learn")).status_code == 503
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get("/")).status_code == 200
            assert (await client.get("/models")).status_code == 200
            for path in ("/admin/snapshots", "/models/unheard-of"):
                assert (await client.get(path)).status_code == 503, path


async def test_stats_while_redis_is_away(redis_server: EmbeddedServer, tmp_path: Path) -> None:
    async with running(redis_server.url, tmp_path) as service:
        await learn(service, 0, 30)
        redis_server.stop()
        await service.client.post("/learn", json=examples(0, 3))
        async with asyncio.timeout(10):
            stats = await service.client.get("/stats")
            assert stats.status_code == 200
            assert stats.json()["stale_seconds"] > 0
