"""Keys: who may do what, told by the request's Authorization header alone.

Keys come from CLICKFOLD_KEYS (lines, or separated by `;`) or from a file of lines:

    # name   scopes          models          key
    web      predict         *               3f9c0c6e5e0d4a1f8f5d1c0b7a6e2d94
    trainer  learn,predict   ads,ads-*       sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b...
    ops      admin           *               sha256:...

Scopes are predict, learn, read and admin; admin includes read. Models are names, or prefixes that
end in `*`, separated by commas; left out, a key is good for all. A line that begins with # is a
comment. A key is written as it is sent,
or as `sha256:` and its digest, so that a file that leaks is of no use.

Only digests are kept. A presented key is hashed and compared with all of them, each by
`hmac.compare_digest` on bytes and without stopping at the first that fits, so time tells nothing.
A key may be listed twice under two names while it is being changed for another; scopes add up only
within one line: the first line that fits counts.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from app.problems import Problem
from app.route_table import SCOPES, Scope
from ftrl_core.errors import BadConfig

_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_MODELS = re.compile(r"(\*|[a-z0-9][a-z0-9._-]{0,63}\*?)(,(\*|[a-z0-9][a-z0-9._-]{0,63}\*?))*")
_CHALLENGE = [(b"www-authenticate", b'Bearer realm="clickfold"')]
_INVALID = [(b"www-authenticate", b'Bearer realm="clickfold", error="invalid_token"')]


@dataclass(frozen=True, slots=True)
class Key:
    """One line: a digest, and what it allows. `number` names it in the log, 0 is no key."""

    name: str
    scopes: frozenset[Scope]
    models: tuple[str, ...] | None
    digest: bytes
    number: int

    def may(self, scope: Scope) -> bool:
        """Whether the key has the scope; admin includes read."""
        return scope in self.scopes or (scope == "read" and "admin" in self.scopes)

    def may_use(self, model: str) -> bool:
        """Whether the key is good for the model."""
        if self.models is None:
            return True
        return any(model.startswith(m[:-1]) if m.endswith("*") else model == m for m in self.models)


ANYONE = Key("anyone", frozenset(SCOPES), None, b"", 0)


class KeyRing:
    """All keys of the process; an empty ring lets anyone in (on the loopback, see the gate)."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    @property
    def is_empty(self) -> bool:
        """Whether no key is asked for."""
        return not self._keys

    def holder(self, authorization: list[bytes]) -> Key:
        """The key that the Authorization headers present; Problem 401 when there is none."""
        if not self._keys:
            return ANYONE
        if not authorization:
            raise Problem("no-key", "this needs a key", headers=_CHALLENGE)
        scheme, _, presented = authorization[0].partition(b" ")
        if len(authorization) > 1 or scheme.lower() != b"bearer":
            raise Problem("no-key", "one bearer key is needed", headers=_CHALLENGE)
        digest = hashlib.sha256(presented.strip(b" ")).digest()
        found: Key | None = None
        for key in reversed(self._keys):
            if hmac.compare_digest(digest, key.digest):
                found = key
        if found is None:
            raise Problem("no-key", "the key is not known", headers=_INVALID)
        return found


def load_keys(text: str | None, path: Path | None) -> KeyRing:
    """The ring of CLICKFOLD_KEYS and of the keys file together.

    Raises BadConfig that names the line and never shows a key.
    """
    lines: list[tuple[str, str]] = []
    if text is not None:
        parts = re.split(r"[;\n]", text)
        lines += [(f"CLICKFOLD_KEYS, entry {i}", part) for i, part in enumerate(parts, 1)]
    if path is not None:
        rows = path.read_text("utf-8").splitlines()
        lines += [(f"{path}, line {i}", row) for i, row in enumerate(rows, 1)]
    ring = KeyRing(list(_keys(lines)))
    if ring.is_empty and (text is not None or path is not None):
        raise BadConfig("keys are asked for, and none is given: see CLICKFOLD_KEYS and keys_file")
    return ring


def _keys(lines: Iterable[tuple[str, str]]) -> Iterable[Key]:
    number = 0
    for where, line in lines:
        fields = line.split()
        if fields and not fields[0].startswith("#"):
            number += 1
            yield _key(where, fields, number)


def _key(where: str, fields: list[str], number: int) -> Key:
    if len(fields) not in (3, 4):
        raise BadConfig(f"{where}: expected `name scope[,scope] [models] key`")
    scopes = fields[1].split(",")
    if not set(scopes) <= set(SCOPES):
        raise BadConfig(f"{where}: scopes are {', '.join(SCOPES)}")
    models = fields[2] if len(fields) == 4 else "*"
    if _MODELS.fullmatch(models) is None:
        raise BadConfig(f"{where}: models are names, or prefixes ending in *, with commas between")
    bound = None if "*" in models.split(",") else tuple(models.split(","))
    given = cast("list[Scope]", scopes)
    return Key(fields[0], frozenset(given), bound, _digest(where, fields[-1]), number)


def _digest(where: str, written: str) -> bytes:
    match = _DIGEST.fullmatch(written)
    if match is not None:
        return bytes.fromhex(match[1])
    if written.startswith("sha256:"):
        raise BadConfig(f"{where}: sha256: is followed by 64 hex digits")
    return hashlib.sha256(written.encode()).digest()
