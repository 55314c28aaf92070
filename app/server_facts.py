"""What the server is, and whether it can keep the durability the operator asked for.

Read once at start and after each reconnect to another `run_id`. A server that would lose what we
acknowledge is refused with the name of the setting and the command that mends it, because a
default of Redis (no append-only file, or an fsync every second) loses acknowledged entries in
silence.

    asked for   checked
    always      version >= 7.0, maxmemory-policy noeviction, role master
    fsync       appendonly yes, appendfsync always, no-appendfsync-on-rewrite no
    everysec    appendonly yes, appendfsync everysec or always
    provider    nothing more: managed services forbid CONFIG and promise by contract

The eviction policy is read from INFO, so that `provider` can check it without CONFIG.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.errors import RedisAway, ServerRefused

VERSION_MIN = (7, 0, 0)
_NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "fsync": {
        "appendonly": ("yes",),
        "appendfsync": ("always",),
        "no-appendfsync-on-rewrite": ("no",),
    },
    "everysec": {"appendonly": ("yes",), "appendfsync": ("everysec", "always")},
    "provider": {},
}

Ask = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What /stats and the start-up lines say about the server."""

    name: str  # redis or valkey
    version: tuple[int, int, int]  # of the protocol it speaks; Valkey reports 7.2.4
    run_id: str  # another one: another process, compare positions
    durability: str


async def read_server_facts(ask: Ask, durability: str, url_masked: str) -> ServerFacts:
    """Ask the server and refuse it (ServerRefused) or describe it; RedisAway when it is away."""
    info = _parse_info(await ask("INFO"))
    version = _version(info.get("redis_version", ""))
    if version < VERSION_MIN:
        raise ServerRefused(
            "redis_version", f"{url_masked} is version {info.get('redis_version')}; 7.0 is needed"
        )
    _require(url_masked, "role", info.get("role", "unknown"), ("master",))
    policy = info.get("maxmemory_policy", "unknown")
    _require(url_masked, "maxmemory-policy", policy, ("noeviction",))
    for setting, allowed in _NEEDED[durability].items():
        _require(url_masked, setting, await _config(ask, setting, url_masked), allowed)
    name = "valkey" if info.get("server_name") == "valkey" else "redis"
    return ServerFacts(name, version, info.get("run_id", ""), durability)


async def _config(ask: Ask, setting: str, url_masked: str) -> str:
    try:
        reply = await ask("CONFIG", "GET", setting)
    except RedisAway as error:
        raise ServerRefused(
            "CONFIG",
            f"{url_masked} does not let its {setting} be read ({error.detail}); if its provider "
            "promises durability, say --durability provider",
        ) from error
    return bytes(reply[1]).decode() if len(reply) == 2 else "unknown"


def _require(url_masked: str, setting: str, value: str, allowed: tuple[str, ...]) -> None:
    if value in allowed:
        return
    wanted = " or ".join(allowed)
    detail = f"{url_masked} has {setting} {value}; {wanted} is needed"
    if setting != "role":
        detail += f" (CONFIG SET {setting} {allowed[0]})"
    raise ServerRefused(setting, detail)


def _parse_info(reply: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in bytes(reply).decode().splitlines())
    return {name: value for name, colon, value in lines if colon}


def _version(text: str) -> tuple[int, int, int]:
    numbers = [int(part) if part.isdigit() else 0 for part in text.split(".")[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch
