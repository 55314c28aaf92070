"""A random life of three models under two hubs on one server, for its append-only file.

Everything that writes to Redis is in it: learning with ids, keys and repeats, names, checkpoints
with their puts, commits, trims and drops, configure, a table that grows, snapshots and restores,
deleting and making again, an entry that nobody can read with the skip that passes over it, and
the digests that the replicas compare.
What a reference fold cannot see in the log, which state a restore brings back, is in `marks`.
"""

from __future__ import annotations

import asyncio
import io
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.event_log import Append
from app.group import new_nonce
from app.hub import Hub
from app.replica import ModelReplica
from ftrl_core.snapshot_file import read_snapshot, write_snapshot
from scripts.sweep_run.aof_file import Unit, incremental_file, units
from tests.oracle.streams import ONE_RATE
from tests.recovery.harness import batch_of, hub_on, until

MODELS: dict[str, dict[str, Any]] = {
    "default": {**ONE_RATE, "table_bits": 9, "deduplication_window": 64},
    "mixed": {"table_bits": 11, "deduplication_window": 64},
    "brief": {**ONE_RATE, "table_bits": 8, "deduplication_window": 16},
}
GROWN_BITS = 13
COMPARE_SECONDS = 0.2
# How often each thing is done, of 1,000; the rest is learning.
SHARES = {
    "checkpoint": 30, "names": 20, "configure": 15, "snapshot": 20, "restore": 8, "remake": 12,
    "poison": 3,
}  # fmt: skip


@dataclass
class Marks:
    """By incarnation: seqs of snapshots, and which one each restore entry brought back."""

    kept: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    restored: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))


@dataclass(frozen=True, slots=True)
class _Snapshot:
    seq: int
    content: bytes


class Life:
    """What is done, drawn from a seed."""

    def __init__(self, hubs: tuple[Hub, Hub], seed: int) -> None:
        self.hubs = hubs
        self.marks = Marks()
        self.done: dict[str, int] = defaultdict(int)
        self.snapshots: list[bytes] = []
        self._random = np.random.default_rng(seed)
        self._next_id = 1
        self._snapshots: dict[str, list[_Snapshot]] = defaultdict(list)

    async def begin(self) -> None:
        """Make the models beside `default`."""
        for name in ("mixed", "brief"):
            await self.hubs[0].create(name, MODELS[name])

    async def step(self) -> None:
        """Do one thing to one model, through either hub."""
        draw, what = self._random.integers(1000), "learn"
        for name, share in SHARES.items():
            if draw < share:
                what = name
                break
            draw -= share
        model = str(self._random.choice(["default", "mixed", "brief"], p=[0.5, 0.3, 0.2]))
        replica = await self._replica("brief" if what == "remake" else model)
        self.done[what] += 1
        await getattr(self, f"_{what}")(replica)

    async def _replica(self, name: str) -> ModelReplica:
        """Through either hub, caught up: an operator looks at what is there."""
        hub = self.hubs[int(self._random.integers(2))]
        replica = await hub.get(name)
        replicas = [await other.get(name) for other in self.hubs]
        position = max(one.require_model().position for one in replicas)
        assert await replica.wait_for(position, 10.0), replica.detail
        await until(replica.can_learn, f"{name} can be used")  # it may be loading again
        return replica

    async def _learn(self, replica: ModelReplica) -> None:
        random, rows = self._random, int(self._random.integers(1, 4))
        first_id = 0
        if random.random() < 0.6:
            back = int(random.integers(1, 9)) if random.random() < 0.2 else 0
            first_id = max(1, self._next_id - back)
            self._next_id = max(self._next_id, first_id + rows)
        batch = batch_of(random, rows, first_id=first_id, features=4, distinct=200)
        key = int(random.integers(1, 300)) if random.random() < 0.1 else 0
        await replica.learn(batch, idempotency_key=key, body_hash=key)

    async def _checkpoint(self, replica: ModelReplica) -> None:
        await replica.checkpoint()

    async def _names(self, replica: ModelReplica) -> None:
        replica.tell_names([f"field{self._random.integers(1000)}"])
        await self._learn(replica)

    async def _configure(self, replica: ModelReplica) -> None:
        random = self._random
        changes: dict[str, Any] = {
            "optimizer": {
                "l1_regularization_strength": float(random.choice([0.0, 0.01, 0.1])),
                "l2_regularization_strength": float(random.choice([0.0, 0.01, 1.0])),
                "beta": float(random.choice([0.0, 0.5, 1.0])),
            }
        }
        if replica.name != "mixed":
            changes["optimizer"]["learning_rate"] = float(random.choice([0.05, 0.1, 0.3]))
        if replica.name == "default" and random.random() < 0.2:
            bits = replica.require_model().config.table_bits
            changes["table_bits"] = min(bits + 1, GROWN_BITS)
        await replica.configure(changes)

    async def _snapshot(self, replica: ModelReplica) -> None:
        taken, examples = await replica.snapshot_cut()
        pieces = write_snapshot(
            taken, name="s", incarnation=replica.incarnation, created_ms=0, examples=examples
        )
        kept = _Snapshot(taken.position.seq, b"".join(pieces))
        self.snapshots.append(kept.content)
        self.marks.kept[replica.incarnation].add(kept.seq)
        self._snapshots[replica.incarnation] = [
            *self._snapshots[replica.incarnation][-3:], kept
        ]  # fmt: skip

    async def _restore(self, replica: ModelReplica) -> None:
        snapshots = self._snapshots[replica.incarnation]
        if not snapshots:
            return
        chosen = snapshots[int(self._random.integers(len(snapshots)))]
        _, model = read_snapshot(io.BytesIO(chosen.content))
        position = await replica.restore(model)
        self.marks.restored[replica.incarnation][position.seq] = chosen.seq

    async def _remake(self, replica: ModelReplica) -> None:
        hub = next(hub for hub in self.hubs if replica in hub.loaded())
        await hub.delete(replica.name)
        await hub.create(replica.name, MODELS[replica.name])
        other = self.hubs[1 - self.hubs.index(hub)]
        old = other.find_loaded(replica.name)
        if old is not None:
            await until(lambda: old.state == "deleted", "the other hub hears of the deletion")

    async def _poison(self, replica: ModelReplica) -> None:
        """An entry that cannot be read gets into the log, and is skipped."""
        owner = replica._owner
        model = replica.require_model()
        append = Append(
            incarnation=replica.incarnation,
            epoch=max(model.position.epoch, 1),
            producer=new_nonce(),
            batch_number=1,
            after=model.position,
            after_nonce=owner.follower.nonce,
            entries=[(b"CFE1 of no use" * 4, new_nonce())],
            log_bytes_max=0,
        )
        poison = (await owner._log.append(append)).last
        replicas = [await self._stuck(hub, replica.name) for hub in self.hubs]
        skipped = await replica.skip(poison)
        for one in replicas:
            assert await one.wait_for(skipped, 10.0), one.detail

    async def _stuck(self, hub: Hub, name: str) -> ModelReplica:
        replica = await hub.get(name)
        await until(lambda: replica.state == "stuck", "an unreadable entry stops a replica")
        return replica


async def live(
    url: str, data_dir: Path, folder: Path, seed: int, operations: int
) -> tuple[Life, bytes]:
    """Live until the append-only file has so many units; the file as it is then, before the hubs
    write their last checkpoints."""
    config, seconds = MODELS["default"], COMPARE_SECONDS
    async with (
        hub_on(url, folder / "a", config=config, compare_seconds=seconds) as a,
        hub_on(url, folder / "b", config=config, compare_seconds=seconds) as b,
    ):
        # One file from the first command on, however large: a rewrite would begin another.
        await a.connections.write_command("CONFIG", "SET", "auto-aof-rewrite-percentage", "0")
        life = Life((a, b), seed)
        await life.begin()
        path = incremental_file(data_dir)
        content, found = b"", list[Unit]()
        while len(found) < operations:
            for _ in range(20):
                await life.step()
            content = await asyncio.to_thread(path.read_bytes)
            found += units(content, found[-1].end if found else 0)
        return life, content
