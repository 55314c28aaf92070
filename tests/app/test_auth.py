"""Who may do what: keys as they are written, and every route with every method and every key."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from app.auth import load_keys
from app.key_lines import Key, number_of
from app.main import MODEL_ROUTERS, ROUTERS
from app.problems import Problem
from app.route_table import MODEL_PREFIX, ROUTES, SCOPES, Route, match_path
from ftrl_core.errors import BadConfig
from tests.app.http_service import raw_request, running

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
SECRETS = {scope: f"key-for-{scope}-0123456789abcdef" for scope in SCOPES}
BOUND = "key-bound-to-ads-0123456789abcdef"
KEYS = "\n".join(
    [f"{scope} {scope} {secret}" for scope, secret in SECRETS.items()]
    + [f"bound learn,predict,read,admin ads,shop-* {BOUND}"]
)
PATHS = {"{model}": "ads", "{name}": "none", "{file}": "none.js", "{slug}": "bad-body"}


def bearer(secret: str) -> dict[str, str]:
    """The header that presents a key."""
    return {"authorization": f"Bearer {secret}"}


def _path(route: Route) -> str:
    path = route.template
    for placeholder, value in PATHS.items():
        path = path.replace(placeholder, value)
    return path


def _expected(route: Route, method: str, who: str | None) -> set[int]:
    """The statuses that the gate may give; an empty set: it lets the request through."""
    scope = route.scopes.get("GET" if method == "HEAD" else method, "none such")
    if scope is None:
        return set()
    if who is None:
        return {401}
    if scope == "none such":
        return {405}
    if who != scope and not (who == "admin" and scope == "read"):
        return {403}
    return set()


async def test_every_route_with_every_method_and_every_key(redis_url: str, tmp_path: Path) -> None:
    faults = []
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        for route in ROUTES:
            for method in METHODS:
                for who in (None, *SCOPES):
                    headers = bearer(SECRETS[who]) if who is not None else {}
                    reply = await raw_request(service.app, method, _path(route), headers=headers)
                    expected = _expected(route, method, who)
                    got = reply.status
                    wrong = got not in expected if expected else got in (401, 403, 405)
                    if wrong or got == 500:
                        faults.append(f"{method} {route.template} as {who}: {got}")
                    if got == 401 and "www-authenticate" not in reply.headers:
                        faults.append(f"{method} {route.template}: no challenge")
                    if got == 405 and reply.headers.get("allow") != route.allow.decode():
                        faults.append(f"{method} {route.template}: no Allow")
    assert not faults, "\n".join(faults)


def _routed() -> set[tuple[str, str]]:
    routers = [("", router) for router in ROUTERS]
    routers += [(MODEL_PREFIX, router) for router in MODEL_ROUTERS]
    return {
        (prefix + route.path, method)
        for prefix, router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def test_the_gate_and_the_router_know_the_same_routes() -> None:
    admitted = {(route.template, method) for route in ROUTES for method in route.scopes}
    assert _routed() == admitted
    assert all(isinstance(route, APIRoute) for router in ROUTERS for route in router.routes)


TRAPS = [
    "//admin/snapshots",
    "/admin//snapshots",
    "/admin/snapshots/",
    "/admin/./snapshots",
    "/learn/",
    "/Learn",
    "/LEARN",
    "/models/",
    "/models//learn",
    "/models/ads/../default/learn",
    "/admin/snapshots/{name}",
    "/docs/assets/../../openapi.json",
    "/docs/oauth2-redirect",
    "/static-offline-docs/favicon.png",
    "/admin",
    "/models/ads/docs",
    "/models/ads/metrics/x",
    "/\x00",
    "/stats\n",
    "*",
    "",
]


@pytest.mark.parametrize("path", TRAPS)
async def test_what_is_no_route_is_found_only_by_who_has_a_key(
    redis_url: str, tmp_path: Path, path: str
) -> None:
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        for method in ("GET", "POST", "OPTIONS"):
            nobody = await raw_request(service.app, method, path)
            assert nobody.status == 401, method
            known = await raw_request(service.app, method, path, headers=bearer(SECRETS["admin"]))
            assert known.status == 404, method
            assert json.loads(known.body)["type"] == "/problems/not-found"


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        (b"/%61dmin/snapshots", "/admin/snapshots"),
        (b"/admin%2fsnapshots", "/admin/snapshots"),
        (b"/models/%64efault", "/models/default"),
    ],
)
async def test_an_escaped_path_is_no_route(
    redis_url: str, tmp_path: Path, raw: bytes, decoded: str
) -> None:
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        nobody = await raw_request(service.app, "GET", decoded, raw_path=raw)
        assert nobody.status == 401
        headers = bearer(SECRETS["admin"])
        known = await raw_request(service.app, "GET", decoded, raw_path=raw, headers=headers)
        assert known.status == 404


BAD_AUTHORIZATIONS = [
    [("authorization", "")],
    [("authorization", "Bearer")],
    [("authorization", "Bearer ")],
    [("authorization", SECRETS["admin"])],
    [("authorization", f"Basic {SECRETS['admin']}")],
    [("authorization", f"Bearer {SECRETS['admin']}x")],
    [("authorization", f"Bearer {SECRETS['admin'][:-1]}")],
    [("authorization", f"Bearer {SECRETS['admin'].upper()}")],
    [("authorization", "Bearer \u00e9\u00ff")],
    [("authorization", f"Bearer {SECRETS['admin']}")] * 2,
    [("authorization", "Bearer x"), ("authorization", f"Bearer {SECRETS['admin']}")],
    [("x-authorization", f"Bearer {SECRETS['admin']}")],
]


@pytest.mark.parametrize("headers", BAD_AUTHORIZATIONS)
async def test_what_is_no_key(
    redis_url: str, tmp_path: Path, headers: list[tuple[str, str]]
) -> None:
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        reply = await raw_request(service.app, "GET", "/stats", headers=headers)
        assert reply.status == 401
        assert SECRETS["admin"].encode() not in reply.body


async def test_the_scheme_may_be_in_any_case(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        for scheme in ("Bearer", "bearer", "BEARER"):
            headers = {"authorization": f"{scheme} {SECRETS['read']}"}
            reply = await raw_request(service.app, "GET", "/stats", headers=headers)
            assert reply.status == 200


async def test_a_key_bound_to_models(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        client = service.client
        client.headers.update(bearer(BOUND))
        for method, path in (("GET", "/stats"), ("POST", "/learn"), ("PUT", "/models/other")):
            assert (await client.request(method, path)).status_code == 403, path
        assert (await client.put("/models/ads", json={"table_bits": 10})).status_code == 201
        assert (await client.put("/models/shop-1", json={"table_bits": 10})).status_code == 201
        listed = (await client.get("/models")).json()["models"]
        assert [one["model"] for one in listed] == ["ads", "shop-1"]
        assert 'model="default"' not in (await client.get("/metrics")).text
        assert "default" not in (await client.get("/")).text
        stolen = await client.put("/models/shop-2", json={"from_snapshot": "default/one"})
        assert stolen.status_code == 403


async def test_probes_need_no_key_and_name_no_model(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        await service.hub.get("default")
        for path in ("/livez", "/readyz", "/startupz", "/readyz?for=learn"):
            reply = await service.client.get(path)
            assert reply.status_code == 200
            assert "default" not in reply.text


HOSTS = [
    ("127.0.0.1", 200),
    ("127.0.0.1:8000", 200),
    ("127.9.9.9", 200),
    ("localhost", 200),
    ("LocalHost:8123", 200),
    ("[::1]", 200),
    ("[::1]:8000", 200),
    ("evil.example", 421),
    ("localhost.evil.example:8000", 421),
    ("127.0.0.1.evil.example", 421),
    ("192.168.1.4:8000", 421),
    ("", 421),
    ("[", 421),
    ("\u00e9", 421),
]


@pytest.mark.parametrize(("host", "status"), HOSTS)
async def test_without_keys_the_host_must_be_local(
    redis_url: str, tmp_path: Path, host: str, status: int
) -> None:
    async with running(redis_url, tmp_path) as service:
        reply = await raw_request(service.app, "GET", "/stats", headers={"host": host})
        assert reply.status == status


async def test_with_keys_any_host_will_do(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        headers = {"host": "ctr.example", **bearer(SECRETS["read"])}
        assert (await raw_request(service.app, "GET", "/stats", headers=headers)).status == 200


def test_keys_from_text_and_file(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"third").hexdigest()
    file = tmp_path / "keys"
    file.write_text(f"# comment\n\nc  admin  ads,b*  sha256:{digest}\n")
    ring = load_keys("a predict first; b learn,read * second", file)
    first = ring.holder([b"Bearer first"])
    assert first == Key(
        "a",
        frozenset({"predict"}),
        None,
        hashlib.sha256(b"first").digest(),
        number_of("a"),
        is_plain=True,
    )
    third = ring.holder([b"Bearer third"])
    assert (third.name, third.number, third.models) == ("c", number_of("c"), ("ads", "b*"))
    assert third.may("read")
    assert not third.may("learn")
    assert third.may_use("ads")
    assert third.may_use("banner")
    assert not third.may_use("ads2")
    with pytest.raises(Problem):
        ring.holder([b"Bearer " + digest.encode()])


@pytest.mark.parametrize(
    "text",
    [
        "name predict",
        "name predict a b secret-key",
        "name fly secret-key",
        "name predict, secret-key",
        "name predict UPPER secret-key",
        "name predict sha256:abc",
        "",
        "# nothing",
    ],
)
def test_bad_keys_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(BadConfig) as caught:
        load_keys(text, None)
    assert "secret" not in str(caught.value)


def test_paths_are_matched_as_they_stand() -> None:
    match = match_path("/models/ads/admin/snapshots/one/file")
    assert match is not None
    assert match.model == "ads"
    assert match.route.template == "/models/{model}/admin/snapshots/{name}/file"
    assert match_path("/models/ads/admin/snapshots/one/file/") is None
