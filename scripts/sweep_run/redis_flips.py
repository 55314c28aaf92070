"""One bit of what lies in Redis, changed and put back.

page state manifest     a string's bytes
payload nonce time ...  a field of a log entry; `position` its id, `field` a field's name. A
                        stream does not let its entries be changed, so it is written anew
meta generations ...    a field of a hash, its value or its name
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from scripts.sweep_run.server import BareServer

STRINGS = ("page", "state", "manifest")
HASHES = ("meta", "generations", "producers", "models")
ENTRY = {
    "payload": b"b", "nonce": b"n", "previous nonce": b"p", "time": b"t", "log bytes": b"c",
}  # fmt: skip
LOG = (*ENTRY, "position", "field")
KINDS = (*STRINGS, *HASHES, *LOG)
KIND = re.compile(rb":(page|state|manifest|meta|generations|producers|models|log)(?::|$)")
Entries = list[tuple[bytes, list[bytes]]]


def flipped(content: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(content)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def any_bit(draw: random.Random, content: bytes) -> bytes:
    """The bytes with a random bit changed."""
    return flipped(content, draw.randrange(8 * len(content)))


@dataclass(frozen=True, slots=True)
class Flip:
    """What was done."""

    kind: str
    key: bytes
    detail: str

    @property
    def model(self) -> str | None:
        """Whose key it is; None for the index of models."""
        found = re.match(rb"\{ctr:([^}]*)\}", self.key)
        return found[1].decode() if found else None


class Flipper:
    """Draws flips on a server and takes them back."""

    def __init__(self, server: BareServer, draw: random.Random) -> None:
        self._server, self._draw = server, draw
        self._dumps: dict[bytes, bytes] = {}
        self._keys: dict[str, list[bytes]] = defaultdict(list)
        for key in sorted(server.ask("KEYS", "*")):
            kind = KIND.search(key)
            if kind is not None:
                self._dumps[key] = server.ask("DUMP", key)
                self._keys[kind[1].decode()].append(key)
        self._digest = server.dataset_digest()

    def flip(self, kind: str) -> Flip:
        """Change one bit of a kind."""
        change: Callable[[bytes, str], str] = self._entry
        if kind in STRINGS:
            change = self._string
        elif kind in HASHES:
            change = self._field
        key = self._draw.choice(self._keys["log" if kind in LOG else kind])
        return Flip(kind, key, change(key, kind))

    def put_back(self, flip: Flip) -> None:
        """Also what the service wrote since: a note of damage, a producer, the index."""
        small = [key for kind in HASHES for key in self._keys[kind]]
        for key in {flip.key, *small}:
            self._server.ask("RESTORE", key, 0, self._dumps[key], "REPLACE")

    def check_put_back(self) -> None:
        """AssertionError when the data set is not what it was at first."""
        for key in set(self._server.ask("KEYS", "*")) - self._dumps.keys():
            self._server.ask("DEL", key)
        assert self._server.dataset_digest() == self._digest, "a flip was not put back"

    def _string(self, key: bytes, _kind: str) -> str:
        content = self._server.ask("GET", key)
        self._server.ask("SET", key, any_bit(self._draw, content))
        return ""

    def _field(self, key: bytes, _kind: str) -> str:
        words: dict[bytes, bytes] = self._server.client.hgetall(key)
        name = self._draw.choice(sorted(words))
        value = words[name]
        if value and self._draw.random() < 0.8:
            changed = any_bit(self._draw, value)
            self._server.ask("HSET", key, name, changed)
            return f"{name!r}: {value[:40]!r} -> {changed[:40]!r}"
        renamed = any_bit(self._draw, name)
        self._server.ask("HDEL", key, name)
        self._server.ask("HSET", key, renamed, value)
        return f"{name!r} -> {renamed!r}"

    def _entry(self, key: bytes, kind: str) -> str:
        while True:
            entries: Entries = self._server.ask("XRANGE", key, "-", "+")
            entries = [(position, list(words)) for position, words in _flat(entries)]
            place = self._draw.randrange(len(entries))
            was, detail = entries[place], ""
            entries[place], detail = self._changed(*was, kind)
            try:
                self._write(key, entries)
                return f"entry {was[0].decode()}: {detail}"
            except ResponseError:  # an id that is none, or is there twice: draw again
                self._server.ask("RESTORE", key, 0, self._dumps[key], "REPLACE")

    def _changed(
        self, position: bytes, words: list[bytes], kind: str
    ) -> tuple[tuple[bytes, list[bytes]], str]:
        if kind == "position":
            changed = any_bit(self._draw, position)
            return (changed, words), f"id {changed!r}"
        if kind == "field":
            at = 2 * self._draw.randrange(len(words) // 2)
        else:
            at = words.index(ENTRY[kind]) + 1
        before, words[at] = words[at], any_bit(self._draw, words[at])
        return (position, words), f"{before[:20]!r} -> {words[at][:20]!r}"

    def _write(self, key: bytes, entries: Entries) -> None:
        """The stream anew, in the order of its ids."""
        numbers = [tuple(int(part) for part in _id(position)) for position, _ in entries]
        order = sorted(range(len(entries)), key=numbers.__getitem__)
        commands = self._server.client.pipeline(transaction=False)
        commands.execute_command("DEL", key)
        for place in order:
            position, words = entries[place]
            commands.execute_command("XADD", key, position, *words)
        commands.execute()


def _id(position: bytes) -> list[bytes]:
    parts = position.split(b"-")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise ResponseError("not an id")
    return parts


def _flat(entries: Any) -> list[tuple[bytes, list[bytes]]]:
    """Entries as the client library gives them: fields as a dict, or flat."""
    flat = []
    for position, fields in entries:
        if isinstance(fields, dict):
            fields = [word for pair in fields.items() for word in pair]
        flat.append((position, fields))
    return flat
