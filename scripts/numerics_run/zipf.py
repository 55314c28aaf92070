"""The float32 fold beside a float64 one on a Zipf stream with very hot coordinates.

The stream: eight features an example, each from a field of its own: one that is in every example,
fields of 10 and 1,000 values, four of 200,000, all with Zipf's distribution (exponent 1), and a
number. So n of the hottest coordinates grows by millions of steps, each far below the last bit of
a float32, and most coordinates are met once. Labels come from a logistic truth over the fields. It
is run twice, at a click rate of some per cent and below one per cent: the rarer a click, the
smaller most steps of n.

Three folds of the same formulas, the order of the examples, and the loss, all in this file but one:

    service   ftrl_core.Model: float32 with n rounded up or down by a deterministic dither
    float64   z, n and every step in float64: the truth
    plain     the service's float32 with n rounded to nearest: what the dither is for

The stream is generated in chunks, the same for any number of examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core import ExampleBatch, Model
from ftrl_core.jit import kernel

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
SLOTS = npt.NDArray[np.uint32]

CHUNK = 100_000
FIELDS = (1, 10, 1_000, 200_000, 200_000, 200_000, 200_000, 1)  # the last is the number
STARTS = np.concatenate([[0], np.cumsum(FIELDS)[:-1]])
TABLE_BITS = 20  # every feature has a slot of its own
ALPHA, BETA = 0.1, 1.0
BOUND = 1e-6
BASES = (-3.0, -6.0)  # the truth of the coordinate that is in every example


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of len(FIELDS) features: slots and values [rows, fields], labels [rows]."""

    slots: SLOTS
    values: F32
    labels: U8

    def batch(self) -> ExampleBatch:
        """In canonical form: a field's name hash is its place, a feature's hash its slot."""
        rows, width = self.slots.shape
        return ExampleBatch(
            np.arange(0, rows * width + 1, width, dtype=np.int64),
            np.tile(np.arange(width, dtype=np.uint32), rows),
            self.slots.ravel(),
            self.values.ravel(),
            self.labels,
            np.ones(rows, np.float32),
            np.zeros(rows, np.uint64),
        )


def chunks(examples: int, seed: int, base: float) -> Iterator[Chunk]:
    """The stream, `examples` rows in all."""
    truth = np.random.default_rng([seed, 0]).normal(0.0, 0.5, sum(FIELDS))
    truth[0] = base
    for number, first in enumerate(range(0, examples, CHUNK), 1):
        rng = np.random.default_rng([seed, number])
        rows = min(CHUNK, examples - first)
        # The rank of a Zipf draw with exponent 1 is close to exponential in a uniform number.
        ranks = np.power(np.array(FIELDS, float), rng.random((rows, len(FIELDS)))).astype(np.int64)
        slots = (STARTS + np.minimum(ranks, FIELDS) - 1).astype(np.uint32)
        values = np.ones(slots.shape, np.float32)
        values[:, -1] = rng.normal(0.0, 1.0, rows)
        logits = (truth[slots] * values).sum(axis=1)
        labels = rng.random(rows) < 1.0 / (1.0 + np.exp(-logits))
        yield Chunk(slots, values, labels.astype(np.uint8))


@kernel
def fold(slots: SLOTS, values: Any, labels: U8, z: Any, n: Any, bias: F64, p: F64) -> None:
    """Fold a chunk in the type of z and n, which are changed in place; p before each update.

    values, z, n and the rates must share one type; the bias (z, n) is float64, as in the service.
    """
    alpha, beta = z.dtype.type(ALPHA), z.dtype.type(BETA)
    width = slots.shape[1]
    w = np.empty(width, z.dtype)
    for r in range(slots.shape[0]):
        bias_w = -bias[0] / (BETA + np.sqrt(bias[1]))
        logit = bias_w
        for j in range(width):
            s = slots[r, j]
            w[j] = -z[s] / (beta + np.sqrt(n[s]))
            logit += np.float64(values[r, j]) * np.float64(w[j])
        p[r] = 1.0 / (1.0 + np.exp(-min(max(logit, -15.0), 15.0)))
        residual = p[r] - labels[r]
        for j in range(width):
            s = slots[r, j]
            g = z.dtype.type(residual) * values[r, j]
            grown = n[s] + g * g
            sigma = g * g / (np.sqrt(grown) + np.sqrt(n[s]))
            z[s] += alpha * g - sigma * w[j]
            n[s] = grown
        grown64 = bias[1] + residual * residual
        sigma64 = residual * residual / (np.sqrt(grown64) + np.sqrt(bias[1]))
        bias[0] += ALPHA * residual - sigma64 * bias_w
        bias[1] = grown64


class PlainFold:
    """A fold of this file in float32 or float64, round to nearest."""

    def __init__(self, dtype: type[np.floating[Any]]) -> None:
        self.dtype = dtype
        self.z, self.n = np.zeros(sum(FIELDS), dtype), np.zeros(sum(FIELDS), dtype)
        self.bias = np.zeros(2)

    def learn(self, chunk: Chunk) -> F64:
        """Probabilities before learning."""
        p = np.empty(chunk.labels.size)
        values = chunk.values.astype(self.dtype)
        fold(chunk.slots, values, chunk.labels, self.z, self.n, self.bias, p)
        return p


def loss_sum(p: F64, labels: U8) -> float:
    """Sum of the log losses."""
    return float(-np.log(np.where(labels == 1, p, 1.0 - p)).sum())


@dataclass(frozen=True, slots=True)
class Figures:
    """Mean progressive log losses, the click rate, and n of the coordinate of every example."""

    service: float
    float64: float
    plain: float
    click_rate: float
    hottest: dict[str, float]

    def off(self, loss: float) -> float:
        """Relative difference from the float64 fold."""
        return loss / self.float64 - 1.0


def measure(examples: int, seed: int, base: float = BASES[0]) -> Figures:
    """All three folds over the stream."""
    rates = {"learning_rate": ALPHA, "beta": BETA, "initial_accumulator_value": 0.0}
    optimizer = {**rates, "l1_regularization_strength": 0.0, "l2_regularization_strength": 0.0}
    service = Model({"table_bits": TABLE_BITS, "deduplication_window": 0, "optimizer": optimizer})
    float64, plain = PlainFold(np.float64), PlainFold(np.float32)
    losses, clicks = np.zeros(3), 0
    for chunk in chunks(examples, seed, base):
        predictions = (service.learn(chunk.batch()), float64.learn(chunk), plain.learn(chunk))
        losses += [loss_sum(p, chunk.labels) for p in predictions]
        clicks += int(chunk.labels.sum())
    hottest = {
        "service": float(service.table.cells[1]),
        "float64": float(float64.n[0]),
        "plain": float(plain.n[0]),
    }
    service_loss, float64_loss, plain_loss = (losses / examples).tolist()
    return Figures(service_loss, float64_loss, plain_loss, clicks / examples, hottest)


def report(examples: int, seed: int) -> bool:
    """Print the figures; whether the service is within the bound."""
    print(f"{examples} examples, seed {seed}\n")
    columns = ["click rate", "log loss, float64", "service, relative", "without dither, relative"]
    columns += ["hottest n, float64", "service", "without dither"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    holds = True
    for base in BASES:
        f = measure(examples, seed, base)
        losses = f"{f.float64:.12f} | {f.off(f.service):+.2e} | {f.off(f.plain):+.2e}"
        hottest = (f.hottest[name] for name in ("float64", "service", "plain"))
        cells = " | ".join(f"{n:.3f}" for n in hottest)
        print(f"| {f.click_rate:.4f} | {losses} | {cells} |", flush=True)
        holds &= abs(f.off(f.service)) <= BOUND
    return holds
