"""The log of a model as a second reader kept it, and its fold by the reference.

`tap` is called before every trim, so nothing is missed; after a return to an older disk it forgets
what the log has lost. Entries are read and folded without a line of the service: fields by name,
payloads by tests/oracle. A restore entry continues the state at the snapshot's position.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.oracle.exact import ExactFold
from tests.oracle.payload import Control, Examples, read


class Tapped(NamedTuple):
    """An entry: its place, its nonce, the one before it, and the payload."""

    epoch: int
    seq: int
    nonce: str
    previous: str
    payload: bytes


@dataclass
class Folded:
    """What the reference says of one entry of examples."""

    seq: int
    epoch: int
    hash_seed: int  # in force
    content: Examples
    verdicts: list[int]
    predictions: list[float]


@dataclass
class Reading:
    """A whole history folded."""

    fold: ExactFold
    entries: list[Folded] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    copies: dict[int, ExactFold] = field(default_factory=dict)  # by seq, where asked for
    skipped: set[int] = field(default_factory=set)


class History:
    """The log of one model."""

    def __init__(self, redis: Any, model: str = "default") -> None:
        self._redis = redis
        self._tag = f"{{ctr:{model}}}"
        self.entries: list[Tapped] = []
        self.faults: list[str] = []
        self.checks_trim = True

    async def tap(self) -> None:
        """Take what the log holds now, and look whether it is trimmed rightly."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xrange(f"{self._tag}:log")
        pipeline.hgetall(f"{self._tag}:meta")
        raw, meta = await pipeline.execute()
        if not meta:
            return
        now = [_tapped(*item) for item in raw]
        first = now[0].seq if now else int(meta[b"seq"]) + 1
        self.entries = [e for e in self.entries if e.seq < first] + now
        self._check_trim(first, meta)

    def _check_trim(self, first: int, meta: dict[bytes, bytes]) -> None:
        newest, previous = int(meta[b"manifest_seq"]), int(meta[b"previous_seq"])
        if self.checks_trim and first > previous + 1:
            self.faults.append(f"the log begins at {first}, the older manifest is at {previous}")
        if newest < previous:
            self.faults.append(f"the newest manifest is at {newest}, before {previous}")

    def fold(
        self,
        snapshots: dict[int, ExactFold | int] | None = None,
        copies: Iterable[int] = (),
    ) -> Reading:
        """Fold everything; `snapshots` tells by seq of a restore entry what it restored: a fold,
        or the seq of this log at which the snapshot was taken."""
        reading = Reading(ExactFold(), faults=list(self.faults))
        restored, wanted = snapshots or {}, {*copies}
        wanted |= {seq for seq in restored.values() if isinstance(seq, int)}
        reading.skipped = self._skipped()
        nonce, seq = None, 0
        for entry in self.entries:
            if entry.seq != seq + 1 or (nonce is not None and entry.previous != nonce):
                reading.faults.append(f"the entry {entry.epoch}-{entry.seq} breaks the chain")
            nonce, seq = entry.nonce, entry.seq
            if seq not in reading.skipped:
                _apply(reading, entry, restored)
            if seq in wanted:
                reading.copies[seq] = copy.deepcopy(reading.fold)
        return reading

    def _skipped(self) -> set[int]:
        """Seqs that a skip entry names."""
        found = set()
        for entry in self.entries:
            try:
                content = read(entry.payload)
            except Exception:  # noqa: BLE001, S112  unreadable: that is what skips are for
                continue
            if isinstance(content, Control) and content.op == "skip":
                found.add(int(content.fields["seq"]))
        return found


def _apply(reading: Reading, entry: Tapped, restored: dict[int, Any]) -> None:
    try:
        content = read(entry.payload)
    except Exception as error:  # noqa: BLE001
        reading.faults.append(f"the entry {entry.seq} cannot be read: {error}")
        return
    if isinstance(content, Control) and content.op == "restore":
        source = restored.get(entry.seq)
        if source is None:
            reading.faults.append(f"nobody restored at {entry.seq}")
            return
        fold = reading.copies[source] if isinstance(source, int) else source
        reading.fold = copy.deepcopy(fold)
        return
    if isinstance(content, Control):
        if content.op != "skip":
            reading.fold.apply(entry.payload)
        return
    reading.fold.apply(entry.payload)
    verdicts, predictions = list(reading.fold.verdicts), list(reading.fold.predictions)
    seed = int(reading.fold.config["hash_seed"])
    folded = Folded(entry.seq, entry.epoch, seed, content, verdicts, predictions)
    reading.entries.append(folded)


def _tapped(name: bytes, fields: dict[bytes, bytes]) -> Tapped:
    epoch, _, seq = name.decode().partition("-")
    nonce, previous = fields.get(b"n", b"").decode(), fields.get(b"p", b"").decode()
    return Tapped(int(epoch), int(seq), nonce, previous, fields.get(b"b", b""))


def same(told: list[float | None], wanted: list[float]) -> bool:
    """Whether predictions are equal to the bit; null stands for NaN."""
    return len(told) == len(wanted) and all(
        math.isnan(w) if t is None else t == w for t, w in zip(told, wanted, strict=True)
    )
