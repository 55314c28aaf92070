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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

from redis.exceptions import ResponseError

from app.redis_connections import Command, RedisConnections
from ftrl_core.checkpoint import Manifest

STRINGS = ("page", "state", "manifest")
HASHES = ("meta", "generations", "producers", "models")
ENTRY = {
    "payload": b"b", "nonce": b"n", "previous nonce": b"p", "time": b"t", "log bytes": b"c",
}  # fmt: skip
LOG = (*ENTRY, "position", "field")
KINDS = (*STRINGS, *HASHES, *LOG)
KIND = re.compile(rb":(page|state|manifest|meta|generations|producers|models|log)(?::|$)")
Entry = tuple[bytes, list[bytes]]  # id; names and values in turn


def flipped(content: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(content)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def any_flipped(draw: random.Random, content: bytes) -> bytes:
    """The bytes with a random bit changed."""
    return flipped(content, draw.randrange(8 * len(content)))


@dataclass(frozen=True, slots=True)
class Flip:
    """What was done."""

    kind: str
    key: bytes
    detail: str
    recoverable: bool  # it lies in one checkpoint: the other one and the log are whole

    @property
    def model(self) -> str | None:
        """Whose key it is; None for the index of models."""
        found = re.match(rb"\{ctr:([^}]*)\}", self.key)
        return found[1].decode() if found else None

    def __str__(self) -> str:
        return f"{self.kind} of {self.key.decode()} {self.detail}"


class Flipper:
    """Draws flips on a server and takes them back; made by `begin`."""

    def __init__(self, connections: RedisConnections, draw: random.Random) -> None:
        self._ask = connections.write_command
        self._ask_all = connections.write_commands
        self._draw = draw
        self._dumps: dict[bytes, bytes] = {}
        self._keys: dict[str, list[bytes]] = defaultdict(list)
        self._once: set[bytes] = set()  # what no other checkpoint stands in for
        self._digest = b""

    @classmethod
    async def begin(cls, connections: RedisConnections, draw: random.Random) -> Self:
        """Remember what is there."""
        flipper = cls(connections, draw)
        for key in sorted(await flipper._ask("KEYS", "*")):
            kind = KIND.search(key)
            if kind is not None:
                flipper._dumps[key] = await flipper._ask("DUMP", key)
                flipper._keys[kind[1].decode()].append(key)
        for key in flipper._keys["generations"]:
            await flipper._look_for_what_is_there_once(key)
        flipper._digest = await flipper._ask("DEBUG", "DIGEST")
        return flipper

    async def _look_for_what_is_there_once(self, generations: bytes) -> None:
        """A restore's pages, and what both manifests kept name since it did not change."""
        tag = generations.rpartition(b":")[0]
        rows = await self._ask("HGETALL", generations)
        restores = [n for n, row in zip(rows[::2], rows[1::2], strict=True) if b"restore" in row]
        self._once |= {key for key in self._dumps if any(name in key for name in restores)}
        kept = await self._ask("HMGET", tag + b":meta", "manifest", "previous")
        named = []
        for generation in kept:
            manifest = await self._ask("GET", tag + b":manifest:" + generation)
            named.append(_named(tag, Manifest.decode(manifest)) if manifest else set[bytes]())
        self._once |= named[0] & named[1]

    async def flip(self, kind: str) -> Flip:
        """Change one bit of a kind."""
        change: Callable[[bytes, str], Awaitable[str]] = self._entry
        if kind in STRINGS:
            change = self._string
        elif kind in HASHES:
            change = self._field
        key = self._draw.choice(self._keys["log" if kind in LOG else kind])
        detail, recoverable = await change(key, kind), kind in STRINGS and key not in self._once
        return Flip(kind, key, detail, recoverable)

    async def put_back(self, flip: Flip) -> None:
        """Also what the service wrote since: a note of damage, the index."""
        keys = {flip.key, *(key for kind in HASHES for key in self._keys[kind])}
        await self._ask_all([("RESTORE", key, 0, self._dumps[key], "REPLACE") for key in keys])

    async def check_put_back(self) -> None:
        """AssertionError when the data set is not what it was at first."""
        extra = set(await self._ask("KEYS", "*")) - self._dumps.keys()
        assert not extra, f"the service made {extra}"
        assert await self._ask("DEBUG", "DIGEST") == self._digest, "a flip was not put back"

    async def _string(self, key: bytes, _kind: str) -> str:
        content = await self._ask("GET", key)
        await self._ask("SET", key, any_flipped(self._draw, content))
        return ""

    async def _field(self, key: bytes, _kind: str) -> str:
        reply = await self._ask("HGETALL", key)
        name, value = self._draw.choice(sorted(zip(reply[::2], reply[1::2], strict=True)))
        if value and self._draw.random() < 0.8:
            changed = any_flipped(self._draw, value)
            await self._ask("HSET", key, name, changed)
            return f"{name!r}: {value[:40]!r} -> {changed[:40]!r}"
        renamed = any_flipped(self._draw, name)
        await self._ask_all([("HDEL", key, name), ("HSET", key, renamed, value)])
        return f"{name!r} -> {renamed!r}"

    async def _entry(self, key: bytes, kind: str) -> str:
        entries: list[Entry] = await self._ask("XRANGE", key, "-", "+")
        while True:
            place = self._draw.randrange(len(entries))
            was = entries[place]
            now, detail = self._changed(was, kind)
            if await self._write(key, [*entries[:place], now, *entries[place + 1 :]]):
                return f"entry {was[0].decode()}: {detail}"
            await self._ask("RESTORE", key, 0, self._dumps[key], "REPLACE")

    def _changed(self, entry: Entry, kind: str) -> tuple[Entry, str]:
        position, words = entry[0], list(entry[1])
        if kind == "position":
            changed = any_flipped(self._draw, position)
            return (changed, words), f"id {changed!r}"
        if kind == "field":
            at = 2 * self._draw.randrange(len(words) // 2)
        else:
            at = words.index(ENTRY[kind]) + 1
        before, words[at] = words[at], any_flipped(self._draw, words[at])
        return (position, words), f"{before[:20]!r} -> {words[at][:20]!r}"

    async def _write(self, key: bytes, entries: list[Entry]) -> bool:
        """The stream anew, in the order of its ids; False where an id is none or there twice."""
        numbers = [_numbers(position) for position, _ in entries]
        if len(set(numbers)) < len(numbers) or None in numbers:
            return False
        ordered = sorted(entries, key=lambda entry: _numbers(entry[0]) or (0, 0))
        commands: list[Command] = [("DEL", key)]
        commands += [("XADD", key, position, *words) for position, words in ordered]
        replies: list[Any] = await self._ask_all(commands)
        return not any(isinstance(reply, ResponseError) for reply in replies)


def _named(tag: bytes, manifest: Manifest) -> set[bytes]:
    """Keys of the pages and segments that a manifest names."""
    return {
        b"%b:%b:%b:%d" % (tag, kind, manifest.generations[number].encode(), index)
        for kind, numbers in (
            (b"page", manifest.page_generation),
            (b"state", manifest.segment_generation),
        )
        for index, number in enumerate(numbers)
        if number >= 0
    }


def _numbers(position: bytes) -> tuple[int, int] | None:
    """An id as the server orders it; None for what is none."""
    found = re.fullmatch(rb"(\d{1,18})-(\d{1,18})", position)
    return (int(found[1]), int(found[2])) if found else None
