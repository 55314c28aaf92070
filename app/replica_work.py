"""What a replica's owner is made with and handed, and how it says no."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.checkpointing import CheckpointOptions
from app.errors import (
    AppendUnknown,
    Conflict,
    ForeignKey,
    LogError,
    LogFull,
    LogRegressed,
    ProducerUnknown,
    RedisAway,
    RedisRefused,
    ServerRefused,
    SkipRefused,
    StaleBatch,
    Unavailable,
    WrongEpoch,
    not_durable,
)
from app.event_log import EventLog, PublishedHead
from app.folding import Deleted, Doubt, Outdated, Stuck
from app.group import LearnRequest, fail
from app.redis_condition import RETRY_AFTER_SECONDS, as_refusal, not_learned
from ftrl_core.errors import UnknownVersion
from ftrl_core.position import Position

SUBSCRIBE_AGAIN_SECONDS = 1.0
# Refusals of an append that say nothing about this replica's memory.
NOT_APPENDED = (LogFull, WrongEpoch, ProducerUnknown, StaleBatch, ServerRefused)


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """What of the settings a replica needs."""

    durability: str
    log_bytes_max: int
    compare_seconds: float
    checkpoints: CheckpointOptions


def new_future() -> asyncio.Future[Any]:
    """A future of the running loop."""
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Job:
    """Something that needs the fold paused; runs in the owner's task."""

    run: Callable[[], Awaitable[Any]]
    done: asyncio.Future[Any] = field(default_factory=new_future)


class Waiters:
    """Requests that wait until a position is folded."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Position, asyncio.Future[bool]]] = []

    def add(self, position: Position) -> asyncio.Future[bool]:
        """A future that `tell` resolves; it may be cancelled."""
        done: asyncio.Future[bool] = new_future()
        self._waiting.append((position, done))
        return done

    def tell(self, reached: Callable[[Position], bool]) -> None:
        """Resolve those whose position is reached, forget those that gave up."""
        for position, done in self._waiting:
            if not done.done() and reached(position):
                done.set_result(True)
        self._waiting = [waiting for waiting in self._waiting if not waiting[1].done()]


def as_told(error: Exception) -> Exception:
    """What a job's caller is told when it failed so."""
    if isinstance(error, SkipRefused):
        return Conflict("skip-refused", str(error))
    if isinstance(error, ServerRefused):
        return not_durable(error)
    if isinstance(error, Doubt | Deleted | LogRegressed | Stuck | Outdated | UnknownVersion):
        return Unavailable(str(error), "unavailable", None, RETRY_AFTER_SECONDS)
    return error


async def run_job(job: Job) -> None:
    """Run a job; its errors are its caller's, except those that doubt the memory."""
    try:
        result = await job.run()
    except Exception as error:
        job.done.set_exception(as_told(error))
        if isinstance(error, Doubt | Deleted | LogRegressed | Outdated | UnknownVersion):
            raise
    else:
        if not job.done.done():
            job.done.set_result(result)


def fail_jobs(jobs: list[Job], detail: str) -> None:
    """Tell the callers of all jobs that they will not be run; empties the list."""
    for job in jobs:
        if not job.done.done():
            job.done.set_exception(Unavailable(detail, "unavailable", None, RETRY_AFTER_SECONDS))
    jobs.clear()


async def listen(event_log: EventLog, published: Callable[[PublishedHead], None]) -> None:
    """Call `published` for every head that is published, until cancelled; a hint only."""
    while True:
        with contextlib.suppress(LogError):
            async with contextlib.aclosing(event_log.subscribe()) as heads:
                async for head in heads:
                    published(head)
        await asyncio.sleep(SUBSCRIBE_AGAIN_SECONDS)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task for good: under Python 3.11 a `wait_for` inside may swallow the first one."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.05)


def refuse_other_seeds(group: Sequence[LearnRequest], hash_seed: int) -> list[LearnRequest]:
    """Those hashed under this seed; a restore may have changed it after the others were."""
    other = [request for request in group if request.hash_seed != hash_seed]
    fail(other, not_learned("the model was restored meanwhile"))
    return [request for request in group if request.hash_seed == hash_seed]


def fail_group(group: Sequence[LearnRequest], error: Exception) -> None:
    """Tell requests what it means for them that their append, or the fold after it, failed so."""
    if isinstance(error, LogFull):
        fail(group, Unavailable("the log is full", "log-full", "not_learned", error.retry_after))
    elif isinstance(error, RedisRefused | ForeignKey):
        fail(group, as_refusal(error))
    elif isinstance(error, RedisAway):
        fail(group, not_learned("Redis does not answer", "redis-away"))
    elif isinstance(error, ServerRefused):
        fail(group, not_durable(error))
    elif isinstance(error, LogError) and not isinstance(error, AppendUnknown):
        fail(group, not_learned(str(error)))  # refused: nothing was written
    else:
        _fail_unknown(group)


def _fail_unknown(group: Sequence[LearnRequest]) -> None:
    """Nobody knows whether these were appended; only who cannot count twice is told to retry."""
    for request in group:
        after = RETRY_AFTER_SECONDS if request.covered else None
        detail = "sent to the log, but not confirmed; send it again with the same key or ids"
        fail([request], Unavailable(detail, "unavailable", "unknown", after))
