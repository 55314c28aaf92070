"""Looks at whole tables, for /stats/table and /stats/features: in a thread, and not too often.

A look reads every record, so it is kept for KEPT_SECONDS, and one model is looked at once at a
time, however many ask. A look a minute of the last ten is remembered, with its largest weights, and
changes are told against the oldest of these: nothing is remembered while nobody asks.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.replica import ModelReplica
from ftrl_core.survey import Survey, survey

KEPT_SECONDS = 5.0
REMEMBERED_EVERY_SECONDS = 60.0
REMEMBERED = 10
COLLISIONS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Look:
    """A survey, and of when."""

    survey: Survey
    at: float  # Unix seconds
    position: str
    examples: int
    seconds: float  # that it took

    def when(self) -> dict[str, Any]:
        """As told in replies."""
        return {"at": self.at, "position": self.position, "examples": self.examples}


@dataclass(slots=True)
class _Looked:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    newest: Look | None = None
    remembered: deque[Look] = field(default_factory=lambda: deque(maxlen=REMEMBERED))


class TableLooks:
    """The looks of a process, by model."""

    def __init__(self) -> None:
        self._models: dict[str, tuple[str, _Looked]] = {}

    async def table(self, replica: ModelReplica) -> dict[str, Any]:
        """The document of /stats/table."""
        look, _ = await self._look(replica)
        names = await asyncio.to_thread(replica.dictionary.by_slot, look.survey.slots)
        shared = [(slot, known) for slot, known in names.items() if len(known) > 1]
        told = {
            "known": sum(map(len, names.values())),
            "slots": len(names),
            "sharing": sum(len(known) for _, known in shared),
            "collisions": [
                {"slot": slot, "names": known} for slot, known in shared[:COLLISIONS_SHOWN]
            ],
        }
        return {**look.when(), "seconds": look.seconds, **look.survey.document(), "names": told}

    async def features(self, replica: ModelReplica, top: int) -> dict[str, Any]:
        """The document of /stats/features."""
        look, before = await self._look(replica)
        names = await asyncio.to_thread(replica.dictionary.by_slot, look.survey.slots)
        rows = await asyncio.to_thread(_rows, look.survey, before, names)
        by_change = [row for row in rows if row["change"] is not None]
        by_change.sort(key=lambda row: -abs(row["change"]))
        return {
            **look.when(),
            "since": None if before is None else before.when(),
            "by_weight": [row for row in rows if row["listed"]][:top],
            "by_change": by_change[:top],
        }

    async def _look(self, replica: ModelReplica) -> tuple[Look, Look | None]:
        """A look that is not too old, and the oldest remembered one before it."""
        looked = self._of(replica)
        async with looked.lock:
            newest = looked.newest
            if newest is None or time.time() - newest.at > KEPT_SECONDS:
                newest = looked.newest = await _taken(replica)
                last = looked.remembered[-1] if looked.remembered else None
                if last is None or newest.at - last.at >= REMEMBERED_EVERY_SECONDS:
                    looked.remembered.append(newest)
        oldest = looked.remembered[0]
        comparable = oldest is not newest and oldest.survey.slots == newest.survey.slots
        return newest, oldest if comparable else None

    def _of(self, replica: ModelReplica) -> _Looked:
        """Of this incarnation and epoch of the model: another's weights are not compared."""
        epoch = replica.require_model().position.epoch
        which = f"{replica.incarnation}-{epoch}"
        known = self._models.get(replica.name)
        if known is None or known[0] != which:
            known = self._models[replica.name] = which, _Looked()
        return known[1]


async def _taken(replica: ModelReplica) -> Look:
    model = replica.require_model()
    at, position, examples = time.time(), str(model.position), model.examples
    found = await asyncio.to_thread(survey, model.coefficients, examples)
    return Look(found, at, position, examples, round(time.time() - at, 4))


def _rows(now: Survey, before: Look | None, names: dict[int, list[str]]) -> list[dict[str, Any]]:
    """A row for each slot that is, or was, among the largest; change is None where nothing is known
    of before, and at least what is told for a slot that is on one side only."""
    then = before.survey if before is not None else None
    was: dict[int, float] = {}
    if then is not None:
        was = dict(zip(then.largest.tolist(), then.weights.tolist(), strict=True))
    bound_then = _bound(then) if then is not None else 0.0
    rows = []
    columns = (column.tolist() for column in (now.largest, now.weights, now.ns))
    for slot, weight, n in zip(*columns, strict=True):
        old = was.pop(slot, None)
        change = None if then is None else weight - _nearest(weight, old, bound_then)
        rows.append(_row(slot, weight, n, old, change, names, is_now=True))
    for slot, old in was.items():  # smaller by now than all that are listed
        change = _nearest(old, None, _bound(now)) - old
        rows.append(_row(slot, None, None, old, change, names, is_now=False))
    return rows


def _row(
    slot: int, weight: float | None, n: float | None, old: float | None, change: float | None,
    names: dict[int, list[str]], *, is_now: bool,
) -> dict[str, Any]:  # fmt: skip
    return {
        "slot": slot, "names": names.get(slot, []), "weight": weight, "n": n, "before": old,
        "change": change, "listed": is_now,
    }  # fmt: skip


def _bound(one: Survey) -> float:
    """No slot that is not listed has a larger weight."""
    return float(np.abs(one.weights[-1])) if one.weights.size and one.is_cut else 0.0


def _nearest(weight: float, known: float | None, bound: float) -> float:
    """The other weight; where it is not known, the one inside the bound that is nearest."""
    return known if known is not None else min(max(weight, -bound), bound)
