"""The reference fold of a whole history: also configure, restore and skip entries.

`ExactHistory` goes through the log entries of one model in order and answers, for each position,
what a replica must hold there. Plain Python like exact.py, from the documented rules
(ftrl_core/reconfigure.py's docstring) and not from their code:

    configure   z is derived again so that no weight moves; a larger table copies each slot
    restore     the state kept at the snapshot's position, under the position of the entry
    skip        the entry it names, which cannot be read, is passed over
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.oracle.exact import F32, ZERO, ExactFold
from tests.oracle.payload import Control, read


@dataclass(frozen=True, slots=True)
class Answer:
    """What a replica at a position must hold."""

    position: str
    digest: str
    examples: int
    duplicates: int
    ids: tuple[int, ...]  # remembered, oldest first


@dataclass
class ExactHistory:
    """One model's entries folded; `answers` by seq.

    kept      seqs whose state a later restore may need
    restored  seq of a restore entry -> seq whose state it brings back
    """

    kept: Collection[int] = ()
    restored: Mapping[int, int] = field(default_factory=dict)
    answers: dict[int, Answer] = field(default_factory=dict)
    stuck: int | None = None  # seq of an unreadable entry that nobody has skipped yet
    deleted: bool = False

    def __post_init__(self) -> None:
        self._fold = ChangingFold()
        self._states: dict[int, ChangingFold] = {}
        self._waiting: list[tuple[str, bytes]] = []

    @property
    def seq(self) -> int:
        """Of the last position that can be reached."""
        return max(self.answers, default=0)

    @property
    def verdicts(self) -> list[int]:
        """Of the last entry folded."""
        return self._fold.verdicts

    def keep(self) -> None:
        """Keep the state as it is for a restore that comes later."""
        self._states[self.seq] = copy.deepcopy(self._fold)

    def add(self, position: str, payload: bytes) -> None:
        """Take the next entry of the log."""
        if self.stuck is None:
            self._add(position, payload)
            return
        self._waiting.append((position, payload))
        if _skipped(payload) == self.stuck:
            waiting, self._waiting, self.stuck = self._waiting, [], None
            first, *rest = waiting
            self._answer(first[0])
            for later in rest:
                self._add(*later)

    def _add(self, position: str, payload: bytes) -> None:
        seq = int(position.split("-")[1])
        if seq in self.restored:
            self._fold = copy.deepcopy(self._states[self.restored[seq]])
        else:
            try:
                entry = read(payload)
            except ValueError:
                self.stuck = seq
                self._waiting.append((position, payload))
                return
            self.deleted = isinstance(entry, Control) and entry.op == "delete"
            if self.deleted:
                return
            self._fold.apply(payload)
        self._answer(position)

    def _answer(self, position: str) -> None:
        seq, fold = int(position.split("-")[1]), self._fold
        ids = tuple(fold.window._order)
        self.answers[seq] = Answer(position, fold.digest(), fold.examples, fold.duplicates, ids)
        if seq in self.kept:
            self._states[seq] = copy.deepcopy(fold)


class ChangingFold(ExactFold):
    """ExactFold that folds `configure` too: rate, beta, l1, l2 and a larger table."""

    def apply(self, payload: bytes) -> None:
        """Fold the next entry."""
        entry = read(payload)
        if isinstance(entry, Control) and entry.op == "configure":
            self._configure(entry.fields["config"])
        else:
            super().apply(payload)

    def _configure(self, changes: Mapping[str, Any]) -> None:
        old, examples, duplicates = self.config, self.examples, self.duplicates
        lanes, window, posterior = self.lanes, self.window, self.posterior
        optimizer = {**old["optimizer"], **changes.get("optimizer", {})}
        self._begin({**old, **changes, "optimizer": optimizer})
        self.window, self.posterior = window, posterior
        self.examples, self.duplicates = examples, duplicates
        slots = 1 << old["table_bits"]
        copies = (self._mask + 1) // slots
        was, now = _steps(old, len(lanes)), _steps(self.config, len(lanes))
        for i, lane in enumerate(self.lanes):
            lane.cells, lane.bias = dict(lanes[i].cells), lanes[i].bias
            if was != now:
                _keep_weights(lane, old, was[i], now[i])
            once = list(lane.cells.items())
            lane.cells |= {s + slots * k: cell for k in range(1, copies) for s, cell in once}


def _steps(config: Mapping[str, Any], lanes: int) -> list[tuple[float, float]]:
    """(rate, beta) of every lane."""
    rate, beta = config["optimizer"]["learning_rate"], config["optimizer"]["beta"]
    rates = rate if isinstance(rate, list) else [rate] * lanes
    return [(one, beta) for one in rates]


def _keep_weights(
    lane: Any, old: Mapping[str, Any], was: tuple[float, float], now: tuple[float, float]
) -> None:
    """z of every slot and of the bias (which is not regularised) that leaves its weight."""
    o = old["optimizer"]
    n0: float = o["initial_accumulator_value"]
    l1, l2 = o["l1_regularization_strength"], 2.0 * o["l2_regularization_strength"]
    for slot, (z, n) in lane.cells.items():
        if z != ZERO:
            wide = _derived(float(z), math.sqrt(n0 + float(n)), was, now, l1, l2)
            lane.cells[slot] = F32(wide), n
    z, n = lane.bias
    lane.bias = _derived(z, math.sqrt(n0 + n), was, now, 0.0, 0.0), n


def _derived(
    z: float,
    root: float,
    was: tuple[float, float],
    now: tuple[float, float],
    l1: float,
    l2: float,
) -> float:
    """z under (rate, beta) `now` with the weight that it has under `was`."""
    threshold = was[0] * l1
    shrunk = z - min(max(z, -threshold), threshold)
    divisor = was[1] + root + was[0] * l2
    if shrunk == 0.0 or divisor <= 0.0:
        return min(max(z / was[0] * now[0], -1e19), 1e19) + 0.0
    size = abs(shrunk) / divisor * (now[1] + root + now[0] * l2)
    return math.copysign(min(size + now[0] * l1, 1e19), shrunk)


def _skipped(payload: bytes) -> int | None:
    try:
        entry = read(payload)
    except ValueError:
        return None
    return int(entry.fields["seq"]) if isinstance(entry, Control) and entry.op == "skip" else None
