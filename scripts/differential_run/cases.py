"""Random configurations and gradient streams for the comparison with TensorFlow and Keras.

A case is made from (seed, class, number) alone, so that it can be named in a table and made again
in a test. Every number is on the float32 grid, also for float64 cases: tf-keras keeps a learning
rate, a power, l1, l2 and beta in float32 variables whatever the type of the weights, and a
difference in what was asked would hide one in what was computed.

A case has two variables, so that the global norm is not the norm of one: the first takes dense
gradients or, in sparse classes, IndexedSlices; the second takes dense ones always. Schedules are
kept away from a rate of 0, at which TensorFlow divides by zero.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Gradient = F64 | tuple[F64, I64]

SPARSE_ROWS = 6
STEPS_MAX = 8
SCHEDULES = (
    "ExponentialDecay", "InverseTimeDecay", "PolynomialDecay", "CosineDecay",
    "PiecewiseConstantDecay",
)  # fmt: skip
DENSE = (
    "dense",
    "dense, power",
    "dense, beta",
    "dense, shrinkage",
    "dense, clipvalue",
    "dense, clipnorm",
    "dense, global_clipnorm",
    "dense, clipvalue clipnorm",
    "dense, n0 is 0",
    *(f"dense, {name}" for name in SCHEDULES),
)
SPARSE = (
    "sparse",
    "sparse, power beta",
    "sparse, shrinkage",
    "sparse, duplicates",
    "sparse, duplicates shrinkage",
    "sparse, duplicates clipvalue",
    "sparse, duplicates clipnorm",
    "sparse, duplicates global_clipnorm",
    *(f"sparse, duplicates {name}" for name in SCHEDULES),
)


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration and its stream.

    arguments  by Keras' names, without learning_rate
    rate       a number, or {"class_name": ..., "config": ...} as Keras serialises a schedule
    variables  float64 starting values, on the float32 grid
    steps      one tuple of gradients a step, one for each variable; (values, indices) if sparse
    """

    kind: str
    dtype: str
    arguments: dict[str, Any]
    rate: float | dict[str, Any]
    variables: tuple[F64, F64]
    steps: tuple[tuple[Gradient, F64], ...]

    def checksum(self) -> str:
        """16 hex digits over everything: tells a changed generator from a changed optimizer."""
        h = hashlib.sha256(repr((self.kind, self.dtype, self.arguments, self.rate)).encode())
        for array in self.variables:
            h.update(array.tobytes())
        for sparse, dense in self.steps:
            parts = sparse if isinstance(sparse, tuple) else (sparse,)
            for array in (*parts, dense):
                h.update(array.tobytes())
        return h.hexdigest()[:16]


def grid(x: float) -> float:
    """The nearest float32, as a float."""
    return float(np.float32(x))


class Maker:
    """Draws the parts of one case."""

    def __init__(self, seed: int, kind: str, number: int) -> None:
        self.rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), number])
        self.kind = kind

    def log_uniform(self, low: float, high: float) -> float:
        """A number between the bounds, its logarithm uniform."""
        return grid(float(np.exp(self.rng.uniform(np.log(low), np.log(high)))))

    def sometimes(self, low: float, high: float) -> float:
        """0 in two of five draws."""
        return 0.0 if self.rng.random() < 0.4 else self.log_uniform(low, high)

    def has(self, word: str) -> bool:
        """Whether the class asks for this."""
        return word in self.kind

    def arguments(self) -> dict[str, Any]:
        """The optimizer's arguments but the learning rate."""
        given = {
            "initial_accumulator_value": grid(self.rng.choice([0.1, self.rng.uniform(0.01, 1)])),
            "l1_regularization_strength": self.sometimes(1e-3, 0.5),
            "l2_regularization_strength": self.sometimes(1e-3, 2.0),
        }
        if self.has("n0 is 0"):
            given["initial_accumulator_value"] = 0.0
        if self.has("power"):
            given["learning_rate_power"] = grid(-self.rng.choice([0.0, 1.0, self.rng.random()]))
        if self.has("beta"):
            given["beta"] = self.log_uniform(1e-2, 2.0)
        if self.has("shrinkage"):
            given["l2_shrinkage_regularization_strength"] = self.log_uniform(1e-3, 0.5)
        for name in ("clipvalue", "clipnorm", "global_clipnorm"):
            if name in self.kind.split():
                given[name] = self.log_uniform(0.1, 2.0)
        return given

    def rate(self) -> float | dict[str, Any]:
        """A number or a serialised schedule."""
        start, steps = self.log_uniform(0.01, 2.0), float(self.rng.integers(2, STEPS_MAX))
        staircase = bool(self.rng.random() < 0.5)
        name = next((n for n in SCHEDULES if self.has(n)), None)
        config: dict[str, Any] = {"initial_learning_rate": start, "decay_steps": steps}
        if name is None:
            return start
        if name in ("ExponentialDecay", "InverseTimeDecay"):
            config |= {"decay_rate": self.log_uniform(0.3, 0.99), "staircase": staircase}
        elif name == "PolynomialDecay":
            config |= {"end_learning_rate": grid(start / 8), "power": grid(self.rng.choice([1, 2]))}
            config |= {"cycle": staircase}
        elif name == "CosineDecay":
            config |= {"alpha": 0.125}
            if staircase:
                config |= {"warmup_target": grid(2 * start), "warmup_steps": 2.0}
        else:
            config = {"boundaries": [2.0, 5.0], "values": [start, grid(start / 2), grid(start / 3)]}
        return {"class_name": name, "config": config}

    def array(self, *shape: int) -> F64:
        """Normal numbers on the float32 grid."""
        return self.rng.normal(0.0, 1.0, shape).astype(np.float32).astype(np.float64)

    def gradient(self) -> Gradient:
        """A gradient of the first variable."""
        if not self.kind.startswith("sparse"):
            dense = self.array(5)
            dense[self.rng.random(5) < 0.2] = 0.0
            return dense
        repeats = self.has("duplicates")
        count = int(self.rng.integers(1, SPARSE_ROWS))
        indices = self.rng.choice(SPARSE_ROWS, count, replace=repeats)
        return self.array(count, 2), indices.astype(np.int64)


def make(seed: int, kind: str, number: int, dtype: str) -> Case:
    """The case of a class with this number; the same one for float32 and float64."""
    maker = Maker(seed, kind, number)
    first = (SPARSE_ROWS, 2) if kind.startswith("sparse") else (5,)
    variables = maker.array(*first), maker.array(2, 2)
    steps = tuple(
        (maker.gradient(), maker.array(2, 2)) for _ in range(int(maker.rng.integers(3, STEPS_MAX)))
    )
    return Case(kind, dtype, maker.arguments(), maker.rate(), variables, steps)


def densified(case: Case) -> Case:
    """The case with each sparse gradient as a dense one, duplicates summed."""
    if not case.kind.startswith("sparse"):
        return case
    steps = []
    for sparse, dense in case.steps:
        assert isinstance(sparse, tuple)
        whole = np.zeros(case.variables[0].shape)
        np.add.at(whole, sparse[1], sparse[0])
        steps.append((whole, dense))
    return Case(case.kind, case.dtype, case.arguments, case.rate, case.variables, tuple(steps))
