"""History and reliability over HTTP, as JSON and CSV; ftrl_core/test_curves.py has the oracle."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ftrl_core import reports
from ftrl_core.reports import Looked
from tests.app.http_service import Service, running


@pytest.fixture
async def service(redis_url: str, tmp_path: Path) -> AsyncIterator[Service]:
    async with running(redis_url, tmp_path) as service:
        examples = [
            {"label": int(i % 3 == 0), "features": {"site": f"s{i % 7}"}} for i in range(2500)
        ]
        reply = await service.client.post("/learn", json={"examples": examples})
        assert reply.status_code == 200
        yield service


@pytest.mark.parametrize("what", ["history", "reliability"])
async def test_the_document_is_the_folds_report(service: Service, what: str) -> None:
    found = (await service.client.get(f"/stats/{what}")).json()
    nested = (await service.client.get(f"/models/default/stats/{what}")).json()
    assert nested == found
    model = (await service.hub.get("default")).require_model()
    assert found.pop("model") == "default"
    assert found.pop("position") == str(model.position)
    assert found == getattr(reports, what)(Looked.at(model.metrics))


async def test_history_has_a_point_each_thousand_examples(service: Service) -> None:
    found = (await service.client.get("/stats/history")).json()
    assert found["examples"] == [1000, 2000]
    assert all(len(found[part][name]) == 2 for part in ("whole", "since") for name in found[part])


@pytest.mark.parametrize("what", ["history", "reliability"])
async def test_csv_has_the_same_columns(service: Service, what: str) -> None:
    found = (await service.client.get(f"/stats/{what}")).json()
    reply = await service.client.get(f"/stats/{what}", params={"format": "csv"})
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    outer, inner = ("since", "log_loss") if what == "history" else ("window", "clicks")
    assert [float(row[f"{outer}.{inner}"]) for row in rows] == found[outer][inner]
    assert (await service.client.get(f"/stats/{what}?format=xml")).status_code == 422


async def test_slices_are_named_live(service: Service) -> None:
    assert (await service.client.get("/stats/slices")).json()["slices"] == []
    changed = await service.client.patch("/models/default", json={"slices": ["site"]})
    assert changed.json()["config"]["slices"] == ["site"]
    examples = [{"label": i % 2, "features": {"site": f"s{i % 3}"}} for i in range(90)]
    await service.client.post(
        "/learn", json={"examples": [*examples, {"label": 1, "features": {}}]}
    )
    found = (await service.client.get("/stats/slices")).json()
    assert [one["name"] for one in found["slices"]] == ["site"]
    counts = [(one["kind"], one["examples"]) for one in found["slices"][0]["values"]]
    assert counts == [("value", 30)] * 3 + [("missing", 1)]
    assert found["overall"]["window"]["examples"] == 2591
    reply = await service.client.get("/stats/slices", params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert [int(row["recent.examples"]) for row in rows] == [30, 30, 30, 1]
