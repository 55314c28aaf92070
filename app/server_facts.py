"""What the server is, and whether it can keep the durability the operator asked for.

A server that would lose what we acknowledge is refused with the name of the setting and the command
that mends it, because a default of Redis (no append-only file, or an fsync every second) loses
acknowledged entries in silence. `redis_connections` asks at the start, on every new connection
before it appends on it, and (server_watch) now and then, since settings change while servers run.

    asked for            checked
    always               version >= 7.0, maxmemory-policy noeviction, role master
    fsync                appendonly yes, appendfsync always, no-appendfsync-on-rewrite no
    fsync with waitaof   the same, or appendfsync everysec and a WAITAOF that waits
    everysec             appendonly yes, appendfsync everysec or always
    provider             that CONFIG is refused: managed services forbid it and promise by contract;
                         a server that lets us look is held to what it says

The eviction policy is read from INFO, so that `provider` can check it without CONFIG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from app.errors import RedisAway, ServerRefused

VERSION_MIN = (7, 0, 0)
_SETTINGS = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite")
_FSYNC = {
    "appendonly": ("yes",),
    "appendfsync": ("always",),
    "no-appendfsync-on-rewrite": ("no",),
}
_EVERYSEC = {"appendonly": ("yes",), "appendfsync": ("everysec", "always")}

QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("INFO",),
    ("CONFIG", "GET", *_SETTINGS),
    ("COMMAND", "INFO", "WAITAOF"),
)


@dataclass(frozen=True, slots=True)
class Promise:
    """What an acknowledgement is to mean."""

    durability: str  # fsync, everysec or provider
    waitaof: bool = False


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What /stats and the start-up lines say about the server."""

    name: str  # redis or valkey
    version: tuple[int, int, int]  # of the protocol it speaks; Valkey reports 7.2.4
    run_id: str  # another one: another process
    durability: str
    relies_on_waitaof: bool = False  # it does not sync before it answers, WAITAOF has to


def facts_of(replies: Sequence[Any], promise: Promise, url_masked: str) -> ServerFacts:
    """Describe the server that gave these replies to QUESTIONS, or refuse it (ServerRefused).

    RedisAway when it could not answer now.
    """
    if isinstance(replies[0], ResponseError):
        raise RedisAway(f"Redis refused: {replies[0]}")
    info = _parse_info(replies[0])
    version = _version(info.get("redis_version", ""))
    if version < VERSION_MIN:
        raise ServerRefused(
            "redis_version", f"{url_masked} is version {info.get('redis_version')}; 7.0 is needed"
        )
    _require(url_masked, "role", info.get("role", "unknown"), ("master",))
    policy = info.get("maxmemory_policy", "unknown")
    _require(url_masked, "maxmemory-policy", policy, ("noeviction",))
    config = _config(replies[1])
    relies = _keeps(promise, config, replies, url_masked)
    name = "valkey" if info.get("server_name") == "valkey" else "redis"
    return ServerFacts(name, version, info.get("run_id", ""), promise.durability, relies)


def _keeps(
    promise: Promise, config: dict[str, str] | str, replies: Sequence[Any], url_masked: str
) -> bool:
    """Refuse a configuration that does not keep the promise; whether it keeps it by WAITAOF."""
    if promise.durability == "provider":
        _require_hidden(config, url_masked)
        return False
    if isinstance(config, str):
        raise ServerRefused(
            "CONFIG",
            f"{url_masked} does not let its {_SETTINGS[0]} be read ({config}); if its provider "
            "promises durability, say --durability provider",
        )
    needed = dict(_FSYNC if promise.durability == "fsync" else _EVERYSEC)
    if promise.waitaof:
        if isinstance(replies[2], ResponseError) or not _offers(replies[2]):
            raise ServerRefused(
                "waitaof", f"{url_masked} has no WAITAOF (Redis 7.2, Valkey); leave waitaof out"
            )
        needed["appendfsync"] = _EVERYSEC["appendfsync"]
    for setting, allowed in needed.items():
        _require(url_masked, setting, config.get(setting, "unknown"), allowed)
    return promise.waitaof and config["appendfsync"] != "always"


def _require_hidden(config: dict[str, str] | str, url_masked: str) -> None:
    if isinstance(config, str) or not all(setting in config for setting in _SETTINGS):
        return
    told = ", ".join(f"{setting} {config[setting]}" for setting in _SETTINGS)
    raise ServerRefused(
        "durability",
        f"{url_masked} lets its settings be read ({told}), so it is held to them: provider is for"
        " services that refuse CONFIG; say --durability fsync or everysec",
    )


def _config(reply: Any) -> dict[str, str] | str:
    """The settings, or why they cannot be read; RedisAway when that is no matter of rights."""
    if isinstance(reply, NoPermissionError):
        return str(reply)
    if isinstance(reply, ResponseError):
        if "unknown command" in str(reply).lower():
            return str(reply)
        raise RedisAway(f"Redis refused: {reply}")
    words = [bytes(word).decode() for word in reply]
    return dict(zip(words[::2], words[1::2], strict=True))


def _offers(reply: Any) -> bool:
    """Whether COMMAND INFO knows the one command asked for."""
    return bool(reply) and any(reply[0] or ())


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
