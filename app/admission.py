"""Who may do what: a request's path, method, Host and Authorization against the table and the keys.

The answer follows from these and from nothing else: so a head of a request that was admitted once
is admitted until the keys change (app/direct_path.py, app/auth.py).

Without keys only the loopback is bound, yet any web page can have a browser send requests there
under a name of its own (DNS rebinding): so the Host header must then name this machine.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from starlette.types import Scope

from app.auth import KeyRing
from app.key_lines import ANYONE, Key
from app.problems import Problem
from app.request_body import headers
from app.route_table import Match

LOCAL_NAMES = frozenset({"localhost", "testserver"})


class Admission:
    """The rule, over the keys of the process."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def admit(self, scope: Scope, match: Match | None) -> tuple[Match, Key]:
        """Who asks, and for what; Problem 421, 401, 403, 404 or 405 when it is not to be."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if match is not None and match.route.scopes.get(method, "") is None:
            return match, ANYONE
        if self._keys.is_empty:
            _check_host(headers(scope, b"host"))
        key = self._keys.holder(headers(scope, b"authorization"))
        if match is None or b"%" in scope.get("raw_path", b""):
            raise Problem("not-found", "no route has this path")
        needed = match.route.scopes.get(method)
        if needed is None:
            allow = [(b"allow", match.route.allow)]
            raise Problem("method-not-allowed", "not with this method", headers=allow)
        if not key.may(needed):
            raise Problem("scope-missing", f"the key lacks the scope {needed}")
        if match.model is not None and not key.may_use(match.model):
            raise Problem("scope-missing", "the key is not for this model")
        return match, key


def _check_host(given: list[bytes]) -> None:
    """Problem 421 unless the Host header, where there is one, names this machine."""
    if not all(_is_local(value) for value in given):
        raise Problem("wrong-host", "without keys, only loopback names are served")


@lru_cache(maxsize=64)  # parsing an address takes 10 microseconds, a tenth of a prediction
def _is_local(host: bytes) -> bool:
    """Whether a Host header's value, with or without a port, names the loopback."""
    text = host.decode("latin-1")
    name, _, port = text.rpartition(":")
    name = name if port.isdigit() and name else text
    if name.lower() in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
