"""Checkpointers, a loader and a writer interleaved command by command, from a seed.

Every actor runs the real code over the real server; a turnstile in front of each command lets one
actor at a time through, chosen at random. A checkpointer may die at any step. The state folded here
is the smallest that can go wrong: page i holds the seq of the last entry that touched it, so the
content that belongs to a page at a position is known from the log alone.

Asserted: a loader that follows "manifest, pages, and the newest manifest when a page is missing"
always ends with pages of exactly its manifest's position and a log that goes on from there; the
log is never trimmed above the older manifest; every page that a kept manifest names is there; and
two further checkpoints leave no key that neither names.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.checkpoint_garbage import CheckpointGarbage
from app.embedded_server import EmbeddedServer
from app.errors import CheckpointRefused
from app.redis_connections import Command, RedisConnections
from app.redis_keys import ModelKeys
from ftrl_core.position import START, Position
from tests.app.model_in_redis import ModelInRedis
from tests.app.test_checkpoint_store import Named, decode

RUNS = 240
PAGES = 5
RELOADS_MAX = 30  # the choice of the next actor is blind, so a loader can be overtaken often


def decode_named(manifest: bytes) -> Named:
    """Manifests here are [pages, segments, position, nonce]."""
    return decode(json.dumps(json.loads(manifest)[:2]).encode())


class Died(Exception):
    """A checkpointer was killed between two commands."""


class Turnstile:
    """Lets one waiting actor at a time do its next command."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.waiting: list[asyncio.Future[None]] = []
        self.changed = asyncio.Event()

    async def turn(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self.changed.set()
        await future

    async def run(self, actors: Sequence[Coroutine[Any, Any, None]]) -> None:
        tasks = [asyncio.create_task(actor) for actor in actors]
        for task in tasks:
            task.add_done_callback(lambda _: self.changed.set())
        while running := [task for task in tasks if not task.done()]:
            if len(self.waiting) == len(running):
                chosen = self.choose.randrange(len(running))
                self.waiting.pop(chosen).set_result(None)
            self.changed.clear()
            await self.changed.wait()
        for task in tasks:
            task.result()


class SteppedConnections(RedisConnections):
    """Connections whose every command waits for its turn, and may be the last of its actor."""

    turnstile: Turnstile
    death_rate: float

    async def write_commands(self, commands: Sequence[Command]) -> list[Any]:
        await self._step()
        return await super().write_commands(commands)

    async def append_command(self, *command: Any) -> Any:
        await self._step()
        return await super().append_command(*command)

    async def read_command(self, *command: Any) -> Any:
        await self._step()
        return await super().read_command(*command)

    async def _step(self) -> None:
        await self.turnstile.turn()
        if self.turnstile.choose.random() < self.death_rate:
            raise Died


@dataclass
class Folded:
    """A replica's memory: for each page the seq of the last entry that touched it."""

    at: Position
    nonce: str
    pages: list[int]
    base: str | None = None
    base_at: int = 0
    named: list[str | None] = field(default_factory=lambda: [None] * PAGES)


def content(index: int, seq: int) -> bytes:
    return f"page {index} at {seq}".encode()


class Run:
    """One seeded run over one model."""

    def __init__(
        self,
        plain: RedisConnections,
        safe: SteppedConnections,
        mortal: SteppedConnections,
        seed: int,
    ) -> None:
        self.choose = random.Random(seed)
        self.turnstile = Turnstile(self.choose)
        self.keys = ModelKeys("ctr", f"m{seed}")
        self.watched = ModelInRedis(plain, self.keys)
        self.safe, self.mortal = safe, mortal
        safe.turnstile = mortal.turnstile = self.turnstile
        safe.death_rate, mortal.death_rate = 0.0, self.choose.choice([0.0, 0.01, 0.04])
        self.history = {0: [0] * PAGES, 1: [0] * PAGES}  # seq -> pages, as the writer knows it
        self.commits = 0

    def actor(self, connections: SteppedConnections) -> ModelInRedis:
        return ModelInRedis(connections, self.keys, self.watched.incarnation)

    async def go(self) -> None:
        await self.watched.create()
        checkpointers = (self.check_points() for _ in range(2))
        await self.turnstile.run([self.write(), self.load(), self.check_always(), *checkpointers])
        await self.assert_nothing_orphaned()

    async def write(self) -> None:
        """Append entries, each touching some pages; now and then the same batch again."""
        model = self.actor(self.safe)
        model.at, model.nonce = self.watched.at, self.watched.nonce
        for _ in range(self.choose.randrange(8, 20)):
            touched = self.choose.sample(range(PAGES), self.choose.randrange(1, 3))
            batch = model.batch(json.dumps(touched).encode())
            appended = await model.send(batch)
            seq = appended.last.seq
            last = self.history[seq - 1]
            self.history[seq] = [seq if i in touched else last[i] for i in range(PAGES)]
            if self.choose.random() < 0.2:
                assert (await model.log.append(batch)).first == appended.first
            model.at, model.nonce = appended.last, batch.entries[0][1]

    async def load(self) -> None:
        for _ in range(3):
            await self.loaded(self.actor(self.safe))

    async def check_points(self) -> None:
        """Checkpoint a few times, dying and starting anew in between."""
        for _ in range(self.choose.randrange(2, 5)):
            model = self.actor(self.mortal)
            try:
                folded = await self.loaded(model)
                for _ in range(self.choose.randrange(1, 4)):
                    await self.checkpoint(model, folded)
            except Died:
                continue

    async def loaded(self, model: ModelInRedis) -> Folded:
        """The newest checkpoint and the log after it, the way every replica starts."""
        have: dict[tuple[str, int], bytes] = {}
        for _ in range(RELOADS_MAX):
            folded = await self.newest_checkpoint(model, have)
            if folded is not None and await self.followed(model, folded):
                return folded
        raise AssertionError("a loader starved")

    async def newest_checkpoint(
        self, model: ModelInRedis, have: dict[tuple[str, int], bytes]
    ) -> Folded | None:
        """None when a page is missing; those read so far stay in `have`."""
        newest = await model.store.newest()
        if newest is None:
            return Folded(START, model.incarnation, [0] * PAGES)
        named, _, at, nonce = json.loads(newest.manifest)
        for key in ((name, index) for index, name in enumerate(named) if name):
            if key not in have:
                page = (await model.store.read_pages([key]))[0]
                if page is None:
                    return None
                have[key] = page
        position = Position.parse(at)
        pages = [0] * PAGES
        for index, name in enumerate(named):
            if name:
                pages[index] = int(have[name, index].split()[-1])
                assert have[name, index] == content(index, self.history[position.seq][index])
        assert pages == self.history[position.seq]
        return Folded(position, nonce, pages, newest.generation, position.seq, named)

    async def followed(self, model: ModelInRedis, folded: Folded) -> bool:
        """Fold the log up to its end; False at a gap, which only a trim can have made."""
        for entry in await model.log.read(folded.at):
            if not entry.follows(folded.at, folded.nonce):
                assert entry.position.seq > folded.at.seq + 1
                return False
            folded.at, folded.nonce = entry.position, entry.nonce
            if entry.position.seq > 1:
                for index in json.loads(entry.payload):
                    folded.pages[index] = entry.position.seq
        return folded.at.seq > 0

    async def checkpoint(self, model: ModelInRedis, folded: Folded) -> None:
        """One interval: follow, begin, put the dirty pages one by one, commit, drop."""
        if not await self.followed(model, folded):
            raise Died
        try:
            generation = await model.store.begin(folded.base, folded.at)
            dirty = [i for i, seq in enumerate(folded.pages) if seq > folded.base_at]
            named, at = list(folded.named), folded.at
            for index in dirty:
                await model.store.put_pages(
                    generation, {index: content(index, folded.pages[index])}
                )
                named[index] = generation
            manifest = json.dumps([named, [], str(at), folded.nonce]).encode()
            await model.store.commit(generation, manifest, at, folded.nonce, len(dirty), 0)
            self.commits += 1
            folded.base, folded.base_at, folded.named = generation, at.seq, named
            await CheckpointGarbage(model.store).drop_unnamed(decode_named)
        except CheckpointRefused as refusal:
            if refusal.reason in {"not_newer", "base_gone", "dead", "unregistered"}:
                raise Died from refusal
            raise

    async def check_always(self) -> None:
        """Between other actors' commands: the trim and the named pages are as they must be."""
        for _ in range(12):
            await self.turnstile.turn()
            kept = await self.watched.store.kept()
            older = json.loads(kept[1].manifest)[2] if len(kept) == 2 else "0-0"
            first = await self.watched.log.read(START, 1)
            head = await self.watched.log.head()
            assert head.trimmed_seq <= Position.parse(older).seq
            assert (first[0].position.seq if first else head.seq + 1) == head.trimmed_seq + 1
            for item in kept:
                named = [(n, i) for i, n in enumerate(json.loads(item.manifest)[0]) if n]
                assert None not in await self.watched.store.read_pages(named)

    async def assert_nothing_orphaned(self) -> None:
        model = self.watched
        folded = await self.loaded(model)
        for _ in range(2):
            await model.append(b"[0]")
            await self.checkpoint(model, folded)
        kept = {item.generation for item in await model.store.kept()}
        named = {
            f"{name}:{index}"
            for item in await model.store.kept()
            for index, name in enumerate(json.loads(item.manifest)[0])
            if name
        }
        keys = {key for key in await model.all_keys() if key.startswith(self.keys.tag)}
        assert {key.split(":page:")[1] for key in keys if ":page:" in key} == named
        assert {key.split(":manifest:")[1] for key in keys if ":manifest:" in key} == kept


@pytest.fixture
def everysec_url(tmp_path: Path) -> Iterator[str]:
    """A server that does not wait for the disk: nothing is killed here but actors."""
    with EmbeddedServer.start(tmp_path, "bundled", "everysec") as server:
        yield server.url


async def test_interleaved_checkpointers_and_a_loader(everysec_url: str, seed: int) -> None:
    plain = RedisConnections.from_url(everysec_url, "everysec")
    stepped = [SteppedConnections.from_url(everysec_url, "everysec") for _ in range(2)]
    commits = 0
    for number in range(RUNS):
        run = Run(plain, stepped[0], stepped[1], seed + number)
        try:
            await run.go()
        except BaseException:
            print(f"run {number} of seed {seed}")
            raise
        commits += run.commits
    for connections in (plain, *stepped):
        await connections.aclose()
    assert commits > 3 * RUNS  # the runs did something
