"""Settings: which source wins, what is refused, and what a refusal says."""

from pathlib import Path

import pytest

from app.settings import Settings, load_settings, masked_url, parse_bytes, unknown_names
from ftrl_core.errors import BadConfig
from ftrl_core.limits import Limits


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CLICKFOLD_{name.upper()}", raising=False)


def test_flags_then_environment_then_dotenv_then_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("CLICKFOLD_PORT=1\nCLICKFOLD_WORKERS=2\nCLICKFOLD_MODELS=a\n")
    monkeypatch.setenv("CLICKFOLD_PORT", "3")
    monkeypatch.setenv("CLICKFOLD_WORKERS", "4")
    settings = load_settings(port=5, host=None)
    assert (settings.port, settings.workers, settings.models) == (5, 4, "a")
    assert (settings.host, settings.durability) == ("127.0.0.1", "fsync")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8GiB", 8 << 30), ("512 MB", 512_000_000), ("1g", 10**9), ("1.5KiB", 1536), ("77", 77)],
)
def test_sizes_are_written_as_people_write_them(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ({"port": "x"}, ["--port = 'x'", "an integer"]),
        ({"port": 70000}, ["--port = 70000", "65535"]),
        ({"memory_limit": "8 parsecs"}, ["--memory-limit = '8 parsecs'", "8GiB"]),
        ({"durability": "none"}, ["--durability = 'none'", "'fsync', 'everysec' or 'provider'"]),
        ({"key_prefix": "a b"}, ["--key-prefix = 'a b'", "letters, digits"]),
        ({"tls_cert": "/nowhere"}, ["--tls-cert = '/nowhere'", "can be read"]),
        ({"durability": "provider"}, ["redis_url"]),
        ({"colour": "red"}, ["colour"]),
    ],
)
def test_a_refusal_names_setting_value_and_what_was_expected(
    flags: dict[str, object], parts: list[str]
) -> None:
    with pytest.raises(BadConfig) as refusal:
        load_settings(**flags)
    assert all(part in str(refusal.value) for part in parts), str(refusal.value)


def test_a_refusal_names_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKFOLD_WORKERS", "many")
    with pytest.raises(BadConfig, match="CLICKFOLD_WORKERS = 'many': expected an integer"):
        load_settings()


def test_secrets_are_never_shown() -> None:
    with pytest.raises(BadConfig) as refusal:
        load_settings(redis_url="http://user:hunter2@redis")
    assert "hunter2" not in str(refusal.value)
    settings = load_settings(redis_url="redis://user:hunter2@redis/0", keys="hunter3")
    assert "hunter" not in repr(settings)
    assert settings.redis_url_shown() == "redis://user:***@redis/0"
    assert masked_url("redis://:hunter2@redis:1") == "redis://:***@redis:1"
    assert masked_url("unix:///run/s") == "unix:///run/s"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org"])
def test_an_open_address_needs_keys(host: str) -> None:
    with pytest.raises(BadConfig, match="CLICKFOLD_KEYS"):
        load_settings(host=host)
    assert load_settings(host=host, keys="k").has_keys()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"])
def test_the_loopback_needs_no_keys(host: str) -> None:
    assert not load_settings(host=host).has_keys()


def test_limits_are_the_promised_ones_and_settable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().limits() == Limits()
    monkeypatch.setenv("CLICKFOLD_LIMIT_EXAMPLES", "7")
    assert load_settings(limit_body_bytes="1KiB").limits() == Limits(body_bytes=1024, examples=7)


def test_typing_errors_in_names_are_found() -> None:
    environment = {"CLICKFOLD_DURABILTY": "fsync", "CLICKFOLD_PORT": "1", "CLICKFOLD_URL": ""}
    assert unknown_names(environment) == ["CLICKFOLD_DURABILTY"]
