"""Errors on the wire: one table, and a last resort that says nothing."""

from __future__ import annotations

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
