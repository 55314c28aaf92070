"""What a replica's owner is made with and handed, and how it says no."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.checkpointing import CheckpointOptions
from app.errors import Unavailable
from app.group import LearnRequest, fail
from ftrl_core.position import Position

RETRY_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """What of the settings a replica needs."""

    durability: str
    log_bytes_max: int
    checkpoints: CheckpointOptions


def new_future() -> asyncio.Future[Any]:
    """A future of the running loop."""
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Job:
    """Something that needs the fold paused; runs in the owner's task."""

    run: Callable[[], Awaitable[Any]]
    done: asyncio.Future[Any] = field(default_factory=new_future)


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits until a position is folded."""

    position: Position
    done: asyncio.Future[bool] = field(default_factory=new_future)


def not_learned(detail: str, slug: str = "unavailable") -> Unavailable:
    """503 for a request of which surely nothing was learned."""
    return Unavailable(detail, slug, "not_learned", RETRY_AFTER_SECONDS)


def fail_unknown(group: Sequence[LearnRequest]) -> None:
    """Nobody knows whether these were appended; only who cannot count twice is told to retry."""
    for request in group:
        after = RETRY_AFTER_SECONDS if request.covered else None
        detail = "sent to the log, but not confirmed; send it again with the same key or ids"
        fail([request], Unavailable(detail, "unavailable", "unknown", after))
