"""The float32 fold beside a float64 one on a Zipf stream with very hot coordinates.

The stream: eight features an example, each from a field of its own: one that is in every example,
fields of 10 and 1,000 values, four of 200,000, all with Zipf's distribution (exponent 1), and a
number. So n of the hottest coordinates grows by millions of steps, each far below the last bit of
a float32, and most coordinates are met once. Labels come from a logistic truth over the fields. It
is run twice, at a click rate of some per cent and below one per cent: the rarer a click, the
smaller most steps of n.

Models: one learning rate with values as they are, and the service's defaults (a mixture of rates,
examples scaled to length one). Three folds of the same formulas, two of them in this file:

    service   ftrl_core.Model: float32 with n rounded up or down by a deterministic dither
    float64   z, n and every step in float64: the truth
    plain     the service's float32 with n rounded to nearest: what the dither is for

The stream is generated in chunks, the same for any number of examples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core import ExampleBatch, Model, ModelConfig
from ftrl_core.jit import kernel

Config = dict[str, Any]
F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
SLOTS = npt.NDArray[np.uint32]

CHUNK = 100_000
FIELDS = (1, 10, 1_000, 200_000, 200_000, 200_000, 200_000, 1)  # the last is the number
STARTS = np.concatenate([[0], np.cumsum(FIELDS)[:-1]])
TABLE_BITS = 20  # every feature has a slot of its own
NAMES = 1 << 20  # name hashes begin here, beyond every slot, so that no feature is a numeric one
BOUND = 1e-6
SETTINGS: dict[str, Config] = {
    "one rate, 0.1": {"optimizer": {"learning_rate": 0.1}},
    "the service's defaults": {},
}
BASES = (-3.0, -6.0)  # the truth of the coordinate that is in every example


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of len(FIELDS) features: slots and values [rows, fields], labels [rows]."""

    slots: SLOTS
    values: F32
    labels: U8

    def batch(self) -> ExampleBatch:
        """In canonical form: name hashes rise with the fields, a feature's hash is its slot."""
        rows, width = self.slots.shape
        return ExampleBatch(
            np.arange(0, rows * width + 1, width, dtype=np.int64),
            np.tile(np.arange(NAMES, NAMES + width, dtype=np.uint32), rows),
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
def fold(
    slots: SLOTS, values: Any, labels: U8, rates: F64, z: Any, n: Any, bias: F64, p: F64
) -> None:
    """Fold a chunk in the type of z and n, which are changed in place; p before each update.

    values, z and n share one type; the bias (z, n) is float64, as in the service. rates are the
    learning rate, beta, and the bias' learning rate.
    """
    alpha, beta, bias_alpha = z.dtype.type(rates[0]), z.dtype.type(rates[1]), rates[2]
    width = slots.shape[1]
    w = np.empty(width, z.dtype)
    for r in range(slots.shape[0]):
        bias_w = -bias[0] / (rates[1] + np.sqrt(bias[1]))
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
        bias[0] += bias_alpha * residual - sigma64 * bias_w
        bias[1] = grown64


@kernel
def mix(ps: F64, labels: U8, posterior: F64, share: float, out: F64) -> None:
    """Mix ps [lanes, rows] under the posterior, which is changed in place, into out."""
    lanes = posterior.size
    for r in range(labels.size):
        out[r] = np.sum(posterior * ps[:, r])
        likely = posterior * (ps[:, r] if labels[r] else 1.0 - ps[:, r])
        posterior[:] = (1.0 - share) * likely / np.sum(likely) + share / lanes


class PlainModel:
    """A model of this file in float32 or float64, round to nearest: a fold for each rate."""

    def __init__(self, dtype: type[np.floating[Any]], config: ModelConfig) -> None:
        beta = config.optimizer.beta
        self.dtype = dtype
        self.unit = config.scale == "unit"
        self.share = float(config.mixture_share or 0.0)
        self.rates = [np.array([r, beta, config.bias_learning_rate or r]) for r in config.rates]
        lanes, size = len(self.rates), sum(FIELDS)
        self.z, self.n = np.zeros((lanes, size), dtype), np.zeros((lanes, size), dtype)
        self.biases, self.posterior = np.zeros((lanes, 2)), np.full(lanes, 1.0 / lanes)

    def learn(self, chunk: Chunk) -> F64:
        """Probabilities before learning."""
        values = chunk.values.astype(np.float64)
        if self.unit:
            values /= np.sqrt((values * values).sum(axis=1, keepdims=True))
        values = values.astype(self.dtype)
        rows = chunk.labels.size
        ps, out = np.empty((len(self.rates), rows)), np.empty(rows)
        for rates, z, n, bias, p in zip(self.rates, self.z, self.n, self.biases, ps, strict=True):
            fold(chunk.slots, values, chunk.labels, rates, z, n, bias, p)
        mix(ps, chunk.labels, self.posterior, self.share, out)
        return out


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


def measure(examples: int, seed: int, settings: Config, base: float) -> Figures:
    """All three folds over the stream, of a model with these settings."""
    service = Model({"table_bits": TABLE_BITS, "deduplication_window": 0, **settings})
    exact = PlainModel(np.float64, service.config)
    plain = PlainModel(np.float32, service.config)
    losses, clicks = np.zeros(3), 0
    for chunk in chunks(examples, seed, base):
        predictions = (service.learn(chunk.batch()), exact.learn(chunk), plain.learn(chunk))
        losses += [loss_sum(p, chunk.labels) for p in predictions]
        clicks += int(chunk.labels.sum())
    hottest = {
        "service": float(service.table.cells[service.config.lanes]),  # after z of every lane
        "float64": float(exact.n[0, 0]),
        "plain": float(plain.n[0, 0]),
    }
    service_loss, float64_loss, plain_loss = (losses / examples).tolist()
    return Figures(service_loss, float64_loss, plain_loss, clicks / examples, hottest)


def report(examples: int, seed: int) -> bool:
    """Print the figures; whether the service is within the bound."""
    print(f"{examples} examples, seed {seed}\n")
    columns = ["model", "click rate", "log loss, float64", "service, relative"]
    columns += ["without dither, relative", "hottest n, float64", "service", "without dither"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    holds = True
    for (name, settings), base in itertools.product(SETTINGS.items(), BASES):
        f = measure(examples, seed, settings, base)
        losses = f"{f.float64:.12f} | {f.off(f.service):+.2e} | {f.off(f.plain):+.2e}"
        hottest = (f.hottest[name] for name in ("float64", "service", "plain"))
        cells = " | ".join(f"{n:.3f}" for n in hottest)
        print(f"| {name} | {f.click_rate:.4f} | {losses} | {cells} |", flush=True)
        holds &= abs(f.off(f.service)) <= BOUND
    return holds
