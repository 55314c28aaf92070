"""Commands about the program itself: demo, doctor, serve's flags, and how quickly help comes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.settings import Settings
from tests.app.cli.stub_service import StubService, running_stub


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*Settings.model_fields, "url", "key", "model"):
        monkeypatch.delenv(f"CLICKFOLD_{name.upper()}", raising=False)


@pytest.fixture
def stub() -> Iterator[StubService]:
    with running_stub() as service:
        yield service


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_demo_streams_to_a_running_service_and_compares_with_the_truth(stub: StubService) -> None:
    result = run("demo", "--url", stub.url, "--examples", 1000, "--batch", 300, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["examples"] == len(stub.learned) == 1000
    assert {path for method, path, _, _ in stub.requests if method == "POST"} == {
        "/models/demo/learn"
    }
    # The stub knows the base rate only, so the truth must be better.
    assert 0.1 < figures["truth_log_loss"] < figures["log_loss"]
    assert "truth avg" in result.stderr


def test_demo_ends_with_what_to_try_next(stub: StubService) -> None:
    result = run("demo", "--url", stub.url, "--examples", 100, "--rate", 10_000)
    assert result.exit_code == 0, result.output
    assert "Try next" in result.stdout


def test_doctor_finds_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    good = run("doctor", "--data-dir", tmp_path / "new", "--json")
    assert good.exit_code == 0, good.output
    assert all(finding["ok"] for finding in json.loads(good.stdout))
    bad = run("doctor", "--redis-url", f"unix://{tmp_path}/none")
    assert bad.exit_code == 1
    assert "FAIL  redis" in bad.stdout


def test_doctor_reaches_redis(redis_url: str) -> None:
    result = run("doctor", "--redis-url", redis_url)
    assert result.exit_code == 0, result.output
    assert "eviction policy noeviction" in result.stdout


def test_serve_hands_flags_to_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Settings] = []
    monkeypatch.setattr("app.cli.serve.run", given.append)
    monkeypatch.setenv("CLICKFOLD_WORKERS", "2")
    monkeypatch.setenv("CLICKFOLD_PORT", "1")
    result = run(
        *("serve", "--port", 8123, "--host", "127.0.0.2", "--redis-url", "redis://there:6379"),
        *("--key-prefix", "p", "--data-dir", "d", "--snapshot-dir", "s", "--models", "a,b*"),
        *("--durability", "provider", "--memory-limit", "2GiB", "--config", '{"table_bits": 20}'),
    )
    assert result.exit_code == 0, result.output
    (settings,) = given
    assert (settings.port, settings.workers, settings.host) == (8123, 2, "127.0.0.2")
    assert (settings.redis_url, settings.key_prefix) == ("redis://there:6379", "p")
    assert (settings.data_dir, settings.snapshot_dir) == (Path("d"), Path("s"))
    assert (settings.models, settings.memory_limit) == ("a,b*", 2 << 30)
    assert (settings.durability, settings.config) == ("provider", '{"table_bits": 20}')


def test_serve_refuses_bad_settings_as_bad_usage() -> None:
    assert run("serve", "--durability", "nonsense").exit_code == 2
    assert run("serve", "--host", "0.0.0.0").exit_code == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, app.cli.main;"
        "print([m for m in ('numpy', 'numba', 'httpx2', 'redis', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
