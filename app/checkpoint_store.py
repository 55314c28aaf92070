"""Checkpoints of one model in Redis: pages, state segments and the manifests that name them.

Only this file and checkpoint_garbage.py know these keys. A checkpoint is five steps, each of them
a script that any replica may run at any time, late or twice (the rules are in lua/begin.lua,
put.lua, commit.lua and drop.lua):

    begin    registers a generation on top of a kept manifest, trims the log, marks what is dead
    put      writes its pages and segments, one key a call, never over an existing one
    commit   flips the newest manifest, if everything it names is there and the log agrees
    drop     deletes what neither kept manifest names (checkpoint_garbage.py)

    a process dies            what is left                     what removes it
    before commit             a generation nobody names        it is dead two commits later
    between commit and drop   pages of the manifest before     the next drop: manifests are read
    between two drops         the previous one                 again until they are retired

Pages go out at most 256 KiB at a time over one connection and outside any transaction: one MULTI of
128 MiB stopped every other client for 0.6 to 1.8 s, single pages for 7 to 17 ms.

A reader takes `kept()`, newest first, then the pages. When one is missing, two checkpoints were
committed meanwhile: it takes the newest manifest and keeps what that names with the same
generation, so that it cannot starve.

Manifests are opaque bytes here; their codec is ftrl_core.checkpoint.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.errors import ForeignKey, ModelGone, WrongIncarnation
from app.lua_scripts import Script
from app.redis_connections import Argument, Command, RedisConnections
from app.redis_keys import ModelKeys
from ftrl_core.position import Position

IN_FLIGHT_BYTES = 256 << 10
READ_PAGES = 32  # pages of 32 KiB in one MGET
READ_SEGMENTS = 4
NO_GENERATION = "-"

Bytes = bytes | bytearray | memoryview


class KeptManifest(NamedTuple):
    """A manifest as stored."""

    generation: str
    manifest: bytes


@dataclass(frozen=True, slots=True)
class DamagedItem:
    """A page (or state segment) that a loader found damaged in both kept manifests."""

    generation: str
    is_page: bool
    index: int


class CheckpointStore:
    """Write and read the checkpoints of one incarnation of a model.

    Every method raises RedisAway; those that write also AppendUnknown, ModelGone (gone or being
    deleted), WrongIncarnation and ForeignKey. After any error a checkpoint is simply given up: its
    generation dies by itself.
    """

    def __init__(self, connections: RedisConnections, keys: ModelKeys, incarnation: str) -> None:
        self.connections = connections
        self.keys = keys
        self.incarnation = incarnation
        self._begin = Script("begin", when_full=True)
        self._put = Script("put", when_full=True)
        self._commit = Script("commit", when_full=True)
        self._damage = Script("damage", when_full=True)

    async def begin(
        self, base_generation: str | None, position: Position, *, trim: bool = True
    ) -> str:
        """Register a generation built on the kept manifest `base_generation`; its name.

        None is a base until two manifests are kept; later a checkpoint that writes every page
        names the newest one as its base all the same. With `trim` the log is trimmed up to the
        older kept manifest. Raises CheckpointRefused("base_gone").
        """
        base = base_generation or NO_GENERATION
        return await self._register(base, position, "checkpoint", trim=trim)

    async def register_restore(self, position: Position) -> str:
        """Register a generation for a restore entry to name; it waits for it 16 commits long.

        Put every page and segment of the snapshot, and its manifest with `put_manifest`, then
        append with a RestoreControl: that checks the counts and pins the generation.
        """
        return await self._register(NO_GENERATION, position, "restore", trim=False)

    async def put_pages(
        self,
        generation: str,
        pages: Mapping[int, Bytes],
        segments: Mapping[int, Bytes] | None = None,
        in_flight: Callable[[], int] = lambda: IN_FLIGHT_BYTES,
    ) -> None:
        """Write pages and state segments, each under its index, at most in_flight() bytes at once.

        Repeating it is safe. Raises CheckpointRefused "unregistered", "dead" or "closed".
        """
        batch: list[Command] = []
        batch_bytes = 0
        for kind, index, data in _items(pages, segments or {}):
            size = memoryview(data).nbytes
            if batch and batch_bytes + size > in_flight():
                await self._put.call_many(self.connections, batch)
                batch, batch_bytes = [], 0
            batch.append(self._put_command(generation, kind, index, data))
            batch_bytes += size
        if batch:
            await self._put.call_many(self.connections, batch)

    async def put_manifest(self, generation: str, manifest: bytes) -> None:
        """Write the manifest of a restore's generation; a checkpoint's is written by commit."""
        await self._put.call_many(
            self.connections, [self._put_command(generation, "manifest", 0, manifest)]
        )

    async def commit(
        self,
        generation: str,
        manifest: bytes,
        position: Position,
        nonce: str,
        page_count: int,
        segment_count: int,
        *,
        log_is_full: bool = False,
    ) -> bool:
        """Make `manifest` the newest; False when an earlier call of this commit had done it.

        `position` and `nonce` are the cut's; the counts are what this very generation wrote.
        `log_is_full`: an append was refused with LogFull, so take an equal position too. Raises
        CheckpointRefused (unregistered, dead, closed, incomplete, base_gone, not_newer),
        WrongEpoch, LogRegressed. Repeating the call after AppendUnknown is safe.
        """
        keys = self.keys
        reply = await self._commit.call(
            self.connections,
            (keys.meta, keys.log, keys.generations, keys.manifest(generation)),
            (
                self.incarnation,
                generation,
                position.epoch,
                position.seq,
                nonce,
                page_count,
                segment_count,
                int(log_is_full),
                manifest,
            ),
        )
        return bool(reply[0] == b"new")

    async def kept(self) -> list[KeptManifest]:
        """The manifests kept, newest first: none, one or two.

        One whose bytes are lost is left out. Raises ModelGone, WrongIncarnation.
        """
        while True:
            names = await self.kept_generations()
            keys = [self.keys.manifest(name) for name in names]
            values = await self.connections.read_command("MGET", *keys) if keys else []
            if None in values and names != await self.kept_generations():
                continue  # a commit and a drop came between the two reads
            return [
                KeptManifest(name, bytes(value))
                for name, value in zip(names, values, strict=True)
                if value is not None
            ]

    async def kept_generations(self) -> list[str]:
        """Names of the manifests kept, newest first."""
        incarnation, newest, previous = await self.connections.read_command(
            "HMGET", self.keys.meta, "incarnation", "manifest", "previous"
        )
        if incarnation is None:
            raise ModelGone("the model does not exist")
        if incarnation.decode("utf-8", "replace") != self.incarnation:
            raise WrongIncarnation(incarnation.decode("utf-8", "replace"))
        if newest is None or previous is None:
            raise ForeignKey("meta of the model is damaged: it names no manifests")
        names = [name.decode("utf-8", "replace") for name in (newest, previous)]
        return [name for name in names if name != NO_GENERATION]

    async def newest(self) -> KeptManifest | None:
        """The newest manifest; None when there is none yet."""
        kept = await self.kept()
        return kept[0] if kept else None

    async def read_manifest(self, generation: str) -> bytes | None:
        """The manifest stored under a generation: a restore's, or a kept one."""
        value = await self.connections.read_command("GET", self.keys.manifest(generation))
        return None if value is None else bytes(value)

    async def read_pages(self, names: Sequence[tuple[str, int]]) -> list[bytes | None]:
        """Pages by (generation, index), in order, None for a missing one; 1 MiB at a time."""
        return await self._read([self.keys.page(*name) for name in names], READ_PAGES)

    async def read_segments(self, names: Sequence[tuple[str, int]]) -> list[bytes | None]:
        """State segments by (generation, index), in order, None for a missing one."""
        return await self._read([self.keys.state(*name) for name in names], READ_SEGMENTS)

    async def mark_damaged(self, item: DamagedItem) -> None:
        """Ask whoever has it in memory to write this page or segment again though clean."""
        kind = "page" if item.is_page else "state"
        await self._damage.call(
            self.connections,
            (self.keys.meta,),
            (self.incarnation, f"{item.generation}/{kind}/{item.index}"),
        )

    async def damaged(self) -> list[DamagedItem]:
        """What was marked and whose generation still stands."""
        value = await self.connections.read_command("HGET", self.keys.meta, "damaged")
        items = [word.split("/") for word in (value or b"").decode().split()]
        return [
            DamagedItem(generation, kind == "page", int(index)) for generation, kind, index in items
        ]

    async def _register(self, base: str, position: Position, kind: str, *, trim: bool) -> str:
        keys = self.keys
        reply = await self._begin.call(
            self.connections,
            (keys.meta, keys.log, keys.generations),
            (self.incarnation, secrets.token_hex(8), base, str(position), kind, int(trim)),
        )
        return bytes(reply[0]).decode()

    def _put_command(self, generation: str, kind: str, index: int, data: Bytes) -> Command:
        keys = self.keys
        if kind == "manifest":
            key = keys.manifest(generation)
        else:
            key = (keys.page if kind == "page" else keys.state)(generation, index)
        arguments: tuple[Argument, ...] = (self.incarnation, generation, kind, index, data)
        return self._put.command((keys.meta, keys.generations, key), arguments)

    async def _read(self, keys: Sequence[str], chunk: int) -> list[bytes | None]:
        values: list[bytes | None] = []
        for first in range(0, len(keys), chunk):
            values += await self.connections.read_command("MGET", *keys[first : first + chunk])
        return values


def _items(
    pages: Mapping[int, Bytes], segments: Mapping[int, Bytes]
) -> Iterable[tuple[str, int, Bytes]]:
    for index, data in pages.items():
        yield "page", index, data
    for index, data in segments.items():
        yield "state", index, data
