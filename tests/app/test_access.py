"""Every route, every method, every kind of key: the status of each cell, from a real server.

The rule below is written anew from what the API promises, by the shape of a path; it knows neither
the route table nor the admission. Where a cell lets a request through, the status may be anything
but a refusal at the gate or a failure.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from app.key_lines import line_of
from app.route_table import ROUTES
from tests.app.test_server import Server, serving

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
KEYS = {
    "predict": (["predict"], "*"),
    "learn": (["learn"], "*"),
    "read": (["read"], "*"),
    "admin": (["admin"], "*"),
    "all": (["predict", "learn", "read", "admin"], "*"),
    "other model's": (["predict", "learn", "read", "admin"], "other,shop-*"),
    "this model's": (["predict", "learn", "read", "admin"], "ads,default"),
}
KINDS = ("none", "wrong", *KEYS)
NAMES = {"{model}": "ads", "{name}": "nothing", "{file}": "nothing.js", "{slug}": "nothing"}
LET_THROUGH = 0
REFUSALS = {401, 403, 405, 421}
TRAPS = [
    "//stats",
    "/stats/",
    "/Stats",
    "/./stats",
    "/x/../stats",
    "/%73tats",
    "/stats%2f",
    "/models/ads//stats",
    "/models//stats",
    "/admin",
    "/models/ads/admin/snapshots/..%2fx/file",
    "/stats;x",
    "/nowhere",
]


def needs(path: str, method: str) -> str | None:
    """The scope that the API promises; "" for anybody, None for no such method."""
    method = "GET" if method == "HEAD" else method
    rest = re.sub(r"^/models/[^/]+", "", path) or "(the model)"
    if rest in ("/livez", "/readyz", "/startupz") or path.startswith("/assets/"):
        return "" if method == "GET" else None
    if rest in ("/learn", "/predict"):
        return rest[1:] if method == "POST" else None
    if rest == "(the model)":
        return {"GET": "read", "PUT": "admin", "PATCH": "admin", "DELETE": "admin"}.get(method)
    if rest.startswith("/admin/"):
        last = rest.rpartition("/")[2]
        methods = {
            "skip": {"POST"}, "restore": {"POST"}, "snapshots": {"GET", "POST"},
            "file": {"GET", "PUT"},
        }.get(last, {"GET", "DELETE"})  # fmt: skip
        return "admin" if method in methods else None
    return "read" if method == "GET" else None


def expected(path: str, method: str, kind: str) -> int:
    """The status of a cell; LET_THROUGH where the gate has nothing against it."""
    scope = needs(path, method)
    if scope == "":
        return LET_THROUGH
    if kind in ("none", "wrong"):
        return 401
    if scope is None:
        return 405
    scopes, models = KEYS[kind]
    if scope not in scopes and not (scope == "read" and "admin" in scopes):
        return 403
    about_a_model = path.startswith("/models/") or needs(f"/models/ads{path}", method) is not None
    is_page = re.match(r"^/(models|metrics|openapi.json|docs.*|redoc|problems.*)?$", path)
    if about_a_model and not is_page and models == "other,shop-*":
        return 403
    return LET_THROUGH


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with keys."""
    folder = tmp_path_factory.mktemp("access")
    file = folder / "keys"
    lines = [
        line_of(f"key-{place}", scopes, models, f"secret of {kind}".replace(" ", "-"))
        for place, (kind, (scopes, models)) in enumerate(KEYS.items())
    ]
    file.write_text("\n".join(lines))
    with serving(folder, "--keys-file", str(file)) as running:
        running.wait()
        yield running


@pytest.fixture
def connection(server: Server) -> Iterator[http.client.HTTPConnection]:
    """To that service."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as made:
        yield made


def ask(connection: http.client.HTTPConnection, method: str, path: str, kind: str) -> int:
    """The status of one request without a body, exactly as written."""
    asked = f"{path}?seconds=0.05" if path.endswith("/stats/stream") else path  # it ends by itself
    connection.putrequest(method, asked, skip_accept_encoding=True)
    if kind != "none":
        secret = f"secret of {kind}".replace(" ", "-")
        connection.putheader("Authorization", f"Bearer {secret}")
    connection.endheaders()
    reply = connection.getresponse()
    reply.read()
    return reply.status


def test_every_cell(connection: http.client.HTTPConnection) -> None:
    faults = []
    cells = 0
    for route in ROUTES:
        path = route.template
        for placeholder, name in NAMES.items():
            path = path.replace(placeholder, name)
        for method in METHODS:
            for kind in KINDS:
                wanted = expected(path, method, kind)
                got = ask(connection, method, path, kind)
                cells += 1
                let_through = got not in REFUSALS and got < 500
                if got != wanted if wanted else not let_through:
                    faults.append(f"{method} {path} as {kind}: {got}, not {wanted or 'admitted'}")
    assert not faults, "\n".join(faults)
    assert cells == len(ROUTES) * len(METHODS) * len(KINDS)


def test_what_is_no_route(connection: http.client.HTTPConnection) -> None:
    for path in TRAPS:
        for method in METHODS:
            statuses = [ask(connection, method, path, kind) for kind in KINDS]
            assert statuses == [401, 401, *[404] * len(KEYS)], (method, path)
