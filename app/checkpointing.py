"""When a replica checkpoints, and how: cut, write, commit, drop.

Due when the log grew by max(checkpoint_log_bytes, bytes of the dirty pages) since the last cut (so
that writing pages never costs more than writing the log did), when nothing came for a while, when
the log is full, and at the end. The cut is made by the replica's own task between two entries;
writing goes on beside the fold. Any replica may do it: page bytes at a position are a function of
the log, and commit.lua takes only what is newer, so two at once waste work and harm nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass

import numpy as np

from app.checkpoint_garbage import CheckpointGarbage
from app.checkpoint_store import IN_FLIGHT_BYTES, CheckpointStore
from app.errors import CheckpointRefused, LogError, ModelGone, WrongEpoch
from app.failpoints import failpoint
from ftrl_core.batch import U8
from ftrl_core.checkpoint import CORE, Cut, Manifest, cut
from ftrl_core.errors import BadCheckpoint, UnknownVersion
from ftrl_core.model import Model

log = logging.getLogger(__name__)
RETRY_SECONDS = 1.0
TOUCH_BYTES = 4096  # a page of memory
HURRY_MAX = 2  # doublings of IN_FLIGHT_BYTES: with four, predictions waited 14 ms at p99
BUFFER_KEPT_BYTES = 64 << 20  # from one checkpoint to the next; 512 MiB more are had in 35 ms
LOST_RACES = frozenset({"not_newer", "base_gone", "dead", "unregistered", "stale_drop"})
FULL_ROUNDS = 3  # commit, commit at an equal position, and a begin that trims up to it


@dataclass(frozen=True, slots=True)
class CheckpointOptions:
    """Settings of the triggers; see app.settings."""

    log_bytes: int
    idle_seconds: float
    trim: bool


@dataclass(slots=True)
class _Base:
    generation: str | None
    manifest: Manifest | None

    @property
    def seq(self) -> int:
        return self.manifest.position.seq if self.manifest else -1


class Checkpointing:
    """The checkpoints of one replica; not for use by two tasks at once."""

    def __init__(self, store: CheckpointStore, options: CheckpointOptions) -> None:
        self._store = store
        self._options = options
        # Replicas of one model must not all wake up together.
        self._idle_seconds = options.idle_seconds * (1.0 + 0.5 * random.random())  # noqa: S311
        self._buffer: U8 = np.empty(0, np.uint8)
        self._base = _Base(None, None)
        self._task: asyncio.Task[bool] | None = None
        self._not_before = 0.0
        self.committed_seq = 0  # of the newest manifest known
        self.committed_at: float | None = None  # time.time() when this replica learned of it
        self.last_seconds: float | None = None  # how long the last one took to write
        self._full_rounds = 0
        self._grown = 0  # bytes of log since the cut

    def log_is_full(self) -> None:
        """An append was refused: checkpoint until both kept manifests are at the head, for the log
        is trimmed up to the older one."""
        self._full_rounds = FULL_ROUNDS

    @property
    def running(self) -> bool:
        """Whether one is being written."""
        return self._task is not None and not self._task.done()

    def seconds_until_idle_due(self, model: Model, last_entry_at: float) -> float | None:
        """How long until idleness makes one due; None when there is nothing to write."""
        if self.running or model.position.seq <= self.committed_seq:
            return None
        due = max(last_entry_at + self._idle_seconds, self._not_before)
        return max(0.0, due - time.monotonic())

    def is_due(self, model: Model, log_bytes: int, last_entry_at: float) -> bool:
        """Whether to checkpoint now; log_bytes counts what was folded since the last cut."""
        self._grown = log_bytes
        if self.running or time.monotonic() < self._not_before:
            return False
        if self._full_rounds:
            return True
        if model.position.seq <= self.committed_seq:
            return False
        if time.monotonic() - last_entry_at >= self._idle_seconds:
            return True
        if log_bytes < self._options.log_bytes:
            return False
        return log_bytes >= model.table.dirty(self._base.seq).size * model.table.page_bytes

    async def start(self, model: Model, nonce: str) -> bool:
        """Cut the model, which must not be folded meanwhile, and write the cut in its own task.

        False when the newest manifest is at the model's position already. Raises what the store
        raises.
        """
        assert not self.running, "its pages are sent from the buffer"
        failpoint("checkpoint.due")
        await self._learn_base()
        base_seq, seq = self._base.seq, model.position.seq
        if base_seq > seq or (base_seq == seq and not self._full_rounds):
            return False
        damaged, damaged_segments = await self._damaged()
        dirty_bytes = (model.table.dirty(base_seq).size + len(damaged)) * model.table.page_bytes
        if self._buffer.size < dirty_bytes:
            self._buffer = await asyncio.to_thread(_touched_memory, dirty_bytes)
        taken = await asyncio.to_thread(
            cut, model, base_seq, self._buffer, damaged, damaged_segments
        )
        failpoint("checkpoint.cut")
        self._task = asyncio.create_task(self._write(taken, nonce, self._base))
        return True

    async def finish(self) -> bool:
        """Wait for the one being written; whether the newest manifest is at its position now."""
        return await asyncio.shield(self._task) if self._task is not None else False

    def forget(self) -> None:
        """The history that the last checkpoint belonged to may be lost."""
        self._base, self.committed_seq = _Base(None, None), 0
        failpoint("recovery.doubt")

    async def _learn_base(self) -> None:
        """Take the newest manifest as the base; damaged, it serves as one that names nothing."""
        newest = await self._store.newest()
        if newest is None:
            self._base = _Base(None, None)
        elif newest.generation != self._base.generation:
            try:
                self._base = _Base(newest.generation, Manifest.decode(newest.manifest))
            except UnknownVersion:
                raise
            except BadCheckpoint as error:
                log.error("checkpoint %s is written anew: %s", newest.generation, error)
                self._base = _Base(newest.generation, None)
            self._learned(self._base.seq)

    def _learned(self, seq: int) -> None:
        if seq > self.committed_seq:
            self.committed_seq = seq
            self.committed_at = time.time()

    async def _damaged(self) -> tuple[list[int], list[int]]:
        """Pages and segments to be written though they are clean: what was observed lies in the
        core, and another version's base at this very position may have another one."""
        items = await self._store.damaged()
        segments = {CORE, *(i.index for i in items if not i.is_page)}
        return [i.index for i in items if i.is_page], sorted(segments)

    async def _write(self, taken: Cut, nonce: str, base: _Base) -> bool:
        started = time.monotonic()
        try:
            await self._write_steps(taken, nonce, base)
        except CheckpointRefused as refusal:
            if refusal.reason not in LOST_RACES:
                log.warning("checkpoint at %s given up: %s", taken.position, refusal)
            return refusal.reason == "not_newer"
        except (ModelGone, WrongEpoch):
            return False
        except (LogError, BadCheckpoint) as error:
            log.warning("checkpoint at %s given up: %s", taken.position, error)
            self._not_before = time.monotonic() + RETRY_SECONDS
            return False
        finally:
            del taken  # it looks into the buffer
            if self._buffer.size > BUFFER_KEPT_BYTES:
                self._buffer = np.empty(0, np.uint8)
        self.last_seconds = time.monotonic() - started
        return True

    def _in_flight(self) -> int:
        """How much of the cut is sent at once: little, so that nobody waits for it; twice as much
        for each quarter of checkpoint_log_bytes that the log has grown meanwhile, or a learner in
        bulk fills the log before its older part can be trimmed."""
        return IN_FLIGHT_BYTES << min(4 * self._grown // self._options.log_bytes, HURRY_MAX)

    async def _write_steps(self, taken: Cut, nonce: str, base: _Base) -> None:
        store = self._store
        generation = await store.begin(base.generation, taken.position, trim=self._options.trim)
        manifest = Manifest.advance(base.manifest, taken, generation, nonce)
        await store.put_pages(generation, taken.pages, taken.segments, self._in_flight)
        await store.commit(
            generation,
            manifest.encode(),
            taken.position,
            nonce,
            len(taken.pages),
            len(taken.segments),
            log_is_full=self._full_rounds > 0,
        )
        self._full_rounds = max(0, self._full_rounds - 1)
        self._base = _Base(generation, manifest)
        self._learned(taken.position.seq)
        await CheckpointGarbage(store).drop_unnamed(Manifest.decode)
        failpoint("checkpoint.done")


def _touched_memory(size: int) -> U8:
    """Bytes that the system has handed out already: copying into fresh memory takes ten times as
    long, and the fold waits for the copy."""
    memory = np.empty(size, np.uint8)
    memory[::TOUCH_BYTES] = 0
    return memory
