"""The connection fails at every byte of every command that the service sends, and of its reply.

A scenario is what makes the service send a command, and what must hold afterwards. For each of its
commands the connection is cut after 0, 1, 2 ... bytes of the request, and of the reply; at a sample
of offsets it goes silent instead (hold), or what was held arrives after the service has given up
(late). What is longer than WHOLE_MAX bytes is cut at every offset of its first and last EDGE bytes,
and at `count` others: between them lies the inside of one value.

Several stages, each with a server of its own, share the offsets of every command: a sweep waits
for sockets most of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.embedded_server import EmbeddedServer
from app.errors import AppError, LogError, ModelNotFound, Unavailable
from app.replica import ModelReplica
from app.snapshot_store import SnapshotStore
from app.snapshots import SnapshotDirectory
from ftrl_core.checkpoint import Manifest
from ftrl_core.warmup import warm_up
from scripts.sweep_run.folder import say, scratch
from scripts.sweep_run.proxy import MESSAGE, Fault, Mode, Side
from scripts.sweep_run.recovery import OPTIONS, abandon, hurried, recovered
from scripts.sweep_run.stage import KEYS, PATIENCE_SECONDS, RETRY_SECONDS, Stage, stage_on

WHOLE_MAX, EDGE = 8192, 1024  # bytes
SLACK = 4
FAULTS_SHOWN = 10
SIDES: tuple[Side, ...] = ("request", "reply")

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
    await stage.learn(await stage.other())
    stage.proxy.arm(fault)
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


async def loading(stage: Stage, fault: Fault) -> None:
    """A replica loads behind the proxy, from a checkpoint and an entry after it."""
    stage.proxy.arm(fault)
    wrong = await recovered(stage.through, stage.expected())
    assert wrong is None, wrong


async def loading_damage(stage: Stage, fault: Fault) -> None:
    """The newest checkpoint has a damaged page: it is marked, the one before is loaded."""
    manifest = await _two_checkpoints(stage)
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
    "begin", "put page", "put state", "commit", "drop", "HGETALL generations", "HGET meta",
    "GET manifest",
)  # fmt: skip
SCENARIOS = (
    Scenario(learning, ("append",)),
    Scenario(forgotten_scripts, ("EVAL",)),
    Scenario(forgotten_put, ("SCRIPT LOAD",)),
    Scenario(connecting, ("CLIENT SETNAME", "CLIENT SETINFO")),
    Scenario(looking, ("HGETALL meta", "XRANGE log")),
    Scenario(checkpointing, CHECKPOINT_COMMANDS, reload=True),
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


@dataclass
class Tally:
    """What was done, and what was found."""

    offsets: dict[str, dict[str, int]] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    sampled: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Note one, and tell whoever watches."""
        self.faults.append(text)
        say(text)

    def add(self, fault: Fault) -> None:
        """One more."""
        self.modes[fault.mode] = self.modes.get(fault.mode, 0) + 1
        if fault.mode == "cut":
            sides = self.offsets.setdefault(fault.command, {})
            sides[fault.side] = sides.get(fault.side, 0) + 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is drawn: offsets inside a long value, silences of each kind; from which seed."""

    count: int
    silences: int
    seed: int


class Sweep:
    """One stage's share of all faults: every offset that leaves `share` when divided by `of`."""

    def __init__(self, stage: Stage, tally: Tally, drawn: Drawn, share: int, of: int) -> None:
        self._stage, self._tally, self._drawn = stage, tally, drawn
        self._share, self._of = share, of

    async def run(self, only: Collection[str] = ()) -> None:
        """Every command of every scenario, or only these."""
        for scenario in SCENARIOS:
            for command in scenario.commands:
                if not only or command in only:
                    await self._command(scenario, command)
                    done = sum(self._tally.modes.values())
                    say(f"{command}: {done} connections failed, {len(self._tally.faults)} faults")

    async def _command(self, scenario: Scenario, command: str) -> None:
        await self._size(scenario, command)
        seen = self._stage.proxy.seen.get(command)
        if seen is None:
            self._tally.fault(f"{command}: the service never sends it")
            return
        for side in SIDES:
            size = getattr(seen, side)
            if not size:  # a message has no request
                continue
            for mode, offsets in self._plan(f"{command} {side}", size):
                for after in offsets:
                    await self._one(scenario, Fault(command, side, after, mode))

    async def _size(self, scenario: Scenario, command: str) -> None:
        """Go through the scenario without a fault, to see the command's size."""
        if scenario.checkpointed:
            await _two_checkpoints(self._stage)
            await self._stage.judge(reload=True)
        self._stage.proxy.seen.pop(command, None)
        never = Fault("none", "request", 0)
        never.struck.set()
        await scenario.act(self._stage, never)
        await self._stage.judge(reload=True)

    def _plan(self, what: str, size: int) -> Iterable[tuple[Mode, list[int]]]:
        draw = random.Random(f"{self._drawn.seed} {what}")
        # Other stages see a number of a digit less or more: a few offsets past the end are theirs.
        offsets = list(range(size + 1 + SLACK))
        if len(offsets) > WHOLE_MAX:
            inner = draw.sample(offsets[EDGE:-EDGE], self._drawn.count)
            offsets = offsets[:EDGE] + sorted(inner) + offsets[-EDGE:]
            self._tally.sampled.add(what)
        yield "cut", [after for after in offsets if after % self._of == self._share]
        for mode in ("hold", "late"):
            sample = [draw.randrange(size + 1) for _ in range(self._drawn.silences)]
            yield mode, sample[self._share :: self._of]

    async def _one(self, scenario: Scenario, fault: Fault) -> None:
        stage = self._stage
        self._tally.add(fault)
        try:
            await scenario.act(stage, fault)
            assert fault.struck.is_set(), "the command was not sent"
            await stage.proxy.release()
            await stage.judge(reload=scenario.reload)
        except (AssertionError, AppError, TimeoutError) as error:
            where = f"{fault.command} {fault.side}, {fault.mode} after {fault.after}"
            self._tally.fault(f"{where}: {type(error).__name__} {error}")
        finally:
            stage.proxy.arm(None)


async def _checkpointed(replica: ModelReplica) -> None:
    """Until the newest checkpoint is at the replica's position."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while replica.checkpoint_seq() != replica.require_model().position.seq:
        assert time.monotonic() < deadline, "no checkpoint after the fault"
        await _until_done(replica.checkpoint)


async def _two_checkpoints(stage: Stage) -> Manifest:
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


def sweep(
    count: int, silences: int, seed: int, only: Collection[str] = (), stages: int = 3
) -> dict[str, Any]:
    """The whole sweep, or the part for some commands; its report."""
    began, tally = time.monotonic(), Tally()
    warm_up()
    with scratch() as folder, hurried(), contextlib.ExitStack() as servers:
        sockets = []
        for share in range(stages):
            (folder / str(share)).mkdir()
            server = EmbeddedServer.start(folder / str(share) / "redis", "bundled", "fsync")
            sockets.append(servers.enter_context(server).socket_path)
        sent = asyncio.run(_sweep(sockets, folder, tally, Drawn(count, silences, seed), only))
    swept = {command for scenario in SCENARIOS for command in scenario.commands}
    faults = tally.faults + [
        f"the service sends {name}, which is never cut" for name in sent - swept
    ]
    return {
        "run": "sweep cuts",
        "seed": seed,
        "faults_injected": tally.modes,
        "cut_offsets": tally.offsets,
        "not_every_byte": sorted(tally.sampled),
        "faults": len(faults),
        "first_faults": faults[:FAULTS_SHOWN],
        "seconds": round(time.monotonic() - began, 1),
        "passed": not faults,
    }


async def _sweep(
    sockets: list[Path], folder: Path, tally: Tally, drawn: Drawn, only: Collection[str]
) -> set[str]:
    """All stages at once; the commands that the service sent."""

    async def one(share: int) -> set[str]:
        async with stage_on(sockets[share], folder / str(share), drawn.seed + share) as stage:
            await Sweep(stage, tally, drawn, share, len(sockets)).run(only)
            return set(stage.proxy.seen)

    return set().union(*await asyncio.gather(*(one(share) for share in range(len(sockets)))))
