"""The exact fold with what changes a live model: configure, and the way back to a snapshot.

A new rate or beta derives z again such that no weight moves, in float64 from the table's float32
(the docstring of ftrl_core/reconfigure.py has the rule). A restore is a copy of the fold taken when
the snapshot was; whoever drives this knows which one a restore entry meant.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from tests.oracle.exact import F32, ExactFold
from tests.oracle.payload import Control, read


class Lineage(ExactFold):
    """A fold that can be configured, and copied."""

    def apply(self, payload: bytes) -> None:
        """Fold the next entry; not a restore or a delete."""
        entry = read(payload)
        if isinstance(entry, Control) and entry.op == "configure":
            self.predictions, self.verdicts = [], []
            self._configure(entry.fields["config"])
        else:
            super().apply(payload)

    def copy(self) -> Self:
        """The state as it is now, for a restore to come back to."""
        other = copy.copy(self)
        other.lanes = [copy.copy(lane) for lane in self.lanes]
        for lane in other.lanes:
            lane.cells = dict(lane.cells)
        other.posterior, other.window = list(self.posterior), copy.deepcopy(self.window)
        return other

    def _configure(self, changes: Mapping[str, Any]) -> None:
        before, old, posterior, window = self.config, self.lanes, self.posterior, self.window
        optimizer = dict(changes.get("optimizer", {}))
        rate = optimizer.get("learning_rate")
        if rate is not None and len(old) > 1 and not isinstance(rate, list):
            optimizer["learning_rate"] = [rate] * len(old)
        after = {**before, **changes, "optimizer": {**before["optimizer"], **optimizer}}
        self._begin(after)
        self.posterior, self.window = posterior, window
        sizes = ("learning_rate", "learning_rate_power", "beta")
        moved = any(before["optimizer"][s] != after["optimizer"][s] for s in sizes)
        copies = 1 << (after["table_bits"] - before["table_bits"])
        for place, (was, now) in enumerate(zip(old, self.lanes, strict=True)):
            cells, now.bias = was.cells, was.bias
            if moved:
                derive = Derivation(before, after, place)
                cells = {slot: derive.cell(z, n) for slot, (z, n) in cells.items()}
                now.bias = derive.bias(*was.bias)
            now.cells = _grown(cells, before["table_bits"], copies)


def _grown(cells: dict[int, Any], table_bits: int, copies: int) -> dict[int, Any]:
    size = 1 << table_bits
    return {slot + size * i: cell for i in range(copies) for slot, cell in cells.items()}


class Derivation:
    """z under a new rate and beta that gives the weight which it gave under the old ones."""

    def __init__(self, before: Mapping[str, Any], after: Mapping[str, Any], lane: int) -> None:
        self._was, self._now = before["optimizer"], after["optimizer"]
        self._rates = [_rate(before, lane), _rate(after, lane)]
        self._own: float | None = after["bias_learning_rate"]
        self._regularised = bool(after["bias_regularized"])

    def cell(self, z: np.float32, n: np.float32) -> tuple[np.float32, np.float32]:
        """A slot's record."""
        if z == F32(0.0):
            return z, n
        return F32(self._derived(float(z), float(n), self._rates, True)), n

    def bias(self, z: float, n: float) -> tuple[float, float]:
        """A lane's bias."""
        rates = self._rates if self._own is None else [self._own, self._own]
        return self._derived(z, n, rates, self._regularised), n

    def _derived(self, z: float, n: float, rates: list[float], regularised: bool) -> float:
        """Under the old l1 and l2; those of the change act afterwards, by themselves."""
        l1: float = self._was["l1_regularization_strength"] if regularised else 0.0
        l2: float = 2.0 * self._was["l2_regularization_strength"] if regularised else 0.0
        n0: float = self._was["initial_accumulator_value"]
        root, (rate, new_rate) = math.sqrt(n0 + n), rates
        divisor = self._was["beta"] + root + rate * l2
        shrunk = z - min(max(z, -rate * l1), rate * l1)
        if shrunk == 0.0 or divisor <= 0.0:
            return float(min(max(z / rate * new_rate, -1e19), 1e19) + 0.0)
        size: float = abs(shrunk) / divisor * (self._now["beta"] + root + new_rate * l2)
        size = min(size + new_rate * l1, 1e19)
        return size if shrunk > 0.0 else -size


def _rate(config: Mapping[str, Any], lane: int) -> float:
    given = config["optimizer"]["learning_rate"]
    return float(given[lane] if isinstance(given, list) else given)
