"""The task that owns a model: it alone folds, appends, cuts and reloads, one thing at a time.

    loading ──► live ◄──────────► stuck        an entry cannot be read: predict, refuse /learn
       ▲          │  ▲               │
       └─ doubtful ◄─┴───────────────┘         memory dropped; serves nothing until reloaded
    outdated       a later version folded on: serves nothing until that is behind the model
    deleted        the model is no more

So nothing here is locked: requests hand work over (`submit`, `job`) and wait. While Redis is away
the model stays live and the owner looks for Redis every PROBE_SECONDS. A write is never cancelled
in mid-command: the task ends only by itself, at `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from app import group as groups
from app import recovery
from app.agreement import Agreement, Differs
from app.checkpoint_store import CheckpointStore
from app.checkpointing import Checkpointing
from app.errors import (
    AppendUnknown,
    ForeignKey,
    LogError,
    LogRegressed,
    ModelGone,
    RedisAway,
    ServerRefused,
    Unavailable,
    WrongIncarnation,
)
from app.event_log import Appended, Control, EventLog, PublishedHead
from app.folding import Deleted, Doubt, Follower, Outdated, Stuck
from app.group import LearnRequest
from app.model_index import ModelIndex
from app.redis_condition import RedisCondition, as_refusal, is_out_of_memory, not_learned
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from app.replica_work import (
    Job,
    ReplicaOptions,
    Waiters,
    end_task,
    fail_jobs,
    listen,
    refuse_other_seeds,
    run_job,
)
from app.writing import Writer
from ftrl_core.entry import encode_control
from ftrl_core.errors import UnknownVersion
from ftrl_core.model import Model
from ftrl_core.position import Position

log = logging.getLogger(__name__)

HEAD_SECONDS = 1.0  # how often position and nonce are compared with meta
PROBE_SECONDS = 0.1  # how often Redis is looked for while it is away
RELOAD_SECONDS_MAX = 5.0  # between reloads that do not help


class ReplicaOwner:
    """The model of one incarnation, and everything that changes it."""

    def __init__(
        self,
        name: str,
        incarnation: str,
        connections: RedisConnections,
        keys: ModelKeys,
        options: ReplicaOptions,
    ) -> None:
        self.name = name
        self.incarnation = incarnation
        self.state, self.detail = "loading", "waiting for Redis"
        self.redis = RedisCondition(name)
        self.stuck: Stuck | None = None
        self.outdated: Outdated | None = None
        self.stop = asyncio.Event()  # set by `close`
        self.log_bytes = 0
        self.log_regressions = 0
        self.queue = groups.LearnQueue()
        self.store = CheckpointStore(connections, keys, incarnation)
        self.checkpoints = Checkpointing(self.store, options.checkpoints)
        self.settled = asyncio.Event()  # not loading any more
        self._log = EventLog(connections, keys)
        self._index = ModelIndex(connections, keys.prefix)
        self.agreement = Agreement(connections, keys, incarnation, options.compare_seconds)
        load_restore = partial(recovery.load_restore, self.store)
        self.follower = Follower(self._log, load_restore, self._compare_if_due)
        self._writer = Writer(self._log, self.follower, self.redis, options.log_bytes_max)
        self.new_names: set[str] = set()  # field names to be told in the log
        self._jobs: list[Job] = []
        self._waiters = Waiters()
        self._wake = asyncio.Event()
        self._behind = True  # the log may hold more than was folded
        self._head_due, self._last_entry_at = 0.0, time.monotonic()
        self._reloads = 0  # since the log and this memory last agreed
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def model(self) -> Model | None:
        """The model as it is now; None while it is not to be used."""
        return self.follower.model if self.state in ("live", "stuck") else None

    def submit(self, request: LearnRequest) -> None:
        """Queue a request for the next append; its future tells what became of it."""
        self.queue.put(request)
        self._wake.set()

    async def job(self, run: Callable[[], Awaitable[Any]]) -> Any:
        """Have the owner's task run this between two entries; its errors come back."""
        job = Job(run)
        self._jobs.append(job)
        self._wake.set()
        return await asyncio.shield(job.done)

    async def append_control(
        self, payload: bytes, control: Control | None, *, same_epoch: bool = False
    ) -> Appended:
        """Append a control entry; only inside a job."""
        entries = [(payload, groups.new_nonce())]
        # Who is stuck cannot read up to the present epoch, and skips in it all the same.
        epoch = (await self._log.head()).epoch if self.stuck is not None else None
        return await self._writer.append(
            self.incarnation, entries, control, same_epoch=same_epoch, epoch=epoch
        )

    async def start_checkpoint(self) -> bool | None:
        """Cut the model here and begin to write it; only inside a job. None: another is being
        written, False: the newest is at this position already."""
        if self.checkpoints.running:
            return None
        self.follower.bytes_since_cut = 0
        return await self.checkpoints.start(self.follower.loaded, self.follower.nonce)

    def reached(self, position: Position) -> bool:
        """Whether the position is folded; an older epoch counts as reached."""
        if self.model is None:
            return False
        at = self.model.position
        return position.epoch < at.epoch or (position.epoch == at.epoch and position.seq <= at.seq)

    def when_reached(self, position: Position) -> asyncio.Future[bool]:
        """A future that is resolved when the position is folded."""
        self.look_soon()
        return self._waiters.add(position)

    def look_soon(self) -> None:
        """Have the owner read the log now."""
        self._behind = True
        self._wake.set()

    def start(self) -> None:
        """Begin to load and follow."""
        listening = listen(self._log, self._published)
        self._tasks = [asyncio.create_task(self._own()), asyncio.create_task(listening)]

    def _published(self, head: PublishedHead) -> None:
        model = self.follower.model
        if model is None or head.position.seq > model.position.seq:
            self.look_soon()

    async def close(self) -> None:
        """Append and fold what is queued, checkpoint, and end."""
        self.stop.set()
        self._wake.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _own(self) -> None:
        while not self.stop.is_set() and self.state != "deleted":
            try:
                await self._load()
                while not self.stop.is_set():
                    await self._wait()
                    await self._step()
            except (Deleted, WrongIncarnation) as error:
                self._end("deleted", error)
            except ModelGone as error:
                await self._gone(error)
            except (Doubt, LogRegressed) as error:
                await self._doubt(error)
            except (Outdated, UnknownVersion) as error:
                await self._stay_behind(error)
            except recovery.NOT_LOADED as error:
                self.redis.is_away(error)
                self.detail = f"the model cannot be loaded: {error}"
                await asyncio.sleep(PROBE_SECONDS)
            except Exception as error:  # the task's outermost loop: a model must have an owner
                log.exception("model %s: unforeseen", self.name)
                await self._doubt(error)
        await self._finish()
        await end_task(self._tasks[1])

    async def _load(self) -> None:
        head = await self._log.head()
        if head.incarnation != self.incarnation:
            raise WrongIncarnation(head.incarnation)
        if head.deleted:  # its log may name pages that are gone already
            raise Deleted("the model was deleted")
        if (outdated := self.outdated) is not None:
            if not await recovery.is_passed(outdated, self._log, self.store, head):
                raise outdated
            self.outdated = None
        if self.follower.model is None:
            self.state, self.detail = "loading", "loading the newest checkpoint"
            loaded = await recovery.load(self._log, self.store, head)
            self.follower.adopt(loaded.model, loaded.nonce, loaded.tail)
            self.agreement.load_from(head)
        self.detail = "folding the log after the checkpoint"
        self.follower.bytes_since_cut = 0
        await self._read_on()
        self.log_bytes = head.log_bytes
        if self.stuck is None:
            self.state, self.detail = "live", "live"
        self.settled.set()

    async def _compare_if_due(self, model: Model, last_ms: int, next_ms: int) -> None:
        if self.agreement.is_due(model.position, last_ms, next_ms):
            await self.agreement.compare(model)

    async def _stay_behind(self, error: Outdated | UnknownVersion) -> None:
        """Drop the memory, and look again and again whether the model came back."""
        if self.outdated is None:
            self.outdated = error if isinstance(error, Outdated) else Outdated(str(error))
            log.error("model %s: %s", self.name, self.outdated)
            self._end("outdated", self.outdated)
        self._dismiss(not_learned(self.detail))
        await asyncio.sleep(PROBE_SECONDS if self._wake.is_set() else HEAD_SECONDS)

    async def _gone(self, error: ModelGone) -> None:
        """Deleted by somebody who removed the log before it was read here, or lost with Redis."""
        with contextlib.suppress(LogError):
            if await self._index.was_deleted(self.name, self.incarnation):
                self._end("deleted", error)
                return
        await self._doubt(error)

    async def _doubt(self, error: Exception) -> None:
        """Drop the memory; what waited is told, what was sent is unknown."""
        log.error("model %s: %s; loading again", self.name, error)
        self.log_regressions += not isinstance(error, Differs)
        self._end("doubtful", error)
        self.checkpoints.forget()
        await asyncio.sleep(PROBE_SECONDS)
        pause = min(PROBE_SECONDS * 2**self._reloads, RELOAD_SECONDS_MAX) - PROBE_SECONDS
        self._reloads = min(self._reloads + 1, 16)
        awaited = self.stop if isinstance(error, Differs) else self._wake
        with contextlib.suppress(TimeoutError):  # cut short by `close`, or by a new entry
            await asyncio.wait_for(awaited.wait(), pause)
        self._wake.clear()

    def _end(self, state: str, error: Exception) -> None:
        self.state, self.detail = state, str(error)
        self.follower.drop()
        self.stuck = None
        self.settled.set()
        self._dismiss(not_learned(f"the model is {state}"))

    def _dismiss(self, error: Unavailable) -> None:
        """Tell all that waits that it was not done."""
        self.queue.fail(error)
        fail_jobs(self._jobs, error.detail)

    async def _wait(self) -> None:
        """Until there is something to do."""
        pause = max(0.0, self._head_due - time.monotonic())
        idle = self.checkpoints.seconds_until_idle_due(self.follower.loaded, self._last_entry_at)
        pause = min(pause, self.agreement.seconds_until_idle_due())
        if idle is not None:
            pause = min(pause, idle)
        if not (self.queue or self._jobs or self._behind):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(pause, 0.001))
        self._wake.clear()

    async def _step(self) -> None:
        """One round: look, fold, run jobs, append, checkpoint.

        Jobs run while Redis is away too: /stats needs none, and the others say so themselves.
        """
        try:
            try:
                if self._behind or self.redis.away or time.monotonic() >= self._head_due:
                    await self._look()
            finally:
                while self._jobs:
                    await run_job(self._jobs.pop(0))
                    self._waiters.tell(self.reached)
            await self._tell_names()
            while self.queue:
                await self._append_group()
            await self.agreement.compare_idle(self.follower.loaded)
            await self._consider_checkpoint()
        except (RedisAway, ForeignKey, AppendUnknown) as error:
            self._failed(error)
        except Stuck as stuck:
            self._enter_stuck(stuck)

    def _failed(self, error: LogError) -> None:
        """Redis is away or refuses: who waits is told, and it is looked at again soon."""
        self.redis.failed(error)
        self._behind = self._behind and self.redis.away is None
        if is_out_of_memory(error):
            self.checkpoints.log_is_full()
        self._head_due = time.monotonic() + PROBE_SECONDS
        self.queue.fail(self.redis.refusal() or as_refusal(error))

    async def _look(self) -> None:
        """Compare with meta, and read what is new."""
        head, before = await self._log.head(), self.stuck
        self.log_bytes = head.log_bytes
        self.agreement.look(head)
        if self.follower.compare(head, self.incarnation):
            if self.stuck is not None:
                await self.follower.check_checkpoint(self.stuck, head)
            await self._read_on()
            if self.stuck is None:
                self.follower.check_reached(head)
        elif self.stuck is not None:  # the log lost the entry that could not be read
            self.stuck, self.state, self.detail = None, "live", "live"
        self._head_due = time.monotonic() + HEAD_SECONDS
        self._behind = self.stuck not in (None, before)  # look for a skip of it at once
        self._reloads, self.redis.contact = 0, time.monotonic()
        if self.redis.refused is not None:
            self.redis.refuses(await self._log.refusal())
            self._head_due = time.monotonic() + PROBE_SECONDS
        self.redis.answers()

    async def _read_on(self) -> None:
        try:
            if self.stuck is not None and not await self.follower.look_ahead(self.stuck):
                return
            before = self.follower.loaded.position
            self.stuck = None
            await self.follower.catch_up()
            await self.agreement.settle(self.follower.loaded)
            self.state, self.detail = "live", "live"
            if self.follower.loaded.position != before:
                self._last_entry_at = time.monotonic()
        except Stuck as stuck:
            self._enter_stuck(stuck)
        finally:
            self._waiters.tell(self.reached)

    def _enter_stuck(self, stuck: Stuck) -> None:
        if self.stuck is None:
            log.error("model %s: %s", self.name, stuck)
        self.stuck, self.state, self.detail = stuck, "stuck", str(stuck)
        self.queue.fail(not_learned(str(stuck)))

    async def _append_group(self) -> None:
        """Append and fold what waits; everybody in the group is told."""
        group = refuse_other_seeds(self.queue.next_group(), self.follower.loaded.config.hash_seed)
        if not group:
            return
        try:
            if await self._writer.learn(self.incarnation, group):
                self.checkpoints.log_is_full()
            else:
                self._last_entry_at = self.redis.contact = time.monotonic()
        finally:
            self._waiters.tell(self.reached)

    async def _tell_names(self) -> None:
        """Write field names that the log does not have yet."""
        names = self.follower.loaded.names.unheard(self.new_names)
        self.new_names.clear()
        if names and self.stuck is None and self.redis.takes_writes:
            with contextlib.suppress(ServerRefused):  # whoever learns is told
                await self.append_control(encode_control("names", {"names": names}), None)
                await self.follower.catch_up()

    async def _consider_checkpoint(self) -> None:
        model, log_bytes = self.follower.loaded, self.follower.bytes_since_cut
        due = self.checkpoints.is_due(model, log_bytes, self._last_entry_at)
        if due and self.stuck is None:
            await self.start_checkpoint()

    async def _finish(self) -> None:
        """The last round: what is queued, then a checkpoint."""
        try:
            if self.state == "live" and self.redis.away is None:
                await self._step()
            self._dismiss(not_learned("the service is stopping"))
            await self.checkpoints.finish()
            if self.state == "live" and self.redis.away is None and await self.start_checkpoint():
                await self.checkpoints.finish()
        except Exception:  # nothing may keep the service from stopping
            log.exception("model %s: no last checkpoint", self.name)
        finally:
            self._dismiss(not_learned("the service is stopping"))
