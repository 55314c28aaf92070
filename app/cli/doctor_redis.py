"""The doctor's look at Redis: durability, eviction, room in memory, delays, its clock.

The server is asked what the service asks it, and judged by the same rules (app/server_facts.py): so
what passes here is what `serve` accepts. Nothing is written.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from typing import Any, cast

import redis

from app.cli.findings import Finding, size
from app.errors import RedisAway, ServerRefused
from app.redis_keys import ModelKeys, models_key
from app.server_facts import QUESTIONS, Promise, facts_of
from app.settings import Settings, masked_url
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadConfig

SECONDS = 3.0
PINGS = 50
SLOW_MS = 5.0
CLOCK_SECONDS = 2.0
GENERATIONS = 2  # checkpoints that are kept at once


def look_at_redis(settings: Settings) -> Iterator[Finding]:
    """Every finding about the Redis of the settings."""
    assert settings.redis_url is not None
    url = settings.redis_url
    try:
        with redis.Redis.from_url(
            url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, protocol=2
        ) as client:
            replies = [_asked(client, question) for question in QUESTIONS]
            yield _server(settings, replies)
            info = client.info()
            yield from (_aof(info), _delay(client), _clock(client), _room(settings, client, info))
    except (redis.RedisError, OSError, ValueError) as error:
        mend = "start it, or name another with CLICKFOLD_REDIS_URL"
        yield Finding("redis", False, f"{masked_url(url)}: {error}", mend)


def _asked(client: redis.Redis, question: tuple[str, ...]) -> Any:
    """The raw reply, or the error reply."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*question)  # type: ignore[no-untyped-call]
        return connection.read_response()
    except redis.ResponseError as error:
        return error
    finally:
        client.connection_pool.release(connection)


def _server(settings: Settings, replies: list[Any]) -> Finding:
    url = masked_url(settings.redis_url or "")
    try:
        facts = facts_of(replies, Promise(settings.durability, settings.waitaof), url)
    except ServerRefused as refusal:
        detail, _, command = str(refusal).partition(" (CONFIG SET ")
        mend = f"CONFIG SET {command.removesuffix(')')}, and in its file" if command else ""
        return Finding("redis", False, detail, mend or "see docs/faults.md")
    except RedisAway as error:
        return Finding("redis", False, str(error), "wait until it has loaded, or look at its log")
    number = ".".join(map(str, facts.version))
    policy = "eviction policy noeviction"
    return Finding("redis", True, f"{url}: {facts.name} {number}, {facts.durability}, {policy}")


def _aof(info: dict[str, Any]) -> Finding:
    """Whether it wrote its append-only file the last time it tried."""
    wrong = [
        f"{name} {info[name]}"
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
        if info.get(name, "ok") != "ok"
    ]
    if wrong:
        mend = "look at its log and at the space of its disk"
        return Finding("redis disk", False, ", ".join(wrong), mend)
    file_bytes = info.get("aof_current_size", 0)
    return Finding("redis disk", True, f"append-only file of {size(file_bytes)}")


def _delay(client: redis.Redis) -> Finding:
    taken = []
    for _ in range(PINGS):
        started = time.perf_counter()
        client.ping()
        taken.append((time.perf_counter() - started) * 1000)
    median, longest = statistics.median(taken), max(taken)
    detail = f"median {median:.2f} ms, longest {longest:.2f} ms of {PINGS}"
    mend = "bring service and Redis closer: each append waits for this" if median > SLOW_MS else ""
    return Finding("redis delay", True, detail, mend)


def _clock(client: redis.Redis) -> Finding:
    seconds, microseconds = client.time()
    off = abs(time.time() - seconds - microseconds / 1e6)
    mend = "let both machines keep their time (NTP)" if off > CLOCK_SECONDS else ""
    return Finding("clock", True, f"{off:.2f} s from that of Redis", mend)


def _room(settings: Settings, client: redis.Redis, info: dict[str, Any]) -> Finding:
    """Whether checkpoints of all models and their logs fit into what Redis may take."""
    models = list(_configurations(settings, client))
    tables = sum(8 * config.lanes << config.table_bits for config in models)
    needed = GENERATIONS * tables + len(models) * settings.log_bytes_max
    most = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    used = int(info.get("used_memory", 0))
    detail = f"{len(models)} models: {size(needed)} of {size(most)} at most, {size(used)} now"
    if most and needed > most:
        mend = "raise maxmemory, or lower CLICKFOLD_LOG_BYTES_MAX or table_bits"
        return Finding("redis memory", False, detail, mend)
    nearly = most and max(needed, used) > most / 2
    mend = "a rewrite of its file may take as much again: leave half of it free" if nearly else ""
    return Finding("redis memory", True, detail, mend)


def _configurations(settings: Settings, client: redis.Redis) -> Iterator[ModelConfig]:
    """Of the models in Redis that can be read; others are the service's to name."""
    rows = cast("dict[bytes, bytes]", client.hgetall(models_key(settings.key_prefix)))
    for name, row in rows.items():
        if not row.startswith(b"deleted:"):
            meta = ModelKeys(settings.key_prefix, name.decode("utf-8", "replace")).meta
            try:
                yield ModelConfig.from_dict(json.loads(client.hget(meta, "configuration") or b"{}"))
            except (BadConfig, ValueError):
                continue
