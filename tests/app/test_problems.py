"""Errors on the wire: one table, and a last resort that says nothing."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import Any

import pytest

from app import errors
from app.ingest import UnsupportedMediaType
from app.problems import CATALOGUE, Problem, problem_from
from app.replica import ModelReplica
from ftrl_core import errors as core
from ftrl_core.errors import ClickfoldError
from tests.app.http_service import running

TABLE: list[tuple[ClickfoldError, int, str, dict[str, Any]]] = [
    (core.BadBody("x"), 400, "bad-body", {}),
    (core.BadExample("x", 2, "/examples/2"), 422, "bad-example", {"row": 2}),
    (core.TooLarge("x", 3, None), 413, "too-large", {"row": 3}),
    (core.BadConfig("x"), 422, "bad-config", {}),
    (core.BadSnapshot("x"), 422, "bad-snapshot", {}),
    (UnsupportedMediaType("x"), 415, "media-type", {}),
    (errors.ModelNotFound("x"), 404, "model-not-found", {}),
    (errors.Conflict("model-exists", "x"), 409, "model-exists", {}),
    (errors.IdempotencyConflict("x"), 422, "idempotency-conflict", {}),
    (errors.Unavailable("x", "busy", "not_learned", 2.0), 503, "busy", {"retry_after": 2.0}),
    (errors.Unavailable("x", "lost", "unknown"), 503, "lost", {"retry_after": None}),
    (errors.Unavailable("x", "lost", "unknown", 1.0), 503, "lost", {"outcome": "unknown"}),
    (errors.Unavailable("x", "wait"), 503, "wait", {"retry_after": 1.0, "outcome": None}),
    (errors.RedisAway("x"), 503, "redis-away", {"retry_after": 1.0}),
    (errors.LogFull("x", 3.0), 503, "log-full", {"retry_after": 3.0}),
    (errors.AppendUnknown("x"), 503, "unavailable", {"outcome": "unknown", "retry_after": None}),
    (errors.ModelGone("x"), 404, "model-not-found", {}),
    (errors.WrongEpoch(3), 503, "unavailable", {}),
    (core.BadEntry("x"), 500, "internal-error", {}),
]


@pytest.mark.parametrize(("error", "status", "slug", "fields"), TABLE)
def test_errors_and_their_problems(
    error: ClickfoldError, status: int, slug: str, fields: dict[str, Any]
) -> None:
    problem = problem_from(error)
    assert (problem.status, problem.slug) == (status, slug)
    for name, value in fields.items():
        assert getattr(problem, name) == value


def test_the_document_leaves_out_what_does_not_apply() -> None:
    assert Problem("not-found", "x").document() == {
        "type": "/problems/not-found",
        "title": CATALOGUE["not-found"].title,
        "status": 404,
        "detail": "x",
    }


class _Unforeseen(RuntimeError):
    pass


async def test_the_last_resort_says_nothing_and_logs(
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: object, **__: object) -> None:
        broken_at_once()

    def broken_at_once(*_: object) -> None:
        raise _Unforeseen("secret")

    async with running(redis_url, tmp_path) as service:
        await service.hub.get("default")
        monkeypatch.setattr(ModelReplica, "stats", broken)
        monkeypatch.setattr(ModelReplica, "submit", broken_at_once)
        with caplog.at_level(logging.ERROR):
            learned = await service.client.post("/learn", json={"label": 1, "features": {}})
            stats = await service.client.get("/stats")
        for reply in (learned, stats):
            assert reply.status_code == 500
            assert reply.headers["content-type"] == "application/problem+json"
            assert "secret" not in reply.text
        assert learned.json()["outcome"] == "unknown"
        assert "secret" in caplog.text
        monkeypatch.undo()


def _slugs_in_the_code() -> set[str]:
    """Every string that is handed to an error which becomes a problem of that type."""
    places = {"Problem": 0, "Conflict": 0, "Throttled": 0, "Unavailable": 1, "not_learned": 1}
    found = set()
    for path in (Path(__file__).parents[2] / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = places.get(node.func.id)
                if place is not None and len(node.args) > place:
                    slugs = ast.walk(node.args[place])
                    found |= {one.value for one in slugs if isinstance(one, ast.Constant)}
    return {slug for slug in found if isinstance(slug, str)}


async def test_every_type_of_problem_has_a_page(redis_url: str, tmp_path: Path) -> None:
    slugs = _slugs_in_the_code()
    assert {"busy", "not-stuck", "rate-exceeded", "memory-limit", "redis-away"} <= slugs
    assert slugs <= CATALOGUE.keys()
    async with running(redis_url, tmp_path) as service:
        listed = (await service.client.get("/problems")).json()["problems"]
        assert [one["type"] for one in listed] == [f"/problems/{slug}" for slug in CATALOGUE]
        for one in listed:
            assert (await service.client.get(one["type"])).json() == one
            assert one["advice"]
            assert 400 <= one["status"] < 600
