"""Every limit of the service in one table: what it bounds, its setting, and what is answered.

docs/limits.md shows this table, and a test holds the page to it. Defaults are read from the
settings and from the constants where a limit is enforced, so nothing is written down twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from app import (
    authors,
    connection_guard,
    hot_path,
    known_heads,
    learning_budget,
    live_stream,
    replica,
    request_body,
    routes_snapshots,
    writing,
)
from app.dependencies import OBJECT_BYTES_MAX
from app.ingest import content
from app.settings import ENV_PREFIX, Settings


class Limit(NamedTuple):
    """One bound; `setting` is None for what is fixed, `unit` what its number counts."""

    what: str
    setting: str | None
    value: float
    unit: str
    answer: str


def _set(what: str, setting: str, unit: str, answer: str) -> Limit:
    return Limit(what, setting, Settings.model_fields[setting].get_default(), unit, answer)


def _fixed(what: str, value: float, unit: str, answer: str) -> Limit:
    return Limit(what, None, value, unit, answer)


_TOO_LARGE, _BAD_EXAMPLE, _BAD_QUERY = "413 too-large", "422 bad-example", "422 bad-query"
_CLOSED = "the connection is closed"

GROUPS: dict[str, list[Limit]] = {
    "One request": [
        _set("body, as it arrives", "limit_body_bytes", "bytes", _TOO_LARGE),
        _set("body, decompressed", "limit_decompressed_bytes", "bytes", _TOO_LARGE),
        _fixed("members or frames of a compressed body", content.FRAMES_MAX, "", _TOO_LARGE),
        _fixed("window of a zstd frame", content.ZSTD_WINDOW_MAX, "bytes", "400 bad-body"),
        _set("examples", "limit_examples", "", _TOO_LARGE),
        _set("features of an example", "limit_features", "", _TOO_LARGE),
        _set("features of a request", "limit_request_features", "", _TOO_LARGE),
        _set("a feature's name", "limit_name_bytes", "bytes", _BAD_EXAMPLE),
        _set("a feature's value", "limit_value_bytes", "bytes", _BAD_EXAMPLE),
        _set("absolute value of a number", "limit_abs_value", "", _BAD_EXAMPLE),
        _set("weight of an example", "limit_weight", "", _BAD_EXAMPLE),
        _set("an event id", "limit_id_chars", "characters", _BAD_EXAMPLE),
        _fixed("nesting of JSON", 1000, "levels, about", "400 bad-body"),
        _fixed(
            "an Idempotency-Key", hot_path.IDEMPOTENCY_KEY_CHARS, "characters",
            "422 bad-idempotency-key",
        ),
        _fixed("query parameters", hot_path.QUERY_FIELDS_MAX, "", _BAD_QUERY),
        _fixed("examples explained at once", hot_path.EXPLAINED_ROWS_MAX, "", _BAD_QUERY),
        _fixed("a JSON body of the other routes", OBJECT_BYTES_MAX, "bytes", _TOO_LARGE),
        _fixed("an uploaded snapshot", routes_snapshots.UPLOAD_BYTES_MAX, "bytes", _TOO_LARGE),
    ],
    "The head of a request": [
        _set("request line and fields", "limit_head_bytes", "bytes", "431 head-too-large"),
        _set("fields", "limit_head_fields", "", "431 head-too-large"),
    ],
    "All requests of a process": [
        _set("connections", "limit_connections", "", "room is made, else 503 busy"),
        _set(
            "connections of one address (0: any)", "limit_connections_per_address", "",
            "429 too-many-connections",
        ),
        _set("requests answered at once; learners half", "limit_requests", "", "503 busy"),
        _fixed(
            "requests of a connection that wait for the one before",
            connection_guard.PIPELINED_MAX, "", f"400 bad-request, {_CLOSED}",
        ),
        _fixed("live streams", live_stream.STREAMS_MAX, "", "503 busy"),
        _fixed(
            "bodies held at once, in times the largest", request_body.IN_FLIGHT_BODIES, "",
            "503 busy",
        ),
        _fixed(
            "features of a model that wait to be appended", replica.QUEUE_FEATURES_MAX, "",
            "503 busy",
        ),
        _fixed(
            "heads that a connection remembers", known_heads.HEADS_MAX, "", "forgotten"
        ),
    ],
    "Deadlines": [
        _set("a head, also the first of a connection", "head_seconds", "s", "408 head-timeout"),
        _set("a body", "body_seconds", "s", "408 body-timeout"),
        _fixed(
            "bytes a second of a snapshot that is uploaded, beyond that time",
            connection_guard.BODY_BYTES_PER_SECOND, "bytes", "408 body-timeout",
        ),
        _set("a reply, or 48 KiB of it, to be taken", "reply_seconds", "s", "broken off"),
        _set("a pause between requests", "idle_seconds", "s", _CLOSED),
        _fixed(
            "waiting for min_position", hot_path.MIN_POSITION_SECONDS, "s",
            "503 position-not-reached",
        ),
        _fixed(
            "an append without an answer from Redis", writing.REPEAT_SECONDS, "s",
            "503 with outcome unknown",
        ),
        _set("requests in progress, when the service stops", "stop_seconds", "s", "broken off"),
    ],
    "What a key may teach": [
        _set("examples a second (0: any), by process", "limit_key_rate", "", "429 rate-exceeded"),
        _fixed("seconds of it that are saved up", learning_budget.BURST_SECONDS, "s", ""),
        _set("share of a model's latest examples", "limit_key_share", "", "429 share-exceeded"),
        _fixed("of how many that is", authors.WINDOW_EXAMPLES, "examples", ""),
    ],
    "What is kept": [
        _set("log of a model in Redis", "log_bytes_max", "bytes", "503 log-full"),
        _set("memory of all models", "memory_limit", "bytes", "409 memory-limit, 503 unavailable"),
    ],
}  # fmt: skip


def markdown() -> str:
    """The whole table, a section for each group."""
    return "\n".join(_section(title, limits) for title, limits in GROUPS.items())


def _section(title: str, limits: Iterable[Limit]) -> str:
    rows = [f"## {title}", "", "| what | default | setting | answer |", "|---|---|---|---|"]
    for limit in limits:
        setting = "fixed" if limit.setting is None else f"`{ENV_PREFIX}{limit.setting.upper()}`"
        rows.append(f"| {limit.what} | {_shown(limit)} | {setting} | {limit.answer} |")
    return "\n".join([*rows, ""])


def _shown(limit: Limit) -> str:
    number = limit.value
    if limit.unit == "bytes":
        for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if number >= size and number % size == 0:
                return f"{number // size:,} {unit}"
    shown = f"{number:,.0f}" if number == int(number) else f"{number:g}"
    return f"{shown} {limit.unit}".strip()
