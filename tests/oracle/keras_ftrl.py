"""Keras' Ftrl in plain Python floats, one coordinate at a time, written from its formulas alone.

Nothing of ftrl_core is imported. The formulas are those of TensorFlow's ApplyFtrlV2 kernel and of
Keras' folding of beta into l2, for one coordinate with the state w, z, n and p <= 0 the power:

    l2a = l2 + beta / (2 lr)
    gs  = g + 2 shrinkage w                          old w
    n'  = n + g^2                                    g, not gs
    z'  = z + gs - (n'^-p - n^-p) / lr * w
    q   = n'^-p / lr + 2 l2a
    w'  = 0 if |z'| <= l1 else (sign(z') l1 - z') / q

Here with math.pow for every power, the plain difference of powers, and no bounds. A variable is a
list of rows, a row a list of floats. A sparse gradient is a list of (row, values). Schedules are
functions of the iteration. docs/optimizer.md has the batch modes and the order of clipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

Row = list[float]
Slices = list[tuple[int, Row]]


@dataclass
class Variable:
    """Rows of weights with their state; `dense` gradients step every coordinate."""

    w: list[Row]
    z: list[Row] = field(default_factory=list)
    n: list[Row] = field(default_factory=list)


@dataclass
class KerasFtrl:
    """The arguments of Keras, a learning rate as a function of the iteration, a batch mode."""

    learning_rate: Callable[[int], float]
    power: float = -0.5
    n0: float = 0.1
    l1: float = 0.0
    l2: float = 0.0
    shrinkage: float = 0.0
    beta: float = 0.0
    clipvalue: float | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = None
    batch_mode: str = "sequential"
    iterations: int = 0

    def variable(self, rows: list[Row]) -> Variable:
        """A variable with its first state: z is 0 and n is n0."""
        zeros = [[0.0] * len(row) for row in rows]
        return Variable([row[:] for row in rows], zeros, [[self.n0] * len(row) for row in rows])

    def apply(
        self, pairs: list[tuple[Slices, Variable, bool]], examples: int | None = None
    ) -> None:
        """One iteration: (slices, variable, dense) for each variable; a dense one has all rows."""
        batch = [self._averaged(slices, dense, examples) for slices, _, dense in pairs]
        batch = self._clipped(batch)
        for slices, (_, variable, dense) in zip(batch, pairs, strict=True):
            merged = slices
            if self.batch_mode != "sequential" and not dense:
                merged = added_up(slices)
            for row, values in merged:
                for column, g in enumerate(values):
                    self._step(variable, row, column, g)
        self.iterations += 1

    def _averaged(self, slices: Slices, dense: bool, examples: int | None) -> Slices:
        counts: dict[int, int] = {}
        for row, _ in slices:
            counts[row] = counts.get(row, 0) + 1
        whole = examples or (1 if dense else max(len(slices), 1))
        of_row = [counts[row] for row, _ in slices]
        divisors = {
            "batch_mean": [whole] * len(slices),
            "batch_coordinate_mean": [whole] * len(slices) if dense else of_row,
        }.get(self.batch_mode, [1] * len(slices))
        return [
            (row, [g / divisor for g in values])
            for (row, values), divisor in zip(slices, divisors, strict=True)
        ]

    def _clipped(self, batch: list[Slices]) -> list[Slices]:
        v = self.clipvalue
        if v is not None:
            batch = [[(r, [min(max(g, -v), v) for g in row]) for r, row in s] for s in batch]
        if self.clipnorm is not None:
            batch = [scaled(slices, self.clipnorm, norm([slices])) for slices in batch]
        if self.global_clipnorm is not None:
            whole = norm(batch)
            batch = [scaled(slices, self.global_clipnorm, whole) for slices in batch]
        return batch

    def _step(self, variable: Variable, row: int, column: int, g: float) -> None:
        lr, p = self.learning_rate(self.iterations), self.power
        w, z, n = variable.w[row][column], variable.z[row][column], variable.n[row][column]
        l2a = self.l2 + self.beta / (2.0 * lr)
        gs = g + 2.0 * self.shrinkage * w
        grown = n + g * g
        z = z + gs - (to_power(grown, -p) - to_power(n, -p)) / lr * w
        q = to_power(grown, -p) / lr + 2.0 * l2a
        w = 0.0 if abs(z) <= self.l1 else (math.copysign(self.l1, z) - z) / q
        variable.w[row][column], variable.z[row][column], variable.n[row][column] = w, z, grown


def to_power(n: float, exponent: float) -> float:
    """n^exponent with 0^0 = 1."""
    return math.pow(n, exponent)


def added_up(slices: Slices) -> Slices:
    """Slices of one row added up."""
    sums: dict[int, Row] = {}
    for row, values in slices:
        before = sums.get(row, [0.0] * len(values))
        sums[row] = [a + b for a, b in zip(before, values, strict=True)]
    return list(sums.items())


def norm(batch: list[Slices]) -> float:
    """The Euclidean norm of everything in it."""
    return math.sqrt(math.fsum(g * g for slices in batch for _, row in slices for g in row))


def scaled(slices: Slices, most: float, size: float) -> Slices:
    """g * most / max(size, most)."""
    return [(r, [g * most / max(size, most) for g in row]) for r, row in slices]
