"""`clickfold doctor`: is everything here that the service needs, and if not, what to do.

Each check looks and changes nothing but one temporary file in the data directory. The settings are
those that `clickfold serve` would take from flags, environment and .env, so that what is examined
is what would be used. A check that fails says what it saw; the next one is made all the same.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import redis

from app.embedded_server import EmbeddedServerError, find_binary
from app.settings import Settings, load_settings, masked_url, unknown_names
from ftrl_core.errors import BadConfig

OLDEST_PYTHON = (3, 11)
OLDEST_REDIS = (7, 0)
PACKAGES = ("numpy", "numba", "redis", "fastapi", "uvicorn", "msgspec", "pydantic-settings")
_REDIS_SECONDS = 3.0


class Finding(NamedTuple):
    """One check: what was looked at, whether it will do, what was seen."""

    what: str
    ok: bool
    detail: str


def examine(redis_url: str | None, data_dir: Path | None) -> list[Finding]:
    """All findings, in the order in which a person would mend them."""
    findings = [_python(), *(_package(name) for name in PACKAGES)]
    try:
        settings = load_settings(redis_url=redis_url, data_dir=data_dir)
    except BadConfig as error:
        return [*findings, Finding("settings", False, str(error))]
    findings.append(_settings())
    if settings.redis_url is not None:
        findings.append(_redis(settings.redis_url))
    else:
        findings += [_binary(settings), _data_directory(settings.data_dir)]
    return findings


def _python() -> Finding:
    detail = f"{platform.python_version()} at {sys.executable}, {platform.platform()}"
    return Finding("python", sys.version_info[:2] >= OLDEST_PYTHON, detail)


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed")


def _settings() -> Finding:
    import os

    unknown = unknown_names(os.environ)
    if unknown:
        return Finding("settings", False, f"no such setting: {', '.join(unknown)}")
    return Finding("settings", True, "accepted")


def _binary(settings: Settings) -> Finding:
    try:
        path, number = find_binary(settings.redis_binary)
    except EmbeddedServerError as error:
        return Finding("embedded server", False, str(error))
    return Finding("embedded server", True, f"{number} at {path}")


def _data_directory(path: Path) -> Finding:
    """The directory, or the nearest one above it that exists, must take a file."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".clickfold-doctor-"):
            pass
    except OSError as error:
        return Finding("data directory", False, f"{existing}: {error.strerror}")
    detail = "writable" if existing == path.absolute() else f"will be made in {existing}"
    return Finding("data directory", True, f"{path}: {detail}")


def _redis(url: str) -> Finding:
    shown = masked_url(url)
    try:
        client = redis.Redis.from_url(
            url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
        )
        with client:
            information = client.info("server")
            policy = client.info("memory").get("maxmemory_policy")
    except (redis.RedisError, OSError, ValueError) as error:
        return Finding("redis", False, f"{shown}: {error}")
    number = str(information["redis_version"])
    recent = tuple(int(part) for part in number.split(".")[:2]) >= OLDEST_REDIS
    ok = recent and policy == "noeviction"
    return Finding("redis", ok, f"{shown}: version {number}, eviction policy {policy}")
