"""Whole requests: hostile bodies on right routes, and hostile routes, queries and headers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec.json

from app.ingest.content import VW_TEXT
from ftrl_core.limits import Limits
from ftrl_core.names import NAMES_MAX
from scripts.attack_run.bodies import JSON, Bodies
from scripts.attack_run.hostile import JSON_VALUES, MARK, damaged

Header = tuple[bytes, bytes]
MODELS = ("default", "other")
LONG_RUN = 20_000  # requests, from which on the slope of memory means something
_METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "QZXJ",
    "",
)
_PATHS = (
    "/", "/learn", "/predict", "/stats", "/metrics", "/models", "/models/default", "/livez",
    "/readyz", "/startupz", "/docs", "/redoc", "/openapi.json", "/problems", "/problems/busy",
    "/admin/snapshots", "/admin/snapshots/x", "/admin/snapshots/x/file",
    "/admin/snapshots/x/restore",
    "/admin/skip", "/models/default/stats", "/models/default/admin/snapshots", "/models/none/stats",
    "/docs/assets/x",
)  # fmt: skip
_PARTS = (
    "..", ".", "", "%2e%2e", "%00", "\x00", "é", "😀", "\ud800", MARK, " ", "~", "{model}",
    "{name}",
    "\r\nX: y", "A" * 300, ";", "*", "con", "con.cfs", "x.cfs", "-", "admin", "models", "default",
    "\u202e", "a{b}", "\\", "//", "?", "#", "default:1",
)  # fmt: skip
_QUERIES = (
    b"", b"predictions=false", b"predictions=maybe", b"predictions",
    b"predictions=true&predictions=true",
    b"min_position=0-0", b"min_position=1-99999999999999999999", b"min_position=-1-1",
    b"min_position=",
    b"uncertainty=true", b"explain=true", b"explain=true&uncertainty=true", b"id=tag", b"id=",
    b"a=b",
    b"&&&&", b"=" * 30, b"%", b"%zz", b"%00=1", b"\xff=\xff", b"for=learn", b"for=" + MARK.encode(),
    b"q=" + b"x" * 5000, b"&a" * 40, b"predictions=%66alse", b"explain=%ff",
)  # fmt: skip
_TYPES = (
    b"application/json", b"APPLICATION/JSON; charset=utf-8", b"application/json; charset=utf-16",
    b"",
    b"application/json, text/plain", b"text/plain", b"\xff\xfe", b"application/json;;;=;", b" ",
    b";",
    b"application/json; charset=\"utf-8", b"multipart/form-data; boundary=x", b"*/*", MARK.encode(),
    b"application/x-www-form-urlencoded", b"text/x-vw", b"application/msgpack", b"json" * 500,
)  # fmt: skip
_HEADERS: tuple[Header, ...] = (
    (b"content-length", b"-1"), (b"content-length", b"1e9"), (b"content-length",
    b"99999999999999999999"),
    (b"content-length", b"\xb2"), (b"content-length", b""), (b"content-length", b"40000000"),
    (b"content-encoding", b"br"), (b"content-encoding", b"gzip, gzip"), (b"content-encoding",
    b"\xff"),
    (b"content-encoding", b"gzip"), (b"content-encoding", b"zstd"), (b"content-encoding",
    b"identity"),
    (b"idempotency-key", b""), (b"idempotency-key", b"\xff"), (b"idempotency-key", b"a b"),
    (b"idempotency-key", MARK.encode() * 80), (b"idempotency-key", b"\x00"), (b"host",
    b"evil.example"),
    (b"host", b"[::1]:80"), (b"host", b"127.0.0.1:99999999"), (b"host", b""), (b"host", b"\xff"),
    (b"host", b"localhost@evil"), (b"host", b"127.0.0.1/../x"), (b"authorization", b"Bearer "),
    (b"authorization", b"Bearer \xff\xfe"), (b"authorization", b"Basic QZXJ"), (b"authorization",
    b""),
    (b"authorization", b"Bearer QZXJ QZXJ"), (b"range", b"bytes=0-,0-,0-"), (b"expect",
    b"100-continue"),
    (b"x-forwarded-for", b"\r\n"), (b"accept", b"*/*" * 999), (b"cookie", MARK.encode()),
    (b"transfer-encoding", b"chunked"), (b"origin", b"http://evil.example"), (b"upgrade",
    b"websocket"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `pieces` is its body as it arrives, and `leaves` says the client then goes."""

    method: str
    path: str
    query: bytes = b""
    headers: list[Header] = field(default_factory=list)
    pieces: tuple[bytes, ...] = (b"",)
    leaves: bool = False


class Requests:
    """An endless source of them."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._bodies = Bodies(draw)

    def next(self) -> Asked:
        """A hostile request."""
        chance = self._draw.random()
        if chance < 0.6:
            return self._hot(())
        if chance < 0.75:
            return self._hot(self._odd_headers())
        if chance < 0.95:
            return self._anywhere()
        return self._administering()

    def _hot(self, headers: tuple[Header, ...]) -> Asked:
        draw = self._draw
        body = self._bodies.next()
        path = draw.choice(("/learn", "/predict"))
        if draw.random() < 0.3:
            path = f"/models/{draw.choice((*MODELS, 'none'))}{path}"
        given = [(b"content-type", body.kind.encode())]
        if body.encoding is not None:
            given.append((b"content-encoding", body.encoding.encode()))
        if draw.random() < 0.1:
            given.append((b"idempotency-key", b"key-%d" % draw.randrange(50)))
        query = draw.choice(_QUERIES) if draw.random() < 0.1 else b""
        if body.kind == VW_TEXT and draw.random() < 0.2:
            query = b"id=tag"
        return Asked("POST", path, query, [*given, *headers], *self._pieces(body.content))

    def _pieces(self, body: bytes) -> tuple[tuple[bytes, ...], bool]:
        draw = self._draw
        pieces = [body]
        while len(pieces) < 4 and draw.random() < 0.2:
            last = pieces.pop()
            cut = draw.randrange(len(last) + 1)
            pieces += [last[:cut], last[cut:]]
        return tuple(pieces), draw.random() < 0.03

    def _odd_headers(self) -> tuple[Header, ...]:
        draw = self._draw
        odd = [draw.choice(_HEADERS) for _ in range(draw.randrange(1, 3))]
        if draw.random() < 0.4:
            odd.append((b"content-type", draw.choice(_TYPES)))
        if draw.random() < 0.02:
            odd += [(b"x-%d" % number, MARK.encode()) for number in range(500)]
        return tuple(odd)

    def _anywhere(self) -> Asked:
        draw = self._draw
        path = draw.choice(_PATHS)
        for _ in range(draw.randrange(3)):
            parts = path.split("/")
            parts.insert(draw.randrange(len(parts) + 1), draw.choice(_PARTS))
            path = "/".join(parts)
        if draw.random() < 0.05:
            path = draw.choice(("*", "", "http://evil.example/", "//", "/" * 99, path.upper()))
        body = self._bodies.next() if draw.random() < 0.3 else None
        headers = list(self._odd_headers()) if draw.random() < 0.5 else []
        if body is not None:
            headers.append((b"content-type", body.kind.encode()))
        pieces = (body.content,) if body is not None else (b"",)
        method = draw.choice(_METHODS)
        if path.startswith("/models/") and method in ("PUT", "DELETE"):
            method = "GET"  # models are what acknowledgements are counted of, and take memory
        return Asked(method, path, draw.choice(_QUERIES), headers, pieces)

    def _administering(self) -> Asked:
        """Small JSON bodies of the admin routes, one value of which is wrong."""
        draw = self._draw
        value, names = draw.choice(JSON_VALUES), ("learning_rate", "beta", "clipnorm", "l1", MARK)
        config = (
            f'{{"optimizer":{{"{draw.choice(names)}":{value}}},"table_bits":4,'
            f'"deduplication_window":8,"{draw.choice(("hash_seed", "scale", "admission", MARK))}":'
            f"{draw.choice(JSON_VALUES)}}}"
        )
        method, path, body = draw.choice(
            (
                ("PUT", "/models/made", config),
                ("PUT", "/models/made", f'{{"from_snapshot":{value}}}'),
                ("PATCH", "/models/other", config),
                ("POST", "/admin/snapshots", f'{{"name":{value}}}'),
                ("POST", "/admin/skip", f'{{"position":{value}}}'),
                ("PUT", f"/admin/snapshots/s{draw.randrange(9)}/file", "CFSNAP1\n" + value * 9),
                ("DELETE", "/models/made", ""),
            )
        )
        content = body.encode("utf-8", "surrogatepass")
        if draw.random() < 0.3:
            content = damaged(draw, content, [self._bodies.right(JSON)])
        return Asked(method, path, b"", [(b"content-type", b"application/json")], (content,))


def bodies_of_names() -> Iterator[dict[str, Any]]:
    """Bodies with as many names as a model keeps, so that no name takes memory later."""
    step = Limits().features
    for first in range(0, NAMES_MAX, step):
        yield {"label": 1, "features": {f"name-{n}": 1 for n in range(first, first + step)}}


def right_example(number: int) -> bytes:
    """A body of one example that is in order."""
    return msgspec.json.encode({"label": number & 1, "features": {"ad": f"a{number % 97}"}})
