"""Lines of keys: how they are written, read, and made.

    # name   scopes          models   options               key
    web      predict         *                              sha256:9f86d081884c7d659a2feaa0c55ad...
    trainer  learn,predict   ads-*    rate=5000 share=0.5   sha256:3f9c0c6e5e0d4a1f8f5d1c0b7a6e2...
    ops      admin           *                              sha256:...

Scopes are predict, learn, read and admin; admin includes read. Models are names, or prefixes that
end in `*`, separated by commas; left out, a key is good for all. `rate` is how many examples a
second the key may have learned (by each process), `share` how much of a model's latest examples
may be its own. A line that begins with # is a comment. A key is written as it is sent, or, better,
as `sha256:` and its digest, so that a file that leaks is of no use.

While a key is changed for another, both have a line with the same name: it is the name that is
accounted for, not the line. In the log a name is a number of 16 bits, which follows from the name
alone: so it is the same for every replica, after every change of the lines, and for ever. Two names
with one number are refused (of a hundred names, one set in thirteen has such a pair: rename one).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from app.route_table import SCOPES, Scope
from ftrl_core.errors import BadConfig

PREFIX = "cf_"  # of the keys made here, so that a scanner for secrets knows one when it sees it
SECRET_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_MODELS = re.compile(r"(\*|[a-z0-9][a-z0-9._-]{0,63}\*?)(,(\*|[a-z0-9][a-z0-9._-]{0,63}\*?))*")
_OPTION = re.compile(r"(rate|share)=(\d{1,12}(?:\.\d{1,6})?)")
_NUMBERS = (1 << 16) - 1


@dataclass(frozen=True, slots=True)
class Key:
    """One line: a digest, and what it allows. `number` stands for the name in the log, 0 for none.

    `rate` and `share` are None where the line does not say.
    """

    name: str
    scopes: frozenset[Scope]
    models: tuple[str, ...] | None
    digest: bytes
    number: int
    rate: float | None = None
    share: float | None = None
    is_plain: bool = False  # the key itself was written down

    def may(self, scope: Scope) -> bool:
        """Whether the key has the scope; admin includes read."""
        return scope in self.scopes or (scope == "read" and "admin" in self.scopes)

    def may_use(self, model: str) -> bool:
        """Whether the key is good for the model."""
        if self.models is None:
            return True
        return any(model.startswith(m[:-1]) if m.endswith("*") else model == m for m in self.models)


ANYONE = Key("anyone", frozenset(SCOPES), None, b"", 0)


def number_of(name: str) -> int:
    """What stands for a name in the log: 1 to 65,535."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % _NUMBERS + 1


def read_lines(lines: Iterable[tuple[str, str]]) -> list[Key]:
    """The keys of lines, each with where it stands. BadConfig names that and never shows a key."""
    keys: list[Key] = []
    names: dict[int, str] = {}
    for where, line in lines:
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        key = _read(where, fields)
        if names.setdefault(key.number, key.name) != key.name:
            other = names[key.number]
            raise BadConfig(f"{where}: {key.name} and {other} have one number; rename one of them")
        keys.append(key)
    return keys


def lines_of(text: str | None, path: Path | None) -> Iterator[tuple[str, str]]:
    """The lines of CLICKFOLD_KEYS and the keys file, with where they stand. BadConfig, OSError."""
    if text is not None:
        parts = re.split(r"[;\n]", text)
        yield from ((f"CLICKFOLD_KEYS, entry {i}", part) for i, part in enumerate(parts, 1))
    if path is not None:
        try:
            rows = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            raise BadConfig(f"{path}: the file is not UTF-8") from None
        yield from ((f"{path}, line {i}", row) for i, row in enumerate(rows, 1))


def new_key() -> str:
    """A key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest_of(key: str) -> str:
    """What is written in place of the key."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def line_of(
    name: str, scopes: Sequence[str], models: str, key: str, options: Sequence[str] = ()
) -> str:
    """The line for a key; BadConfig when it would not be read back."""
    line = " ".join([name, ",".join(scopes), models, *options, digest_of(key)])
    read_lines([("the key", line)])
    return line


def _read(where: str, fields: list[str]) -> Key:
    if len(fields) < 3:
        raise BadConfig(f"{where}: expected `name scope[,scope] [models] [rate=N] [share=N] key`")
    name, scopes, between, written = fields[0], fields[1].split(","), fields[2:-1], fields[-1]
    if NAME.fullmatch(name) is None:
        raise BadConfig(f"{where}: a name has letters, digits, dots, dashes and underscores")
    if not set(scopes) <= set(SCOPES):
        raise BadConfig(f"{where}: scopes are {', '.join(SCOPES)}")
    models = between.pop(0) if between and "=" not in between[0] else "*"
    if _MODELS.fullmatch(models) is None:
        raise BadConfig(f"{where}: models are names, or prefixes ending in *, with commas between")
    bound = None if "*" in models.split(",") else tuple(models.split(","))
    options = _options(where, between)
    digest = _digest(where, written)
    return Key(
        name, frozenset(cast("list[Scope]", scopes)), bound, digest, number_of(name),
        options.get("rate"), options.get("share"), is_plain=not written.startswith("sha256:"),
    )  # fmt: skip


def _options(where: str, fields: list[str]) -> dict[str, float]:
    options: dict[str, float] = {}
    for field in fields:
        match = _OPTION.fullmatch(field)
        if match is None or match[1] in options:
            raise BadConfig(f"{where}: between models and key there are rate=N and share=N only")
        options[match[1]] = float(match[2])
    if not 0 < options.get("share", 1.0) <= 1:
        raise BadConfig(f"{where}: a share is more than 0 and at most 1")
    return options


def _digest(where: str, written: str) -> bytes:
    match = _DIGEST.fullmatch(written)
    if match is not None:
        return bytes.fromhex(match[1])
    if written.startswith("sha256:"):
        raise BadConfig(f"{where}: sha256: is followed by 64 hex digits")
    return hashlib.sha256(written.encode()).digest()
