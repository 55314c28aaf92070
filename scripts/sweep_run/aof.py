"""Every prefix of an append-only file: recovery must come to the exact fold of that prefix.

    life        a run of so many operations writes the file (history.py)
    boundaries  a live server is fed the file unit by unit; beside it, after each unit, a replica of
                every model touched is recovered and compared with the reference fold
    cuts        every command boundary inside a unit, and random bytes: the server's own loader
                (DEBUG LOADAOF) reads the file cut there, and must hold the data set of the boundary
                before, to the bit (DEBUG DIGEST). To make 60,000 loads cheap the file's beginning
                stands as the RDB that the live server saved about TAIL_BYTES before
    starts      for a sample of the cuts nothing is replaced: the whole file cut there, a new server
                process, a hub on it, and a little learning after it

So what a start costs is paid for the sample, and what the sample shows of the loader (that a cut
goes back to the unit before) is compared with the same loader for every other cut.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from redis.exceptions import ResponseError

from app.embedded_server import EmbeddedServer
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from ftrl_core.warmup import warm_up
from scripts.sweep_run.aof_file import FILE_LINE, place_file, units_within
from scripts.sweep_run.expected import Expected
from scripts.sweep_run.folder import say, scratch
from scripts.sweep_run.lived import File, lived
from scripts.sweep_run.recovery import answer_of, hurried, recovered
from scripts.sweep_run.server import BareServer
from tests.recovery.harness import batch_of, hub_on, until

TAIL_BYTES = 1 << 17  # of the file between two saved data sets, or a little more
BASE_LINE = "file appendonly.aof.1.base.rdb seq 1 type b\n"
FAULTS_SHOWN = 10
SAY_EVERY = 1000


class Boundaries:
    """The live server that is fed unit by unit."""

    def __init__(self, file: File, folder: Path) -> None:
        self._file, self._folder = file, folder
        self.digests: list[str] = []  # of the data set after so many units
        self.saves: list[int] = []  # after how many units the data set was saved
        self.recoveries = 0
        self.faults: list[str] = []
        folder.mkdir()

    async def run(self) -> None:
        """Feed, recover, compare; save the data set now and then."""
        with BareServer(self._folder) as server:
            connections = RedisConnections.from_url(server.url)
            try:
                for number, unit in enumerate(self._file.units):
                    self._note(server, number)
                    content = self._file.content[unit.start : unit.end]
                    server.feed(content, len(unit.commands))
                    fed = server.dataset_digest()
                    for expected in self._file.expected[number]:
                        fault = await self._recover(server, connections, expected)
                        if fault:
                            self._fault(f"after unit {number}, {expected.name}: {fault}")
                    if server.dataset_digest() != fed:
                        self._fault(f"after unit {number}: recovery wrote something")
                    if number % SAY_EVERY == 0:
                        say(f"{number} operations recovered")
                self._note(server, len(self._file.units))
            finally:
                await connections.aclose()

    def _fault(self, text: str) -> None:
        self.faults.append(text)
        say(text)

    async def _recover(
        self, server: BareServer, connections: RedisConnections, expected: Expected
    ) -> str | None:
        """Recover a model. Where others have said their digest a replica says its own, in meta;
        that is put back, for the file that is fed on does not know of it."""
        self.recoveries += 1
        meta = ModelKeys("ctr", expected.name).meta
        said = server.ask("HGET", meta, "agreement")
        fault = await recovered(connections, expected)
        if said is not None:
            server.ask("HSET", meta, "agreement", said)
        return fault

    def saved(self, number: int) -> Path:
        """The data set after so many units, one of `saves`."""
        return self._folder / f"{number}.rdb"

    def _note(self, server: BareServer, number: int) -> None:
        self.digests.append(server.dataset_digest())
        tail = self._file.end_of(number) - self._file.end_of(self.saves[-1] if self.saves else 0)
        if tail > TAIL_BYTES or not self.saves:
            server.ask("SAVE")
            shutil.move(self._folder / "dump.rdb", self.saved(number))
            self.saves.append(number)


class Loader:
    """A server that loads a file, cut where one likes, again and again."""

    def __init__(self, file: File, known: Boundaries, folder: Path) -> None:
        self._file, self._known = file, known
        self._files = folder / "appendonlydir"
        self._files.mkdir(parents=True)
        self._folder = folder
        (self._files / "appendonly.aof.manifest").write_text(BASE_LINE + FILE_LINE)
        self._tail = self._files / "appendonly.aof.1.incr.aof"
        self._base = -1

    def run(self, cuts: Sequence[int]) -> Iterator[str]:
        """Load each cut, in ascending order; what is wrong with those that are."""
        self._take_base(0)
        self._tail.write_bytes(b"")
        with BareServer(self._folder, appendonly="yes", appendfsync="no") as server:
            for cut in sorted(cuts):
                kept = units_within(self._file.ends, cut)
                loaded = self._loaded(server, kept, cut)
                if loaded != self._known.digests[kept]:
                    yield f"cut at {cut}: loaded something else than the first {kept} units"

    def _loaded(self, server: BareServer, kept: int, cut: int) -> str:
        base = self._known.saves[bisect_right(self._known.saves, kept) - 1]
        self._take_base(base)
        self._tail.write_bytes(self._file.content[self._file.end_of(base) : cut])
        try:
            server.ask("DEBUG", "LOADAOF")
        except ResponseError as error:  # it says so of every file that it had to cut
            if "load" not in str(error):
                raise
        return server.dataset_digest()

    def _take_base(self, base: int) -> None:
        if base != self._base:
            path = self._files / "appendonly.aof.1.base.rdb"
            shutil.copyfile(self._known.saved(base), path)
            self._base = base


class Starts:
    """New server processes on the whole file, cut, and hubs on them."""

    def __init__(self, file: File, folder: Path) -> None:
        self._file, self._folder = file, folder
        self._next_id = 1 << 40

    def run(self, cuts: Sequence[int]) -> Iterator[str]:
        """Start on each cut; what is wrong with those that are."""
        for cut in cuts:
            shutil.rmtree(self._folder, ignore_errors=True)
            data = self._folder / "data"
            place_file(data, self._file.content[:cut])
            with EmbeddedServer.start(data, "bundled", "fsync") as server:
                fault = asyncio.run(self._look(server.url, cut))
                server.kill()
            if fault:
                yield f"start on {cut} bytes: {fault}"

    async def _look(self, url: str, cut: int) -> str | None:
        models = self._file.before(units_within(self._file.ends, cut))
        connections = RedisConnections.from_url(url)
        try:
            for expected in models.values():
                fault = await recovered(connections, expected)
                if fault:
                    return f"{expected.name}: {fault}"
        finally:
            await connections.aclose()
        expected_default = models.get("default")
        if expected_default is None or expected_default.state != "live":
            return None
        return await self._learn(url, expected_default)

    async def _learn(self, url: str, expected: Expected) -> str | None:
        """A service on it serves the same, and learns on."""
        async with hub_on(url, self._folder / "hub") as hub:
            replica = await hub.get("default")
            # Past an entry that is skipped later it comes in two loads.
            await until(lambda: replica.state == "live", "the hub loads the model")
            if answer_of(replica) != expected.answer:
                return f"the hub serves {answer_of(replica)} and not {expected.answer}"
            self._next_id += 1
            batch = batch_of(np.random.default_rng(1), 1, first_id=self._next_id)
            before = replica.require_model().position.seq
            outcome = await replica.learn(batch)
            if (outcome.accepted, outcome.position.seq) != (1, before + 1):
                return f"learning on gave {outcome}"
        return None


def sweep(operations: int, count: int, starts: int, seed: int) -> dict[str, Any]:
    """The whole sweep; its report."""
    began, draw = time.monotonic(), random.Random(seed)
    warm_up()
    seconds: dict[str, float] = {}
    faults: list[str] = []
    with scratch() as folder, hurried():
        file = lived(folder, seed, operations)
        seconds["life"] = time.monotonic()
        say(f"{len(file.units)} operations, {len(file.content)} bytes")
        known = Boundaries(file, folder / "fed")
        asyncio.run(known.run())
        faults += known.faults
        seconds["boundaries"] = time.monotonic()
        say(f"{known.recoveries} recoveries at boundaries, {len(faults)} faults")
        random_cuts = [draw.randrange(len(file.content) + 1) for _ in range(count)]
        inner = file.inner_boundaries()
        faults += Loader(file, known, folder / "loader").run(inner + random_cuts)
        seconds["cuts"] = time.monotonic()
        say(f"{len(inner) + count} cuts loaded, {len(faults)} faults")
        sample = draw.sample(random_cuts + inner + file.ends, min(starts, count))
        faults += Starts(file, folder / "started").run(sample)
        seconds["starts"] = time.monotonic()
    spans = pairwise([began, *seconds.values()])
    took = {name: round(b - a, 1) for name, (a, b) in zip(seconds, spans, strict=True)}
    return {
        "run": "sweep aof",
        "seed": seed,
        "done": file.done,
        "file_bytes": len(file.content),
        "operations": len(file.units),
        "commands": sum(len(unit.commands) for unit in file.units),
        "boundaries_recovered": len(file.units),
        "recoveries": known.recoveries,
        "boundaries_inside_operations_loaded": len(inner),
        "random_cuts_loaded": len(random_cuts),
        "server_starts": len(sample),
        "faults": len(faults),
        "first_faults": faults[:FAULTS_SHOWN],
        "seconds": took,
        "passed": not faults,
    }
