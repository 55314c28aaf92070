"""Two replicas checkpoint one model without a lease while a third is stopped in mid-loading.

For each seed: a fresh model of a random size; two replicas learn and checkpoint as fast as they
can, in random order; a third begins to load and is stopped once between manifest and pages, for one
interval: until each of the two has written a checkpoint. So the manifest it holds is no longer one
of the two kept, its pages are being dropped, and the log after it is being trimmed.

It must never meet a wrong checksum, load once and not again, and end with the others' digest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app import recovery
from app.checkpoint_store import CheckpointStore
from app.embedded_server import EmbeddedServer
from app.event_log import EventLog, Head
from app.hub import Hub
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from ftrl_core.table import PAGE_SLOTS
from tests.recovery.harness import assert_agree, batch_of, hub_on, until

CHECKPOINTS_BEFORE = 3  # so that the log before the loader's manifest is trimmed


@dataclass
class Outcome:
    """What one seed showed."""

    seed: int
    bad_checkpoints: int = 0
    loads: int = 0
    reloads: int = 0
    stopped: bool = False
    commits_while_stopped: int = 0
    agreed: bool = False

    @property
    def good(self) -> bool:
        once = self.stopped and self.loads == 1
        return once and self.agreed and self.reloads == self.bad_checkpoints == 0


class _Complaints(logging.Handler):
    """Counts checkpoints that a loader would not use."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, _record: logging.LogRecord) -> None:
        self.count += 1


class _Race:
    """One model, two that checkpoint, one that loads."""

    def __init__(self, hubs: Sequence[Hub], seed: int) -> None:
        self.hubs, self.seed = hubs, seed
        self.random, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.outcome = Outcome(seed)
        self.attempts = [0, 0]
        self.stopped, self.go_on = asyncio.Event(), asyncio.Event()
        self.done = False

    async def run(self) -> Outcome:
        name, random = f"race-{self.seed}", self.random
        table_bits = random.choice([10, 13, 18])
        config = {"table_bits": table_bits, "deduplication_window": 9000}
        one, _ = await self.hubs[0].create(name, config)
        two = await self.hubs[1].get(name)
        for _ in range(CHECKPOINTS_BEFORE):
            await self._learn(one)
            await one.checkpoint()
        working = [asyncio.create_task(self._work(n, r)) for n, r in enumerate((one, two))]
        chunks = (1 << table_bits) // PAGE_SLOTS // recovery.CHUNK
        loader = self._loader(name, one.incarnation, max(1, chunks))
        try:
            await self._stop_for_one_interval(loader)
            await until(lambda: loader.state == "live", "the third is loaded", 30.0)
            self.done = True
            await asyncio.gather(*working)
            self.outcome.reloads = loader._owner.log_regressions
            with suppress(AssertionError):
                await assert_agree(one, two, loader)
                self.outcome.agreed = True
        finally:
            self.done = True
            await asyncio.gather(*working, return_exceptions=True)
            await loader.close()
            await self.hubs[0].delete(name)
        return self.outcome

    async def _learn(self, replica: ModelReplica) -> None:
        rows = self.random.randint(1, 400)
        await replica.learn(batch_of(self.numbers, rows, distinct=1 << self.random.randint(4, 16)))

    async def _work(self, number: int, replica: ModelReplica) -> None:
        while not self.done:
            await self._learn(replica)
            await asyncio.sleep(self.random.choice([0.0, 0.0, 0.001, 0.004]))
            await replica.checkpoint()
            self.attempts[number] += 1

    def _loader(self, name: str, incarnation: str, chunks: int) -> ModelReplica:
        hub = self.hubs[2]
        keys = ModelKeys(hub.settings.key_prefix, name)
        replica = ModelReplica(name, incarnation, hub.connections, keys, hub._options)
        store = replica._owner.store
        if self.random.random() < 0.3:
            self._stop_in(store, "read_segments", 0)
        else:
            self._stop_in(store, "read_pages", self.random.randrange(chunks))
        replica.start()
        return replica

    def _stop_in(self, store: CheckpointStore, method: str, reads_before: int) -> None:
        """Stop before this read, once so many were answered."""
        read = getattr(store, method)

        async def stop_once(names: Sequence[tuple[str, int]]) -> Any:
            nonlocal reads_before
            if reads_before == 0 and not self.stopped.is_set():
                self.stopped.set()
                await self.go_on.wait()
            reads_before = max(0, reads_before - 1)
            return await read(names)

        setattr(store, method, stop_once)

    async def _stop_for_one_interval(self, loader: ModelReplica) -> None:
        waiting = asyncio.create_task(self.stopped.wait())
        loaded = asyncio.create_task(loader.settled(30.0))
        await asyncio.wait({waiting, loaded}, return_when=asyncio.FIRST_COMPLETED)
        if self.stopped.is_set():
            self.outcome.stopped = True
            commits = await self._commits(loader)
            attempts = list(self.attempts)
            await until(
                lambda: all(now > then for now, then in zip(self.attempts, attempts, strict=True)),
                "both have checkpointed",
            )
            self.outcome.commits_while_stopped = await self._commits(loader) - commits
        self.go_on.set()
        waiting.cancel()
        await loaded

    async def _commits(self, loader: ModelReplica) -> int:
        key = ModelKeys(self.hubs[2].settings.key_prefix, loader.name).meta
        return int(await self.hubs[2].connections.read_command("HGET", key, "commits"))


async def race(url: str, directory: Path, seeds: Sequence[int]) -> list[Outcome]:
    """Run these seeds on one server, one after the other."""
    complaints = _Complaints()
    logging.getLogger(recovery.__name__).addHandler(complaints)
    load, loads = recovery.load, 0

    async def counted(event_log: EventLog, store: CheckpointStore, head: Head) -> recovery.Loaded:
        nonlocal loads
        loads += store.connections is third.connections
        return await load(event_log, store, head)

    recovery.load = counted
    outcomes = []
    config = {"table_bits": 8, "deduplication_window": 16}
    try:
        async with (
            hub_on(url, directory / "1", config=config) as first,
            hub_on(url, directory / "2", config=config) as second,
            hub_on(url, directory / "3", config=config, models="none") as third,
        ):
            for seed in seeds:
                before = complaints.count
                loads = 0
                outcome = await _Race([first, second, third], seed).run()
                outcome.bad_checkpoints = complaints.count - before
                outcome.loads = loads
                outcomes.append(outcome)
    finally:
        recovery.load = load
        logging.getLogger(recovery.__name__).removeHandler(complaints)
    return outcomes


def main() -> int:
    """Run, report, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-race-") as directory,
        EmbeddedServer.start(Path(directory, "redis"), "bundled") as server,
    ):
        seeds = range(given.seed, given.seed + given.runs)
        outcomes = asyncio.run(race(server.url, Path(directory), seeds))
    bad = [outcome for outcome in outcomes if not outcome.good]
    for outcome in bad:
        print(outcome)
    report = {
        "run": "checkpoint_race",
        "seeds": [given.seed, given.seed + given.runs - 1],
        "stopped_in_mid_loading": sum(o.stopped for o in outcomes),
        "checksum_failures": sum(o.bad_checkpoints for o in outcomes),
        "second_loads": sum(o.loads != 1 or o.reloads > 0 for o in outcomes),
        "digests_unequal": sum(not o.agreed for o in outcomes),
        "commits_while_stopped": sorted({o.commits_while_stopped for o in outcomes}),
        "stopped_past_both_manifests": sum(o.commits_while_stopped >= 2 for o in outcomes),
        "seconds": round(time.monotonic() - started, 1),
        "passed": not bad,
    }
    print(json.dumps(report))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
