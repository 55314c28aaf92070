"""What makes the service send each command to Redis, so that its connection can fail there.

A scenario arms the fault, has the service do something, and goes on until that is done, as a client
or an operator does. What must hold afterwards is in `Stage.judge`, the same for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import Conflict, LogError, ModelNotFound, RedisRefused, Unavailable
from app.replica import ModelReplica
from app.server_facts import Promise
from app.snapshot_store import SnapshotStore
from app.snapshots import SnapshotDirectory
from ftrl_core.checkpoint import Manifest
from scripts.sweep_run.proxy import MESSAGE, Fault
from scripts.sweep_run.recovery import OPTIONS, abandon, recovered
from scripts.sweep_run.stage import KEYS, PATIENCE_SECONDS, RETRY_SECONDS, Stage

Act = Callable[[Stage, Fault], Awaitable[None]]


async def learning(stage: Stage, fault: Fault) -> None:
    """The fault hits an append; two requests at once share it."""
    stage.proxy.arm(fault)
    await asyncio.gather(stage.learn(), stage.learn())


async def forgotten_scripts(stage: Stage, fault: Fault) -> None:
    """Redis has forgotten the scripts, as after a restart."""
    await stage.ask("SCRIPT", "FLUSH")
    stage.proxy.arm(fault)
    await stage.learn()


async def waiting_for_sync(stage: Stage, fault: Fault) -> None:
    """A WAITAOF follows the append, as --waitaof asks for."""
    promise = stage.through.promise
    stage.through.promise = Promise(promise.durability, waitaof=True)
    try:
        stage.proxy.arm(fault)
        await stage.learn()
    finally:
        stage.through.promise = promise


async def probing(stage: Stage, fault: Fault) -> None:
    """Redis refused a write, as it were: the owner asks whether it takes them again."""
    owner = (await stage.subject())._owner
    owner.redis.refuses(RedisRefused("out of memory"))
    stage.proxy.arm(fault)
    owner.look_soon()
    await _struck(fault)


async def connecting(stage: Stage, fault: Fault) -> None:
    """Every connection is new."""
    await stage.proxy.drop()
    stage.proxy.arm(fault)
    await stage.learn()


async def forgotten_put(stage: Stage, fault: Fault) -> None:
    """The server forgets its scripts before pages are written."""
    await stage.learn()
    await stage.ask("SCRIPT", "FLUSH")
    stage.proxy.arm(fault)
    subject = await stage.subject()
    await _until_done(subject.checkpoint)
    await _checkpointed(subject)


async def comparing(stage: Stage, fault: Fault) -> None:
    """The replica says its digest and hears the others'."""
    stage.proxy.arm(fault)
    owner = (await stage.subject())._owner
    await _until_done(lambda: owner.job(lambda: owner.agreement.compare(owner.follower.loaded)))


async def looking(stage: Stage, fault: Fault) -> None:
    """The owner compares with meta, and reads what somebody else appended."""
    stage.proxy.arm(fault)  # before, for it may hear of the entry at once
    await stage.learn(await stage.other())
    (await stage.subject())._owner.look_soon()
    await _struck(fault)


async def checkpointing(stage: Stage, fault: Fault) -> None:
    """A checkpoint is cut short; the next one is whole, and a reload finds it."""
    await stage.learn()
    stage.proxy.arm(fault)
    subject = await stage.subject()
    await _until_done(subject.checkpoint)
    await stage.learn()
    await _checkpointed(subject)


async def restoring(stage: Stage, fault: Fault) -> None:
    """The state of a little earlier is brought back, from a snapshot."""
    subject = await stage.subject()
    await _checkpointed(subject)
    snapshot = await stage.snapshot()
    await stage.learn()
    stage.proxy.arm(fault)
    with contextlib.suppress(Conflict):  # an attempt whose reply was lost has done it
        await _until_done(lambda: subject.restore(snapshot))


async def loading(stage: Stage, fault: Fault) -> None:
    """A replica loads behind the proxy, from a checkpoint and an entry after it."""
    stage.proxy.arm(fault)
    wrong = await recovered(stage.through, stage.expected())
    assert wrong is None, wrong


async def loading_damage(stage: Stage, fault: Fault) -> None:
    """The newest checkpoint has a damaged page: it is marked, the one before is loaded."""
    manifest = await two_checkpoints(stage)
    key = KEYS.page(manifest.generations[manifest.page_generation[0]], 0)
    content = await stage.ask("GET", key)
    await stage.ask("SET", key, b"\0" + content[1:] + b"x")
    await stage.judge(reload=False)
    stage.proxy.arm(fault)
    wrong = await recovered(stage.through, stage.expected())
    assert wrong is None, wrong
    marked = await stage.ask("HGET", KEYS.meta, "damaged")
    assert key.rsplit(":", 2)[1] in (marked or b"").decode(), "the damage was not noted"
    await stage.ask("SET", key, content)
    await stage.ask("HDEL", KEYS.meta, "damaged")


async def subscribing(stage: Stage, fault: Fault) -> None:
    """A replica subscribes, and hears of an append all the same."""
    stage.proxy.arm(fault)
    incarnation = stage.hub_incarnation
    replica = ModelReplica("default", incarnation, stage.through, KEYS, OPTIONS)
    replica.start()
    try:
        await _until(lambda: replica.model is not None)
        await stage.learn(await stage.other())
        await stage.judge(reload=False)
        await stage.caught_up(replica)
        await _struck(fault)
    finally:
        await abandon(replica)


async def checking(stage: Stage, fault: Fault) -> None:
    """What the server is gets asked at start."""
    stage.proxy.arm(fault)
    facts = None
    deadline = time.monotonic() + PATIENCE_SECONDS
    while facts is None and time.monotonic() < deadline:
        try:
            facts = await stage.through.check_server()
        except LogError:
            assert fault.struck.is_set()
    assert facts == await stage.direct.check_server()


async def making(stage: Stage, fault: Fault) -> None:
    """A model is made, learns nothing, and is deleted; each until it is done."""
    stage.proxy.arm(fault)
    await _until_done(lambda: stage.hub.create("brief", {"table_bits": 4}))
    await _until_done(lambda: _deleted(stage))
    keys = await stage.ask("KEYS", "{ctr:brief}*")
    assert keys == [], f"left behind: {keys}"


async def sharing_snapshots(stage: Stage, fault: Fault) -> None:
    """The snapshot directory's id is compared."""
    await stage.ask("DEL", "ctr:snapshot-store")
    with tempfile.TemporaryDirectory() as folder:
        store = SnapshotStore(SnapshotDirectory(Path(folder)), stage.through, "ctr")
        stage.proxy.arm(fault)
        try:
            await _until_done(store.checked)
        finally:
            store.close()


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is done, and the commands that it is done for."""

    act: Act
    commands: tuple[str, ...]
    reload: bool = False  # whether a fresh replica is loaded after each fault
    checkpointed: bool = False  # whether there must be checkpoints beforehand


CHECKPOINT_COMMANDS = (
    "begin", "put page", "put state", "put long state", "commit", "drop", "HGETALL generations",
    "HGET meta", "GET manifest",
)  # fmt: skip
SCENARIOS = (
    Scenario(learning, ("append",)),
    Scenario(forgotten_scripts, ("EVAL",)),
    Scenario(forgotten_put, ("SCRIPT LOAD",)),
    Scenario(waiting_for_sync, ("WAITAOF",)),
    Scenario(probing, ("probe",)),
    Scenario(connecting, ("CLIENT SETNAME", "CLIENT SETINFO")),
    Scenario(looking, ("HGETALL meta", "XRANGE log")),
    Scenario(checkpointing, CHECKPOINT_COMMANDS, reload=True),
    Scenario(restoring, ("put manifest",), reload=True),
    Scenario(
        loading, ("HMGET meta", "MGET manifest", "MGET state", "MGET page"), checkpointed=True
    ),
    Scenario(loading_damage, ("damage",)),
    Scenario(comparing, ("digest",)),
    Scenario(subscribing, ("SUBSCRIBE head", MESSAGE)),
    Scenario(checking, ("INFO", "CONFIG GET", "COMMAND")),
    Scenario(making, ("create", "models_row", "delete_finish", "HGETALL models", "HGET models")),
    Scenario(sharing_snapshots, ("SET snapshot-store", "GET snapshot-store")),
)


async def _checkpointed(replica: ModelReplica) -> None:
    """Until the newest checkpoint is at the replica's position."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while replica.checkpoint_seq() != replica.require_model().position.seq:
        assert time.monotonic() < deadline, "no checkpoint after the fault"
        await _until_done(replica.checkpoint)


async def two_checkpoints(stage: Stage) -> Manifest:
    """Two checkpoints whose pages differ, and an entry after them; the newest manifest."""
    subject = await stage.subject()
    for _ in range(2):
        await stage.learn()
        await _checkpointed(subject)
    await stage.learn()
    newest = await subject._owner.store.newest()
    assert newest is not None
    return Manifest.decode(newest.manifest)


async def _deleted(stage: Stage) -> None:
    with contextlib.suppress(ModelNotFound):
        await stage.hub.delete("brief")


async def _struck(fault: Fault) -> None:
    await asyncio.wait_for(fault.struck.wait(), PATIENCE_SECONDS)


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def _until_done(act: Callable[[], Awaitable[Any]]) -> None:
    """What an operator does: again, while Redis is said to be away."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            await act()
            return
        except (LogError, Unavailable):
            assert time.monotonic() < deadline, "never done"
            await asyncio.sleep(RETRY_SECONDS)
