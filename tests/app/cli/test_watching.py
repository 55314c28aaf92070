"""`clickfold stats --watch` over real lines: on a terminal, in a pipe, as JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.cli.watching import one_line, view, watch
from tests.app.http_service import running


async def real_lines(redis_url: str, folder: Path) -> list[dict[str, Any]]:
    async with running(redis_url, folder) as service:
        examples = [{"label": i % 2, "features": {"a": str(i % 5)}} for i in range(500)]
        await service.client.post("/learn", json={"examples": examples})
        reply = await service.client.get("/stats/stream", params={"seconds": "1.3"})
        return [json.loads(line) for line in reply.text.splitlines()]


async def test_every_form(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = await real_lines(redis_url, tmp_path)
    assert lines
    screen = io.StringIO()
    watch(lines, False, Console(file=screen, force_terminal=True, width=120))
    for text in ("normalized entropy", "500 examples", "requests to learn", "fsync", "1-3"):
        assert text in screen.getvalue()
    watch(lines, True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines
    watch(lines, False, Console(file=io.StringIO(), force_terminal=False))
    (first, *_) = capsys.readouterr().out.splitlines()
    assert "500 examples" in first
    assert f"AUC {lines[0]['window']['auc']:.4f}" in first


def test_a_model_that_is_not_served() -> None:
    line = {"model": "ads", "state": "stuck", "detail": "the entry at 1-2", "learn": False}
    assert one_line(line) == "ads: stuck: the entry at 1-2"
    screen = io.StringIO()
    Console(file=screen, width=80).print(view(line))
    assert "the entry at 1-2" in screen.getvalue()


def test_ctrl_c_ends_it() -> None:
    def lines() -> Any:
        yield {"model": "ads", "state": "loading", "learn": False}
        raise KeyboardInterrupt

    watch(lines(), True)
