"""Legal examples meant to break the arithmetic: is everything finite, every p strictly inside?

Numbers are drawn to the limits of ftrl_core/limits.py and from both ends: values of +-1e7, of
+-1e-30 (the least that is not zero), powers of ten between, ones; weights of 0, 1e-30, 1 and 1e6.
Labels follow the model's own logit in a stretch and contradict it in the next, so that it is driven
to its clamp and back; slots are few, so that every one is hot and most rows hit one slot twice.

The models cover the corners of what a configuration may hold, each argument at its least and its
most, and everything that a model can be told besides: schedules, mixtures of rates, clipping,
shrinkage, powers, numbers, scale, admission, sampling, rates from counts. A configuration that this
version refuses is counted and named, never skipped in silence. After every chunk, and for every
model:

    every cell of the table and of the bias is finite, and n is at least 0
    every probability is strictly between 0 and 1, every uncertainty is finite
    the progressive figures are finite
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core import ExampleBatch, Limits, Model
from ftrl_core.errors import BadConfig
from ftrl_core.features import TINY

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Config = dict[str, Any]

CHUNK = 5_000
TABLE_BITS = 4
FEATURES = 6  # of an example, all with distinct keys
RATE_MAX = 1e6  # the most that a configuration takes
LIMITS = Limits()
EXTREMES = np.array([LIMITS.abs_value, 1.0, TINY], np.float32)


def corners() -> Iterator[Config]:
    """Optimizers at the corners of the ranges."""
    rates, ends = (1e-300, 1e-6, RATE_MAX), (0.0, RATE_MAX)
    for rate, beta, n0, l1, l2 in itertools.product(rates, ends, ends, ends, ends):
        yield {
            "learning_rate": rate,
            "beta": beta,
            "initial_accumulator_value": n0,
            "l1_regularization_strength": l1,
            "l2_regularization_strength": l2,
        }


def optimizers() -> Iterator[Config]:
    """Optimizers with every other argument, without a beta or an n0 that would tame them."""
    plain = {"beta": 0.0, "initial_accumulator_value": 0.0}
    shrinking = {"l2_shrinkage_regularization_strength": RATE_MAX}
    for rate in (1e-12, 1e-3, 0.1, 1.0, 1e3):
        yield {**plain, "learning_rate": rate}
        yield {**plain, "learning_rate": rate, "l1_regularization_strength": 1e-300}
        yield {**plain, "learning_rate": rate, **shrinking}
        yield {**plain, "learning_rate": rate, "clipvalue": 1e-30}
        yield {**plain, "learning_rate": rate, "clipnorm": 1e30}
        yield {**plain, "learning_rate": rate, "global_clipnorm": 1e-30, **shrinking}
        yield {**plain, "learning_rate": [1e-12, rate, RATE_MAX]}
        for power in (0.0, -1e-3, -1.0, -2.0):
            yield {**plain, "learning_rate": rate, "learning_rate_power": power}
        decay = {"initial_learning_rate": rate, "decay_steps": 1000.0, "decay_rate": 1e-3}
        yield {**plain, "learning_rate": {"class_name": "ExponentialDecay", "config": decay}}


def options() -> Iterator[Config]:
    """Configurations with what a model may be told besides its optimizer."""
    yield {}  # the service's defaults
    for rate, numbers, scale in itertools.product(
        (RATE_MAX, [1e-12, 0.1, RATE_MAX]), ("raw", "log_bins", "auto"), ("none", "unit")
    ):
        wild = {"learning_rate": rate, "beta": 0.0}
        yield {"optimizer": wild, "numbers": numbers, "scale": scale, "bias_learning_rate": 1e-300}
    for share in (0.0, 0.5):
        wild = {"learning_rate": [1e-300, RATE_MAX], "beta": 0.0}
        yield {"optimizer": wild, "mixture_share": share, "bias_learning_rate": RATE_MAX}
    wild = {"learning_rate": 1.0, "beta": 0.0}
    yield {"optimizer": wild, "admission": {"kind": "poisson", "probability": 1e-300}}
    yield {"optimizer": wild, "admission": {"kind": "poisson", "probability": 0.5}}
    yield {"optimizer": wild, "admission": {"kind": "bloom", "count": 254, "bits": 10}}
    for correction in ("weight", "logit"):
        yield {"optimizer": wild, "sampling_rate": 1e-4, "sampling_correction": correction}
    for beta in (1e-300, RATE_MAX):
        yield {"optimizer": {**wild, "beta": beta}, "rates_from": "counts"}


def configurations() -> list[Config]:
    """All of them."""
    given = [{"optimizer": optimizer} for optimizer in itertools.chain(corners(), optimizers())]
    given += options()
    common = {"table_bits": TABLE_BITS, "deduplication_window": 0}
    return [
        {**common, **config, "bias_regularized": number % 2 == 1}
        for number, config in enumerate(given)
    ]


def rows_with_extremes(rng: np.random.Generator, rows: int) -> tuple[F32, F32]:
    """Values [rows, FEATURES] and weights [rows], all legal."""
    shape = (rows, FEATURES)
    logs = rng.uniform(math.log(TINY), math.log(LIMITS.abs_value), shape)
    values = np.where(rng.random(shape) < 0.5, rng.choice(EXTREMES, shape), np.exp(logs))
    values = np.where(rng.random(rows)[:, None] < 0.3, 1.0, values)  # ordinary rows between them
    values *= rng.choice([-1.0, 1.0], shape)
    values = np.clip(values, -LIMITS.abs_value, LIMITS.abs_value)
    weights = rng.choice([0.0, 1e-30, 1.0, 1.0, LIMITS.weight], rows)
    return values.astype(np.float32), weights.astype(np.float32)


def batch(rng: np.random.Generator, model: Model, rows: int) -> ExampleBatch:
    """Rows in canonical form; their labels agree with the model's logit, or all contradict it."""
    values, weights = rows_with_extremes(rng, rows)
    names = np.tile(np.arange(FEATURES, dtype=np.uint32), rows)
    hashes = rng.integers(0, 1 << 32, values.size, dtype=np.uint32)
    hashes = np.where(rng.random(values.size) < 0.5, names, hashes)  # a number has its name's hash
    whole = ExampleBatch(
        np.arange(0, values.size + 1, FEATURES, dtype=np.int64),
        names,
        hashes,
        values.ravel(),
        np.zeros(rows, np.uint8),
        weights,
        np.zeros(rows, np.uint64),
    )
    likely = model.predict(whole) > 0.5
    flips = np.repeat(rng.random(rows // 100 + 1) < 0.5, 100)[:rows]
    whole.labels = (likely ^ flips).astype(np.uint8)
    return whole


@dataclass(slots=True)
class Tally:
    """What was seen."""

    models: int = 0
    examples: int = 0
    refused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    least_p: float = 1.0
    greatest_p: float = 0.0
    clamped: int = 0  # predictions within 1e-9 of the clamp's
    greatest_state: float = 0.0

    def look(self, model: Model, predictions: F64, uncertain: F64, named: str) -> None:
        """Check what must hold after a chunk, and count."""
        state = (model.table.cells, model.bias)
        if not all(np.isfinite(array).all() for array in state):
            self.broken.append(f"state is not finite: {named}")
        if not ((predictions > 0.0) & (predictions < 1.0)).all():
            self.broken.append(f"a probability is not inside (0, 1): {named}")
        if not (np.isfinite(uncertain) & (uncertain >= 0.0)).all():
            self.broken.append(f"an uncertainty is not finite: {named}")
        figures = model.stats()
        numbers = [x for x in figures.values() if isinstance(x, float)]
        if not all(math.isfinite(x) for x in numbers):
            self.broken.append(f"a progressive figure is not finite: {named}")
        self.examples += predictions.size
        self.least_p = min(self.least_p, float(predictions.min()))
        self.greatest_p = max(self.greatest_p, float(predictions.max()))
        edge = 1.0 / (1.0 + math.exp(15.0)) * (1.0 + 1e-9)
        self.clamped += int((np.minimum(predictions, 1.0 - predictions) <= edge).sum())
        self.greatest_state = max(
            self.greatest_state, *(float(np.abs(array).max()) for array in state)
        )


def models(tally: Tally) -> list[Model]:
    """A model for every configuration that this version takes; the others are noted."""
    made = []
    for config in configurations():
        try:
            made.append(Model(config))
        except BadConfig as error:
            tally.refused.append(str(error))
    tally.models = len(made)
    return made


def measure(examples: int, seed: int, chunk: int = CHUNK) -> Tally:
    """Share the examples among all models, chunk by chunk."""
    tally = Tally()
    made = models(tally)
    rng = np.random.default_rng(seed)
    while tally.examples < examples:
        for number, model in enumerate(made):
            rows = min(chunk, examples - tally.examples)
            if rows > 0:
                rows_to_learn = batch(rng, model, rows)
                uncertain = model.uncertainty(rows_to_learn)
                predictions = model.learn(rows_to_learn)
                tally.look(model, predictions, uncertain, f"model {number}: {model.config}")
    return tally


def report(examples: int, seed: int) -> bool:
    """Print the figures; whether nothing broke."""
    tally = measure(examples, seed)
    print(f"{tally.examples} examples over {tally.models} models, seed {seed}")
    print(f"{len(tally.refused)} configurations refused by this version")
    for reason in sorted({reason.partition(":")[-1].strip() or reason for reason in tally.refused}):
        print(f"  {reason[:100]}")
    print(f"probabilities from {tally.least_p:.3e} to 1 - {1 - tally.greatest_p:.3e}")
    print(f"{tally.clamped} of them at the clamp; the greatest |z| or n {tally.greatest_state:.3e}")
    print(f"{len(tally.broken)} failures")
    for line in tally.broken[:20]:
        print(f"  {line}")
    return not tally.broken
