"""`clickfold doctor`: what it finds wrong, and that it says what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from app.cli.main import app
from app.embedded_server import EmbeddedServer

runner = CliRunner()


def doctor(*arguments: object) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and findings by what was looked at."""
    result = runner.invoke(app, ["doctor", "--json", *map(str, arguments)])
    return result.exit_code, {one["what"]: one for one in json.loads(result.stdout.splitlines()[0])}


def test_a_sound_redis(redis_server: EmbeddedServer, tmp_path: Path) -> None:
    status, found = doctor("--redis-url", redis_server.url, "--data-dir", tmp_path)
    assert status == 0, found
    for what in ("redis", "redis disk", "redis delay", "redis memory", "clock", "open files"):
        assert found[what]["ok"], found[what]


WRONG = [
    ("appendfsync", "everysec", "redis", "CONFIG SET appendfsync always"),
    ("no-appendfsync-on-rewrite", "yes", "redis", "CONFIG SET no-appendfsync-on-rewrite no"),
    ("maxmemory-policy", "allkeys-lru", "redis", "CONFIG SET maxmemory-policy noeviction"),
]


@pytest.mark.parametrize(("setting", "value", "what", "mend"), WRONG)
def test_a_redis_that_would_lose_what_is_acknowledged(
    setting: str, value: str, what: str, mend: str, redis_server: EmbeddedServer, tmp_path: Path
) -> None:
    with redis.Redis(unix_socket_path=str(redis_server.socket_path)) as client:
        client.config_set(setting, value)
    status, found = doctor("--redis-url", redis_server.url, "--data-dir", tmp_path)
    assert status == 1
    assert not found[what]["ok"]
    assert mend in found[what]["mend"]


def test_a_redis_without_room_for_its_tables(redis_server: EmbeddedServer, tmp_path: Path) -> None:
    configuration = json.dumps({"table_bits": 24, "optimizer": {"learning_rate": 0.1}})
    with redis.Redis(unix_socket_path=str(redis_server.socket_path)) as client:
        client.hset("ctr:models", "large", "00" * 8)
        client.hset("{ctr:large}:meta", "configuration", configuration)
        client.config_set("maxmemory", 600 << 20)
        status, found = doctor("--redis-url", redis_server.url, "--data-dir", tmp_path)
        assert (status, found["redis memory"]["ok"]) == (1, False)
        assert "1.25 GiB of 600 MiB" in found["redis memory"]["detail"]
        client.config_set("maxmemory", 2 << 30)
        status, found = doctor("--redis-url", redis_server.url, "--data-dir", tmp_path)
        assert (status, found["redis memory"]["ok"]) == (0, True)


def test_keys_folders_and_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tmp_path / "keys"
    keys.write_text("web predict a-plain-key\n")
    keys.chmod(0o644)
    monkeypatch.setenv("CLICKFOLD_KEYS_FILE", str(keys))
    monkeypatch.setenv("CLICKFOLD_LIMIT_CONNECTIONS", "100000000")
    monkeypatch.setenv("CLICKFOLD_MEMORY_LIMIT", "900TB")
    tmp_path.chmod(0o755)
    result = runner.invoke(app, ["doctor", "--data-dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for advice in (
        "chmod 600",
        "written in plain",
        "chmod 700",
        "ulimit -Hn",
        "MEMORY_LIMIT below",
    ):
        assert advice in result.stdout, advice
    assert "a-plain-key" not in result.stdout
    monkeypatch.setenv("CLICKFOLD_PROT", "8000")
    keys.write_text("web fly a-plain-key\n")
    status, found = doctor("--data-dir", "/proc/nowhere")
    assert status == 1
    assert [one["what"] for one in found.values() if not one["ok"]][:2] == ["settings", "keys"]
    assert all(one["mend"] for one in found.values() if not one["ok"])
    assert not found["data directory"]["ok"]
