"""Every route, the methods it has, and the scope each needs: the one table that admits a request.

The gate asks this table before anything is routed, so a route that is missing here does not exist
outside, whatever FastAPI knows: deny by default. A test compares the two.

A path is matched as the router would match it, on the decoded path, segment by segment; nothing is
normalised. `//admin/snapshots`, `/admin/snapshots/` and `/admin/./snapshots` are no routes. A path
that arrives percent-encoded is none either: no route needs an escape, and a proxy in front that
guards /admin may read %2e or %2f otherwise than we do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from app.names import DEFAULT_MODEL

Scope = Literal["predict", "learn", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("predict", "learn", "read", "admin")
MODEL_PREFIX = "/models/{model}"
PROBES = frozenset({"/livez", "/readyz", "/startupz"})


@dataclass(frozen=True, slots=True)
class Route:
    """A path template and, for each method, the scope it needs (None: open to all)."""

    template: str
    scopes: Mapping[str, Scope | None]
    allow: bytes
    is_probe: bool
    learns: bool


@dataclass(frozen=True, slots=True)
class Match:
    """A route, and the model it is about (None: about no model in particular)."""

    route: Route
    model: str | None


# The same under /models/{model}; without it they are about the model `default`.
_OF_A_MODEL: dict[str, dict[str, Scope | None]] = {
    "/learn": {"POST": "learn"},
    "/predict": {"POST": "predict"},
    "/admin/snapshots": {"GET": "admin", "POST": "admin"},
    "/admin/snapshots/{name}": {"GET": "admin", "DELETE": "admin"},
    "/admin/snapshots/{name}/file": {"GET": "admin", "PUT": "admin"},
    "/admin/snapshots/{name}/restore": {"POST": "admin"},
    "/admin/skip": {"POST": "admin"},
    "/stats": {"GET": "read"},
    "/stats/history": {"GET": "read"},
    "/stats/reliability": {"GET": "read"},
    "/stats/slices": {"GET": "read"},
    "/stats/table": {"GET": "read"},
    "/stats/features": {"GET": "read"},
    "/stats/stream": {"GET": "read"},
    "/livez": {"GET": None},
    "/readyz": {"GET": None},
    "/startupz": {"GET": None},
}
_OF_NO_MODEL: dict[str, dict[str, Scope | None]] = {
    "/": {"GET": "read"},
    "/assets/{file}": {"GET": None},
    "/models": {"GET": "read"},
    "/metrics": {"GET": "read"},
    "/openapi.json": {"GET": "read"},
    "/docs": {"GET": "read"},
    "/redoc": {"GET": "read"},
    "/docs/assets/{file}": {"GET": "read"},
    "/problems": {"GET": "read"},
    "/problems/{slug}": {"GET": "read"},
}
_MODEL_ITSELF: dict[str, dict[str, Scope | None]] = {
    "": {"GET": "read", "PUT": "admin", "PATCH": "admin", "DELETE": "admin"},
    "/metrics": {"GET": "read"},
}


def _route(template: str, scopes: Mapping[str, Scope | None]) -> Route:
    methods = sorted({*scopes, "HEAD"} if "GET" in scopes else scopes)
    allow = ", ".join(methods).encode()
    is_probe = template.removeprefix(MODEL_PREFIX) in PROBES
    learns = scopes.get("POST") == "learn"
    return Route(template, MappingProxyType(dict(scopes)), allow, is_probe, learns)


def _matches(
    table: dict[str, dict[str, Scope | None]], prefix: str, model: str | None
) -> dict[str, Match]:
    return {path: Match(_route(prefix + path, scopes), model) for path, scopes in table.items()}


_FLAT = _matches(_OF_A_MODEL, "", DEFAULT_MODEL) | _matches(_OF_NO_MODEL, "", None)
_NESTED = {
    path: match.route
    for path, match in _matches(_OF_A_MODEL | _MODEL_ITSELF, MODEL_PREFIX, None).items()
}
ROUTES: tuple[Route, ...] = (*(match.route for match in _FLAT.values()), *_NESTED.values())
UNKNOWN = "unknown"  # the template in metrics of every path that is no route


def match_path(path: str) -> Match | None:
    """The route of a decoded path, or None when there is none."""
    found = _FLAT.get(path)
    if found is not None:
        return found if "{" not in path else None
    parts = path.split("/")
    if parts[1:2] == ["models"] and len(parts) >= 3:
        route = _NESTED.get(_template(parts[3:]))
        return Match(route, parts[2]) if route is not None and parts[2] else None
    return _FLAT.get(_template(parts[1:]))


def _template(parts: list[str]) -> str:
    """The path below a model with its names put back into braces; "-" when there is none."""
    if any(not part or part.startswith("{") for part in parts):
        return "-"
    if parts[:2] == ["admin", "snapshots"] and len(parts) > 2:
        parts = [*parts[:2], "{name}", *parts[3:]]
    elif parts[:1] == ["assets"] and len(parts) == 2:
        parts = ["assets", "{file}"]
    elif parts[:2] == ["docs", "assets"] and len(parts) == 3:
        parts = [*parts[:2], "{file}"]
    elif parts[:1] == ["problems"] and len(parts) == 2:
        parts = ["problems", "{slug}"]
    return "".join(f"/{part}" for part in parts)
