"""A server that stops keeping its promise under way and keeps it again: learning, probes, stats."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app import server_watch
from app.embedded_server import EmbeddedServer
from tests.app.http_service import Service, running
from tests.recovery.harness import until, until_async

ONE = {"label": 1, "features": {"ad": "a9"}}
pytestmark = pytest.mark.compat


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_watch, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(server_watch, "REFUSED_SECONDS", 0.1)


async def _set(service: Service, setting: str, value: str) -> None:
    await service.hub.connections.write_command("CONFIG", "SET", setting, value)


@pytest.mark.parametrize(
    ("setting", "bad", "good"),
    [
        ("appendfsync", "everysec", "always"),
        ("appendonly", "no", "yes"),
        ("no-appendfsync-on-rewrite", "yes", "no"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
async def test_a_setting_changed_under_way_stops_learning_until_it_is_right_again(
    redis_url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    setting: str,
    bad: str,
    good: str,
) -> None:
    async with running(redis_url, tmp_path) as service:
        client = service.client
        learned = (await client.post("/learn", json=ONE)).json()
        assert learned["durability"] == "fsync"
        with caplog.at_level(logging.WARNING):
            await _set(service, setting, bad)
            await until(lambda: service.hub.connections.refusal, "it is noticed")
            refused = await client.post("/learn", json=ONE)
            assert (refused.status_code, refused.json()["outcome"]) == (503, "not_learned")
            assert refused.json()["type"] == "/problems/not-durable"
            assert setting in refused.json()["detail"]
            assert refused.headers["retry-after"] == "1"
            assert (await client.post("/predict", json=ONE)).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            ready = await client.get("/readyz?for=learn")
            assert (ready.status_code, ready.json()["refused"]) == (503, setting)
            stats = (await client.get("/stats")).json()
            assert f"{setting} {bad}" in stats["durability_refused"]
            assert (stats["learn"], stats["position"]) == (False, learned["position"])
            await _set(service, setting, good)

            async def ready_again() -> bool:
                return bool((await client.get("/readyz?for=learn")).status_code == 200)

            await until_async(ready_again, "it recovers by itself")
        assert (await client.post("/learn", json=ONE)).status_code == 200
        assert (await client.get("/stats")).json()["durability_refused"] is None
        assert f"learning is refused ({setting})" in caplog.text
        assert "keeps the durability promised again" in caplog.text


async def test_a_server_made_a_replica_is_refused_by_its_role(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path) as service:
        await service.hub.connections.write_command("REPLICAOF", "127.0.0.1", "1")
        await until(lambda: service.hub.connections.refusal, "it is noticed")
        refused = await service.client.post("/learn", json=ONE)
        assert refused.status_code == 503
        await service.hub.connections.write_command("REPLICAOF", "NO", "ONE")
        await until(lambda: service.hub.connections.refusal is None, "it recovers")
        assert (await service.client.post("/learn", json=ONE)).status_code == 200


async def test_a_new_connection_is_reason_enough_to_look(
    redis_server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_watch, "LOOK_SECONDS", 3600.0)
    async with running(redis_server.url, tmp_path) as service:
        await service.client.post("/learn", json=ONE)
        await _set(service, "appendonly", "no")
        await service.hub.connections.write_command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: service.hub.connections.refusal, "it is noticed")


async def test_every_answer_says_which_durability(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, durability="everysec") as service:
        assert (await service.client.post("/learn", json=ONE)).json()["durability"] == "everysec"
        assert (await service.client.get("/stats")).json()["durability"] == "everysec"
        assert (await service.client.get("/models/default")).json()["durability"] == "everysec"
