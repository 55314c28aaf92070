"""The connection fails at every byte of every command that the service sends, and of its reply.

A scenario (scenarios.py) is what makes the service send a command. For each of its commands the
connection is cut after 0, 1, 2 ... bytes of the request, and of the reply; at a sample of offsets
it goes silent instead (hold), or what was held arrives after the service has given up (late). What
is longer than WHOLE_MAX bytes is cut at every offset of its first and last EDGE bytes, and at
`count` others: between them lies the inside of one value.

Several stages, each with a server of its own, share the offsets of every command: a sweep waits
for sockets most of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.embedded_server import EmbeddedServer
from app.errors import AppError
from ftrl_core.warmup import warm_up
from scripts.sweep_run.folder import say, scratch
from scripts.sweep_run.proxy import Fault, Mode, Seen, Side
from scripts.sweep_run.recovery import hurried
from scripts.sweep_run.scenarios import SCENARIOS, Scenario, two_checkpoints
from scripts.sweep_run.stage import Stage, stage_on

WHOLE_MAX, EDGE = 8192, 1024  # bytes
TRIES = 5  # until what is struck is long enough for the offset
FAULTS_SHOWN = 10
SIDES: tuple[Side, ...] = ("request", "reply")


@dataclass
class Tally:
    """What was done, and what was found."""

    offsets: dict[str, dict[str, int]] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # the largest that any stage has seen
    past_the_end: dict[str, int] = field(default_factory=dict)  # offsets never reached
    sampled: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Note one, and tell whoever watches."""
        self.faults.append(text)
        say(text)

    def add(self, fault: Fault) -> None:
        """One more."""
        self.modes[fault.mode] = self.modes.get(fault.mode, 0) + 1

    def reach(self, fault: Fault) -> None:
        """It struck at its offset."""
        if fault.mode == "cut":
            sides = self.offsets.setdefault(fault.command, {})
            sides[fault.side] = sides.get(fault.side, 0) + 1

    def miss(self, fault: Fault) -> None:
        """What was struck was always shorter than the offset."""
        what = f"{fault.command} {fault.side}"
        self.past_the_end[what] = self.past_the_end.get(what, 0) + 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is drawn: offsets inside a long value, silences of each kind; from which seed."""

    count: int
    silences: int
    seed: int


class Sweep:
    """One stage's share of all faults: every offset that leaves `share` when divided by `of`."""

    def __init__(
        self, stage: Stage, tally: Tally, drawn: Drawn, share: int, together: asyncio.Barrier
    ) -> None:
        self._stage, self._tally, self._drawn = stage, tally, drawn
        self._share, self._together, self._of = share, together, together.parties

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
        seen = self._stage.proxy.seen.get(command, Seen())
        if seen == Seen():
            self._tally.fault(f"{command}: the service never sends it")
        for side in SIDES:
            what, size = f"{command} {side}", getattr(seen, side)
            self._tally.sizes[what] = max(self._tally.sizes.get(what, 0), size)
        await self._together.wait()  # one stage may see a longer one than another
        for side in SIDES:
            if not self._tally.sizes[f"{command} {side}"]:  # a message has no request
                continue
            for mode, offsets in self._plan(f"{command} {side}"):
                for after in offsets:
                    await self._strike(scenario, Fault(command, side, after, mode))

    async def _strike(self, scenario: Scenario, fault: Fault) -> None:
        """Until the fault has struck at its offset."""
        for _ in range(TRIES):
            one = replace(fault, struck=asyncio.Event())
            await self._one(scenario, one)
            if one.after <= one.size:
                self._tally.reach(one)
                return
        self._tally.miss(fault)

    async def _size(self, scenario: Scenario, command: str) -> None:
        """Go through the scenario without a fault, to see the command's size."""
        if scenario.checkpointed:
            await two_checkpoints(self._stage)
            await self._stage.judge(reload=True)
        self._stage.proxy.seen.pop(command, None)
        never = Fault("none", "request", 0)
        never.struck.set()
        await scenario.act(self._stage, never)
        await self._stage.judge(reload=True)

    def _plan(self, what: str) -> Iterable[tuple[Mode, list[int]]]:
        draw, size = random.Random(f"{self._drawn.seed} {what}"), self._tally.sizes[what]
        offsets = list(range(size + 1))
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
        "bytes": tally.sizes,
        "offsets_never_reached": tally.past_the_end,
        "faults": len(faults),
        "first_faults": faults[:FAULTS_SHOWN],
        "seconds": round(time.monotonic() - began, 1),
        "passed": not faults,
    }


async def _sweep(
    sockets: list[Path], folder: Path, tally: Tally, drawn: Drawn, only: Collection[str]
) -> set[str]:
    """All stages at once; the commands that the service sent."""

    together = asyncio.Barrier(len(sockets))

    async def one(share: int) -> set[str]:
        async with stage_on(sockets[share], folder / str(share), drawn.seed + share) as stage:
            await Sweep(stage, tally, drawn, share, together).run(only)
            return set(stage.proxy.seen)

    return set().union(*await asyncio.gather(*(one(share) for share in range(len(sockets)))))
