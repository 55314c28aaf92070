"""Random single bits, changed wherever a bit may rot: nothing wrong may be served from it.

    redis       pages, state segments, manifests, log entries, meta and the other hashes of three
                models; a service comes up on it
    snapshots   snapshot files, read as a restore reads them
    files       the append-only file, which has no checksum; a new server starts on it, and a
                service on that

Whatever the service serves at any moment must be the reference fold at the position that it names.
Where it serves everything, the bit did not matter or the service went round it (an older
checkpoint, a longer replay); otherwise it is stuck, not ready or refuses, and says why. In `redis`
and `snapshots` nothing less than everything may be served as live; a flipped length in the
append-only file can end the file for the server, which nobody can tell from a shorter history:
then the fold of the shorter one is served, and counted as `shorter`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.embedded_server import EmbeddedServer, EmbeddedServerError
from app.errors import AppError
from app.hub import Hub
from app.problems import Problem
from app.redis_connections import RedisConnections
from app.replica import ModelReplica
from app.settings import load_settings
from ftrl_core.errors import BadSnapshot
from ftrl_core.snapshot_file import read_snapshot
from ftrl_core.warmup import warm_up
from scripts.sweep_run.aof_file import place_file
from scripts.sweep_run.expected import Expected
from scripts.sweep_run.folder import say, scratch
from scripts.sweep_run.lived import File, lived
from scripts.sweep_run.recovery import abandon, answer_of, hurried
from scripts.sweep_run.redis_flips import KINDS, Flipper, any_flipped, flipped
from scripts.sweep_run.server import BareServer
from tests.oracle.history import Answer
from tests.recovery.harness import NEVER_SECONDS

OPERATIONS = 400
LANES = 4
CHECK_EVERY = 500
SNAPSHOT_SHARE = 0.1
GIVE_UP_REGRESSIONS = 3
AWAY_SECONDS = 0.1
SETTLE_SECONDS = 60.0
FAULTS_SHOWN = 20


class Wrong(Exception):
    """Something was served that is not the reference fold."""


class Judge:
    """Brings a service up and says what became of its models."""

    def __init__(self, file: File, folder: Path) -> None:
        self._answers = {
            inc: {a.position: a for a in history.answers.values()}
            for inc, history in file.histories.items()
        }
        self.heads = file.before(len(file.units))
        self._folder = folder
        folder.mkdir()
        known = {name: e.incarnation for name, e in self.heads.items() if e.answer is not None}
        (folder / "models.json").write_text(json.dumps({"ctr": known}))
        self._known = (folder / "models.json").read_bytes()

    async def outcomes(self, url: str, names: set[str] | None) -> Counter[str]:
        """How each model ended; Wrong as soon as something wrong is served."""
        (self._folder / "models.json").write_bytes(self._known)
        connections = RedisConnections.from_url(url)
        settings = load_settings(
            redis_url=url, data_dir=self._folder, checkpoint_idle_seconds=NEVER_SECONDS
        )
        hub = Hub(settings, connections)
        found: Counter[str] = Counter()
        try:
            await hub.start()
            for name, expected in self.heads.items():
                if expected.answer is not None and (names is None or name in names):
                    found[await self._outcome(hub, expected)] += 1
        finally:
            for replica in hub.loaded():
                await abandon(replica)
            await hub._watch.stop()
            await connections.aclose()
        return found

    async def _outcome(self, hub: Hub, expected: Expected) -> str:
        if hub.emptied is not None:
            return "refused: Redis has lost its models"
        getting = asyncio.create_task(hub.get(expected.name))
        try:
            while not getting.done():
                for replica in hub.loaded():
                    self._look(replica)
                    if _given_up(replica) and replica.name == expected.name:
                        return f"refused: {_reason(replica)}"
                await asyncio.sleep(0.0005)
            return await self._settled(await getting, expected)
        except (AppError, Problem) as error:
            return f"refused: {_words(str(error))}"
        except (ValueError, LookupError, TypeError) as error:
            raise Wrong(f"not foreseen: {error!r}") from error
        finally:
            getting.cancel()
            with contextlib.suppress(asyncio.CancelledError, AppError, Problem):
                await getting

    async def _settled(self, replica: ModelReplica, expected: Expected) -> str:
        """Watch until it has compared itself with meta, or says why it cannot."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            served = self._look(replica)
            if _given_up(replica):
                return f"refused: {_reason(replica)}"
            at_ease = not replica._owner._behind and replica._owner.redis.away is None
            if served is not None and at_ease and replica.state == "live":
                return "right" if served == expected.answer else "shorter"
            if time.monotonic() > deadline:
                raise Wrong(f"neither serves nor says why: {replica.state} {replica.detail}")
            await asyncio.sleep(0.0005)

    def _look(self, replica: ModelReplica) -> Answer | None:
        """What is served, which must be right for its position."""
        served = answer_of(replica)
        if served is not None:
            right = self._answers.get(replica.incarnation, {}).get(served.position)
            if served != right:
                raise Wrong(f"{replica.name} serves {served} and not {right}")
        return served


def _given_up(replica: ModelReplica) -> bool:
    owner = replica._owner
    if owner.stuck is not None and not owner._behind:
        return True  # it has looked for a skip of the entry
    waited = time.monotonic() - owner.redis.contact > AWAY_SECONDS
    return (
        replica.state == "deleted"
        or owner.log_regressions + owner.agreement.differences >= GIVE_UP_REGRESSIONS
        or (owner.redis.away is not None and waited)
    )


def _reason(replica: ModelReplica) -> str:
    return _words(f"{replica.state}: {replica.detail}")


def _words(text: str) -> str:
    """A reason without what differs from flip to flip."""
    words = [word for word in text.split() if not any(letter.isdigit() for letter in word)]
    return " ".join(words)[:70]


class Tally:
    """Outcomes by kind of flip, and faults."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()
        self.faults: list[str] = []

    def fault(self, text: str) -> None:
        """Note one, and tell whoever watches."""
        self.faults.append(text)
        say(text)

    def add(self, kind: str, outcomes: Mapping[str, int]) -> None:
        """Count how the models ended after a flip."""
        counts = self.outcomes.setdefault(kind, Counter())
        for outcome, times in outcomes.items():
            short = outcome.partition(":")[0]
            counts[short] += times
            if short != outcome:
                self.reasons[outcome.partition(": ")[2]] += times


class Lane:
    """A server of its own, on which every `of`-th flip is made."""

    def __init__(self, server: BareServer, judge: Judge, tally: Tally, share: int, of: int) -> None:
        self._server, self._judge, self._tally = server, judge, tally
        self._share, self._of = share, of

    async def run(self, count: int, seed: int) -> None:
        """This lane's share of `count` flips."""
        connections = RedisConnections.from_url(self._server.url)
        draw = random.Random(f"{seed} {self._share}")
        try:
            flipper = await Flipper.begin(connections, draw)
            for number in range(self._share, count, self._of):
                await self._one(flipper, KINDS[number % len(KINDS)])
                if number % CHECK_EVERY < self._of:
                    await flipper.check_put_back()
                    say(f"{number} flips in Redis, {len(self._tally.faults)} faults")
        finally:
            await connections.aclose()

    async def _one(self, flipper: Flipper, kind: str) -> None:
        flip = await flipper.flip(kind)
        names = None if flip.model is None else {flip.model}
        try:
            found = await self._judge.outcomes(self._server.url, names)
        except Wrong as wrong:
            found = Counter({"wrong": 1})
            self._tally.fault(f"{flip}: {wrong}")
        if found["shorter"]:
            self._tally.fault(f"{flip}: something is lost in silence")
        if flip.recoverable and found["right"] != found.total():
            self._tally.fault(f"{flip}: the older checkpoint and the log were whole: {found}")
        self._tally.add(kind, found)
        await flipper.put_back(flip)


def flip_redis(file: File, folder: Path, count: int, seed: int, tally: Tally) -> None:
    """Flips in what lies in Redis, on several servers at once."""
    with contextlib.ExitStack() as servers:
        lanes = []
        for share in range(LANES):
            place = folder / f"lane{share}"
            place_file(place, file.content)
            bare = BareServer(place, appendonly="yes", appendfsync="always")
            server = servers.enter_context(bare)
            judge = Judge(file, folder / f"service{share}")
            lanes.append(Lane(server, judge, tally, share, LANES))
        asyncio.run(_all(lanes, count, seed))


async def _all(lanes: Sequence[Lane], count: int, seed: int) -> None:
    await asyncio.gather(*(lane.run(count, seed) for lane in lanes))


def flip_snapshots(file: File, count: int, draw: random.Random, tally: Tally) -> None:
    """Flips in snapshot files: refused, whatever bit it was."""
    found: Counter[str] = Counter()
    for _ in range(count):
        content = draw.choice(file.snapshots)
        try:
            read_snapshot(io.BytesIO(any_flipped(draw, content)))
            tally.fault("a snapshot with a flipped bit is read")
            found["wrong"] += 1
        except BadSnapshot as error:
            found[f"refused: {_words(str(error))}"] += 1
    tally.add("snapshot file", found)


def flip_files(file: File, folder: Path, count: int, draw: random.Random, tally: Tally) -> None:
    """Flips in the append-only file: any operation with equal probability, then any bit of it."""
    judge = Judge(file, folder / "after")
    for number in range(count):
        unit = draw.choice(file.units)
        bit = draw.randrange(8 * unit.start, 8 * unit.end)
        content = flipped(file.content, bit)
        data = folder / "flipped"
        shutil.rmtree(data, ignore_errors=True)
        place_file(data, content)
        try:
            with EmbeddedServer.start(data, "bundled", "fsync") as server:
                found = asyncio.run(judge.outcomes(server.url, None))
                server.kill()
        except EmbeddedServerError:
            found = Counter({"refused: the server does not start": 1})
        except Wrong as wrong:
            found = Counter({"wrong": 1})
            tally.fault(f"bit {bit} of the append-only file: {wrong}")
        tally.add("append-only file", found)
        if number % 100 == 99:
            say(f"{number + 1} flips in the file, {len(tally.faults)} faults")


def sweep(count: int, starts: int, seed: int) -> dict[str, Any]:
    """The whole sweep; its report."""
    began, draw, tally = time.monotonic(), random.Random(seed), Tally()
    warm_up()
    in_snapshots = int(count * SNAPSHOT_SHARE)
    with scratch() as folder, hurried():
        file = lived(folder, seed, OPERATIONS)
        flip_redis(file, folder, count - in_snapshots, seed, tally)
        flip_snapshots(file, in_snapshots, draw, tally)
        flip_files(file, folder, starts, draw, tally)
    return {
        "run": "sweep flips",
        "seed": seed,
        "flips": count,
        "flips_of_the_file_with_a_server_start": starts,
        "outcomes": {kind: dict(found) for kind, found in tally.outcomes.items()},
        "reasons": dict(tally.reasons.most_common(40)),
        "faults": len(tally.faults),
        "first_faults": tally.faults[:FAULTS_SHOWN],
        "seconds": round(time.monotonic() - began, 1),
        "passed": not tally.faults,
    }
