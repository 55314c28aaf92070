"""Named places where a crash test may end this process, its Redis, or both.

`failpoint("append.after")` stands where dying would hurt: before and after each call that leaves
the process, and between the steps of whatever has several. In production it is bound at import to
a function that does nothing (30 ns a call, some ten calls an append; there is none an example).

    CLICKFOLD_TEST_CRASHES=allowed        binds the real one; without it nothing can be armed
    CLICKFOLD_TEST_FAILPOINTS="append.after 3 exit; fold.read 1 kill-redis PIDFILE"

A plan is steps, taken one after the other: point, hit, action. Hits are counted from when the step
before was taken, so a plan is a story: Redis dies at the third append, the service in recovery.

    exit             SIGKILL to this process
    kill-redis       SIGKILL to Redis: of the pid in the file named, else the embedded server
    kill-both        Redis and then this process
    raise            a lost connection, at points where one is possible
    sleep SECONDS    the whole process stands still

Every step taken is told on standard error. `POINTS` has every name in the order of an event's life;
a test keeps it equal to what the code calls. Points of a Lua script are called by app.lua_scripts.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

ALLOW, PLAN = "CLICKFOLD_TEST_CRASHES", "CLICKFOLD_TEST_FAILPOINTS"
SCRIPTS = (
    "append", "begin", "put", "commit", "drop", "damage", "create", "models_row", "delete_finish",
    "digest", "probe",
)  # fmt: skip
POINTS = (
    # the life of an event
    "learn.decoded", "group.planned", "append.before", "redis.sent", "redis.answered",
    "append.after", "append.repeated", "fold.begun", "fold.between", "fold.own", "fold.others",
    "fold.read", "fold.control", "group.resolved", "learn.learned", "learn.replied",
    "fold.caught_up", "names.folded",
    # a checkpoint
    "checkpoint.due", "checkpoint.cut", "begin.before", "begin.after", "put.before", "put.after",
    "commit.before", "commit.after", "drop.pages", "drop.retire", "drop.bury", "drop.before",
    "drop.after", "checkpoint.done", "damage.before", "damage.after",
    # a snapshot
    "snapshot.begun", "snapshot.written", "snapshot.synced", "snapshot.linked",
    "snapshot.published", "snapshot.closed",
    # a restore
    "restore.registered", "restore.pages", "restore.manifest", "restore.before",
    "restore.appended", "restore.loading", "restore.loaded", "restore.switched",
    # models
    "configure.before", "configure.appended", "configure.prepared", "create.before",
    "create.after", "model.made", "models_row.before", "models_row.after", "known.written",
    "known.synced", "known.replaced", "delete.before", "delete.appended", "delete.closed",
    "delete.forgotten", "delete.buried", "delete.dropped", "delete_finish.before",
    "delete_finish.after",
    # start, recovery, end
    "embedded.locked", "embedded.spawned", "embedded.ready", "embedded.revived",
    "start.connected", "start.opened", "recovery.begun", "recovery.manifest", "recovery.segments",
    "recovery.pages", "recovery.tail", "recovery.loaded", "recovery.doubt",
    "stop.begun", "stop.finished", "stop.closed",
    # replicas compare digests; Redis refused writes
    "digest.before", "digest.after", "probe.before", "probe.after",
)  # fmt: skip
CONNECTION_POINTS = frozenset({"redis.sent", "redis.answered"})  # where `raise` is possible
STANDARD_ERROR = 2
ACTIONS = frozenset({"exit", "kill-redis", "kill-both", "raise", "sleep"})


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at which hit of which point."""

    point: str
    hit: int  # from 1
    action: str
    argument: str = ""

    def __post_init__(self) -> None:
        if self.point not in POINTS or self.action not in ACTIONS or self.hit < 1:
            raise ValueError(f"no such step of a failpoint plan: {self}")
        if self.action == "raise" and self.point not in CONNECTION_POINTS:
            raise ValueError(f"a connection cannot be lost at {self.point}")

    def __str__(self) -> str:
        return f"{self.point} {self.hit} {self.action} {self.argument}".rstrip()


def parse(plan: str) -> list[Step]:
    """The steps of a plan as text. ValueError when it is none."""
    steps = []
    for text in filter(None, (part.strip() for part in plan.split(";"))):
        point, hit, action, *argument = text.split()
        steps.append(Step(point, int(hit), action, " ".join(argument)))
    return steps


class Armed:
    """A plan being followed."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._hits = 0

    def follow(self, plan: str) -> None:
        """Take the steps of this plan from now on. ValueError when it is none."""
        self._steps, self._hits = parse(plan), 0

    def reached(self, name: str) -> None:
        """Count, and do what the next step says when it is time."""
        if name not in POINTS:
            raise ValueError(f"an unlisted failpoint: {name}")
        step = self._steps[0] if self._steps else None
        if step is None or name != step.point:
            return
        self._hits += 1
        if self._hits == step.hit:
            self._steps.pop(0)
            self._hits = 0
            _take(step)


def _take(step: Step) -> None:
    os.write(STANDARD_ERROR, f"failpoint reached: {step}\n".encode())
    if step.action in ("kill-redis", "kill-both"):
        for pid in _redis_pids(step.argument):
            with suppress(ProcessLookupError):  # dead already
                os.kill(pid, signal.SIGKILL)
    if step.action in ("exit", "kill-both"):
        os.kill(os.getpid(), signal.SIGKILL)
    if step.action == "sleep":
        time.sleep(float(step.argument))
    if step.action == "raise":
        raise ConnectionResetError(f"failpoint {step.point}")


def _redis_pids(pid_file: str) -> list[int]:
    if pid_file:
        return [int(Path(pid_file).read_text())]
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(word) for path in children for word in path.read_text().split()]


def _off(_name: str) -> None:
    """Nothing."""


armed = Armed()


def bound(environment: Mapping[str, str]) -> Callable[[str], None]:
    """What `failpoint` is under this environment. ValueError for a plan that is none."""
    if environment.get(ALLOW) != "allowed":
        if PLAN in environment:
            log.error("%s is ignored: %s=allowed is not set", PLAN, ALLOW)
        return _off
    log.critical("crash tests are allowed in this process: it may end itself and its Redis")
    armed.follow(environment.get(PLAN, ""))
    return armed.reached


failpoint = bound(os.environ)
