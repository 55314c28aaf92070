"""Pages and documents: nothing from outside, every route described, replies as promised."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel

from app import schemas
from app.openapi import openapi_document
from app.problems import CATALOGUE
from app.route_table import ROUTES
from app.routes_pages import ASSETS
from tests.app.http_service import SMALL, Service, running

OUTSIDE = re.compile(r"""(?:src|href|url)\s*[=(:]\s*["']?\s*(?:https?:)?//""", re.IGNORECASE)
ONE = {"label": 1, "features": {"ad": "a9"}}


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
async def test_pages_load_nothing_from_outside(redis_url: str, tmp_path: Path, path: str) -> None:
    async with running(redis_url, tmp_path) as service:
        reply = await service.client.get(path)
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/html")
        assert "http://" not in reply.text
        assert "https://" not in reply.text
        assert not OUTSIDE.search(reply.text)
        assert re.match("default-src '(self|none)';", reply.headers["content-security-policy"])
        links = re.findall(r'(?:src|href)="([^"]+)"', reply.text)
        assert links
        for link in links:
            found = await service.client.get(link)
            assert found.status_code == 200, link


async def test_assets_are_a_fixed_list(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        for file, media_type in ASSETS.items():
            reply = await service.client.get(f"/docs/assets/{file}")
            assert reply.status_code == 200
            assert reply.headers["content-type"].startswith(media_type)
            assert len(reply.content) > 1000
        for file in ("core.py", "__init__.py", "x"):
            assert (await service.client.get(f"/docs/assets/{file}")).status_code == 404


async def test_the_page_shows_the_models(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        await service.client.post("/learn", json=ONE)
        page = (await service.client.get("/")).text
        assert "<td>default</td><td>1-3</td><td>1</td>" in page


async def test_the_openapi_document_is_complete(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        document = (await service.client.get("/openapi.json")).json()
        assert document == openapi_document(service.app)
    pages = {"/", "/assets/{file}", "/docs", "/redoc", "/openapi.json", "/docs/assets/{file}"}
    pages |= {"/problems", "/problems/{slug}"}
    for route in ROUTES:
        if route.template in pages:
            continue
        operations = document["paths"][route.template]
        assert {method.upper() for method in operations} == set(route.scopes)
        for method, operation in operations.items():
            where = f"{method} {route.template}"
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            assert operation.get("x-scope") == route.scopes[method.upper()], where
            named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", route.template)), where
    assert not _dangling(document, document)


def _dangling(node: Any, document: dict[str, Any]) -> list[str]:
    """References that lead nowhere."""
    if isinstance(node, list):
        return [found for item in node for found in _dangling(item, document)]
    if not isinstance(node, dict):
        return []
    found = [f for value in node.values() for f in _dangling(value, document)]
    reference = node.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix("#/components/schemas/")
        found += [] if name in document["components"]["schemas"] else [reference]
    return found


async def test_replies_have_the_promised_shape(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        for kind, reply in await _replies(service):
            body = reply.json()
            kind.model_validate(body, strict=True)
            if kind is not schemas.ReadyReply:
                extra = set(body) - set(kind.model_fields)
                assert not extra or kind.model_config.get("extra") == "allow", (kind, extra)


async def _replies(service: Service) -> list[tuple[type[BaseModel], httpx2.Response]]:
    client = service.client
    return [
        (schemas.LearnReply, await client.post("/learn", json=ONE)),
        (schemas.PredictReply, await client.post("/predict", json=ONE)),
        (schemas.StatsReply, await client.get("/stats")),
        (schemas.ModelReply, await client.put("/models/ads", json=SMALL)),
        (schemas.ModelListReply, await client.get("/models")),
        (schemas.SnapshotReply, await client.post("/admin/snapshots", json={"name": "one"})),
        (schemas.SnapshotListReply, await client.get("/admin/snapshots")),
        (schemas.RestoredReply, await client.post("/admin/snapshots/one/restore")),
        (schemas.ReadyReply, await client.get("/readyz")),
        (schemas.ProblemReply, await client.get("/nowhere")),
    ]


async def test_every_problem_has_a_page(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        listed = (await service.client.get("/problems")).json()["problems"]
        assert len(listed) == len(CATALOGUE)
        for one in listed:
            reply = await service.client.get(one["type"])
            assert reply.json() == one
        assert (await service.client.get("/problems/nothing")).status_code == 404


async def test_head_is_get_without_a_body(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        for path in ("/", "/stats", "/livez", "/models", "/openapi.json"):
            reply = await service.client.head(path)
            assert (reply.status_code, reply.content) == (200, b"")
        assert (await service.client.head("/nowhere")).status_code == 404
        assert (await service.client.head("/learn")).status_code == 405
