"""`clickfold doctor`: is everything here that the service needs, and if not, what to do.

Each check looks and changes nothing but one temporary file in each directory. The settings are
those that `clickfold serve` would take from flags, environment and .env, so that what is examined
is what would be used. A check that fails says what it saw and what mends it; the next one is made
all the same. What works and may not for long is a warning.
"""

from __future__ import annotations

import os
import platform
import ssl
import stat
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.cli.doctor_machine import look_at_machine
from app.cli.doctor_redis import look_at_redis
from app.cli.findings import Finding, size
from app.default_config import default_config
from app.embedded_server import EmbeddedServerError, find_binary
from app.key_lines import lines_of, read_lines
from app.settings import Settings, load_settings, unknown_names
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadConfig

OLDEST_PYTHON = (3, 11)
PACKAGES = ("numpy", "numba", "redis", "fastapi", "uvicorn", "msgspec", "pydantic-settings")


def examine(redis_url: str | None, data_dir: Path | None) -> list[Finding]:
    """All findings, in the order in which a person would mend them."""
    findings = [_python(), *(_package(name) for name in PACKAGES)]
    try:
        settings = load_settings(redis_url=redis_url, data_dir=data_dir)
    except BadConfig as error:
        return [*findings, Finding("settings", False, str(error), "change or unset what it names")]
    findings += [_settings(), _keys(settings), _table(settings)]
    if settings.tls_cert is not None:
        findings.append(_tls(settings))
    findings += look_at_redis(settings) if settings.redis_url is not None else [_binary(settings)]
    return [*findings, *look_at_machine(settings)]


def _python() -> Finding:
    detail = f"{platform.python_version()} at {sys.executable}, {platform.platform()}"
    recent = sys.version_info[:2] >= OLDEST_PYTHON
    return Finding("python", recent, detail, "" if recent else "3.11 or later is needed")


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed", "install the locked environment anew")


def _settings() -> Finding:
    unknown = unknown_names(os.environ)
    if unknown:
        detail = f"no such setting: {', '.join(unknown)}"
        return Finding("settings", False, detail, "mend the name, or unset it")
    return Finding("settings", True, "accepted")


def _keys(settings: Settings) -> Finding:
    """Whether the keys can be read, by whom else, and whether they are written in plain."""
    if not settings.has_keys():
        return Finding("keys", True, f"none: {settings.host} only, open to all of this machine")
    try:
        text = settings.keys.get_secret_value() if settings.keys is not None else None
        found = read_lines(lines_of(text, settings.keys_file))
    except (BadConfig, OSError) as error:
        return Finding("keys", False, str(error), "clickfold keys new writes a line that is read")
    if not found:
        return Finding("keys", False, "no line has a key", "clickfold keys new NAME --scope ...")
    path = settings.keys_file
    mends = []
    if path is not None and stat.S_IMODE(path.stat().st_mode) & 0o077:
        mends.append(f"chmod 600 {path}: others can read it")
    if any(key.is_plain for key in found):
        mends.append("keys are written in plain: write their digests (clickfold keys new)")
    return Finding(
        "keys", True, f"{len(found)} of {len({k.name for k in found})} names", "; ".join(mends)
    )


def _table(settings: Settings) -> Finding:
    """Whether the model `default` would fit into memory_limit."""
    try:
        config = ModelConfig.from_dict(default_config(settings.config))
    except BadConfig as error:
        return Finding("model", False, str(error), "mend CLICKFOLD_CONFIG or --config")
    table = 8 * config.lanes << config.table_bits
    detail = f"default: {config.lanes} rates, 2^{config.table_bits} slots, {size(table)}"
    fits = table <= settings.memory_limit
    return Finding("model", fits, detail, "" if fits else "raise memory_limit or lower table_bits")


def _tls(settings: Settings) -> Finding:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert settings.tls_cert is not None
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        mend = "give a chain and its own key, both PEM"
        return Finding("tls", False, f"{settings.tls_cert}: {error}", mend)
    return Finding("tls", True, str(settings.tls_cert))


def _binary(settings: Settings) -> Finding:
    try:
        path, number = find_binary(settings.redis_binary)
    except EmbeddedServerError as error:
        return Finding("embedded server", False, str(error), "or name a Redis with --redis-url")
    return Finding("embedded server", True, f"{number} at {path}")
