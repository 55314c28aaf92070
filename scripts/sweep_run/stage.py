"""One server, a proxy before it, a service behind the proxy, and the reference fold beside them.

What a client does is in `learn`: the same batch again until it is acknowledged. What must hold
after every fault is in `judge`: each example sent is in the log exactly once, the service behind
the proxy recovered by itself and holds the reference fold, and so does a replica loaded anew.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import Unavailable
from app.event_log import EventLog
from app.hub import Hub
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from ftrl_core.model import Model
from ftrl_core.position import START
from ftrl_core.snapshot_file import read_snapshot, write_snapshot
from scripts.sweep_run.expected import Expected
from scripts.sweep_run.proxy import Proxy
from scripts.sweep_run.recovery import answer_of, recovered
from tests.oracle.history import ExactHistory
from tests.oracle.payload import Control, Examples, read
from tests.oracle.streams import ONE_RATE
from tests.recovery.harness import batch_of, hub_on

RETRY_SECONDS = 0.005
KEYS = ModelKeys("ctr", "default")
CONFIG = {**ONE_RATE, "table_bits": 8, "deduplication_window": 256}
SOCKET_SECONDS = 1.0  # a busy machine must not pass for a silent connection
PATIENCE_SECONDS = 60.0


class Stage:
    """Everything a fault is played on."""

    def __init__(self, hub: Hub, beside: Hub, proxy: Proxy, seed: int) -> None:
        self.hub, self.beside, self.proxy = hub, beside, proxy
        self.direct = beside.connections
        self.through = hub.connections
        self._restored: dict[int, int] = {}
        self._kept = 0  # seq that a snapshot was taken at
        self.history = ExactHistory(restored=self._restored)
        self._random = np.random.default_rng(seed)
        self._log = EventLog(self.direct, KEYS)
        self._read = START
        self._next_id = 1
        self._sent: set[int] = set()
        self._counted: dict[int, int] = {}
        self._bare = self._bare_unknown = 0  # examples without an id: acknowledged, unknown
        self._bare_counted = 0

    async def subject(self) -> ModelReplica:
        """The replica behind the proxy."""
        return await self.hub.get("default")

    async def other(self) -> ModelReplica:
        """The replica of a service that has no proxy before it."""
        return await self.beside.get("default")

    async def ask(self, *words: Any) -> Any:
        """One command past the proxy."""
        return await self.direct.write_command(*words)

    async def learn(self, replica: ModelReplica | None = None) -> None:
        """Learn one to three examples as a client that retries; every second time without ids.

        What has no id is not sent again after `unknown`: then it may count, once.
        """
        subject = replica or await self.subject()
        rows, bare = int(self._random.integers(1, 4)), bool(self._random.integers(2))
        first_id = 0 if bare else self._next_id
        batch = batch_of(self._random, rows, first_id=first_id, features=3, distinct=100)
        if not bare:
            self._sent |= set(range(first_id, first_id + rows))
            self._next_id += rows
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                outcome = await subject.learn(batch, covered=not bare)
            except Unavailable as refusal:
                if bare and refusal.outcome == "unknown":
                    self._bare_unknown += rows
                    return
                if refusal.outcome is None or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
                continue
            assert outcome.accepted + outcome.duplicates == rows, "another request's outcome"
            assert np.isnan(outcome.predictions).sum() == outcome.duplicates
            self._bare += rows if bare else 0
            return

    async def judge(self, *, reload: bool) -> None:
        """AssertionError for whatever does not hold."""
        await self._fold()
        counts = {i: self._counted.get(i, 0) for i in self._sent}
        wrong = {i: n for i, n in counts.items() if n != 1}
        assert not wrong, f"ids counted so often: {wrong}"
        assert self._counted.keys() <= self._sent, "an example that nobody sent"
        more = self._bare_counted - self._bare
        assert 0 <= more <= self._bare_unknown, f"{more} more without an id than acknowledged"
        await self.caught_up(await self.subject())
        if reload:
            fault = await recovered(self.direct, self.expected())
            assert fault is None, fault
        confused, self.proxy.confused = self.proxy.confused, 0
        assert not confused, "a request on a connection whose reply is still to come"

    async def snapshot(self) -> Model:
        """A snapshot of the state as it is now, which every restore after it brings back."""
        await self.judge(reload=False)
        self.history.keep()
        self._kept = self.history.seq
        taken, examples = await (await self.subject()).snapshot_cut()
        pieces = write_snapshot(
            taken, name="s", incarnation=self.hub_incarnation, created_ms=0, examples=examples
        )
        return read_snapshot(io.BytesIO(b"".join(pieces)))[1]

    def expected(self) -> Expected:
        """What any replica must be."""
        seq = self.history.seq
        return Expected("default", self.hub_incarnation, "live", self.history.answers[seq])

    @property
    def hub_incarnation(self) -> str:
        """Of `default`."""
        return self.hub.loaded()[0].incarnation

    async def caught_up(self, replica: ModelReplica) -> None:
        """Wait until the replica holds what the reference fold does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        wanted = self.history.answers[self.history.seq]
        while not replica.can_learn() or answer_of(replica) != wanted:
            assert time.monotonic() < deadline, (
                f"{replica.state} ({replica.detail}), away: {replica._owner.redis.away};"
                f" {answer_of(replica)} and not {wanted}"
            )
            await asyncio.sleep(0.001)

    async def _fold(self) -> None:
        """Take what is new in the log into the reference fold."""
        while entries := await self._log.read(self._read):
            for entry in entries:
                assert entry.position.seq == self._read.seq + 1, "a gap in the log"
                self._read = entry.position
                content = read(entry.payload)
                if isinstance(content, Control) and content.op == "restore":
                    self._restored[entry.position.seq] = self._kept
                self.history.add(str(entry.position), entry.payload)
                self._count(content)
        for seq in list(self.history.answers)[:-2]:
            del self.history.answers[seq]

    def _count(self, content: Examples | Control) -> None:
        if isinstance(content, Examples):
            verdicts = self.history.verdicts
            for row, verdict in zip(content.rows, verdicts, strict=True):
                if verdict == 0 and row.event_id == 0:
                    self._bare_counted += 1
                elif verdict == 0:
                    self._counted[row.event_id] = self._counted.get(row.event_id, 0) + 1


@asynccontextmanager
async def stage_on(socket: Path, folder: Path, seed: int) -> AsyncIterator[Stage]:
    """A stage on a fresh server, in a folder that exists; only scenarios make checkpoints."""
    direct, timeout = f"unix://{socket}", SOCKET_SECONDS
    async with (
        Proxy(socket, folder / "proxy") as proxy,
        hub_on(direct, folder / "beside", config=CONFIG) as beside,
        hub_on(proxy.url, folder / "data", config=CONFIG, socket_timeout=timeout) as hub,
    ):
        stage = Stage(hub, beside, proxy, seed)
        await stage.subject()
        yield stage
        proxy.arm(None)
