"""Have the service's own recovery load a model, look at what it became, and let go of it.

The replica is the real one (app.replica with its owner's task): it reads the index of nothing,
writes nothing by itself, and is abandoned without the checkpoint that closing would write. While
it comes up every state that it would serve is compared, not only the last one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from app import replica_owner, replica_work, writing
from app.checkpointing import CheckpointOptions
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from app.replica_work import ReplicaOptions
from scripts.sweep_run.expected import Expected
from tests.oracle.history import Answer

OPTIONS = ReplicaOptions("fsync", 1 << 30, 1e9, CheckpointOptions(1 << 40, 1e9, True))
SETTLE_SECONDS = 60.0


@contextmanager
def hurried() -> Iterator[None]:
    """Probes and pauses of the service a hundredth as long: a sweep waits for them often."""
    with (
        mock.patch.multiple(replica_owner, PROBE_SECONDS=0.005),
        mock.patch.multiple(replica_work, SUBSCRIBE_AGAIN_SECONDS=0.01),
        mock.patch.multiple(writing, REPEAT_PAUSE_SECONDS=0.002),
    ):
        yield


def answer_of(replica: ModelReplica) -> Answer | None:
    """What the replica serves; None when it serves nothing."""
    model = replica.model
    if model is None:
        return None
    window = model.deduplication
    size, count = window.window, window.count
    kept = [int(window._ids[i % size]) for i in range(max(0, count - size), count)]
    return Answer(
        str(model.position), model.digest(), model.examples, model.duplicates, tuple(kept)
    )


async def abandon(replica: ModelReplica) -> None:
    """End the replica's tasks as a kill would: nothing is written."""
    tasks = replica._owner._tasks
    while any(not task.done() for task in tasks):
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=0.05)


async def recovered(connections: RedisConnections, expected: Expected) -> str | None:
    """Recover the model; what is wrong with what came of it."""
    keys = ModelKeys("ctr", expected.name)
    replica = ModelReplica(expected.name, expected.incarnation, connections, keys, OPTIONS)
    replica.start()
    try:
        return await _watch(replica, expected)
    finally:
        await abandon(replica)


async def _watch(replica: ModelReplica, expected: Expected) -> str | None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        owner = replica._owner
        settled = replica.state == expected.state and not owner._behind and owner.redis.away is None
        if settled or replica.state == "deleted":
            break
        if time.monotonic() > deadline:
            return f"{replica.state} ({replica.detail}) and not {expected.state}"
        await asyncio.sleep(0.0005)
    if replica.state != expected.state:
        return f"{replica.state} ({replica.detail}) and not {expected.state}"
    served = answer_of(replica)
    return None if served == expected.answer else f"serves {served} and not {expected.answer}"
