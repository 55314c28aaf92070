"""Progressive predictions of one stream by Vowpal Wabbit, by ftrl_core.Model, and in float64.

Vowpal Wabbit's `--ftrl` (core/src/reductions/ftrl.cc) is the paper's Algorithm 1, so the mapping is

    --ftrl_alpha, --ftrl_beta    learning_rate, beta
    --l1                         l1_regularization_strength
    --l2                         2 * l2_regularization_strength (Keras counts l2 twice)
    no n0                        initial_accumulator_value 0
    Constant                     the bias, regularised like every coordinate: bias_regularized

It stores w beside z and n and makes it anew at the end of each update, which is the same sequence
as making it before each prediction. An importance multiplies the gradient on both sides.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ftrl_core import ExampleBatch, Limits, Model
from ftrl_core.kernels import F64
from scripts.differential_run.vw_streams import Example

LIMITS = Limits(examples=1 << 30, request_features=1 << 40)
VW_BITS = 24
CONSTANT = 11650396  # the index of Vowpal Wabbit's constant feature (core/constant.h)


@dataclass(frozen=True, slots=True)
class Setting:
    """One point of the paper's parameters."""

    alpha: float
    beta: float
    l1: float
    l2: float

    def __str__(self) -> str:
        return f"{self.alpha:g}, {self.beta:g}, {self.l1:g}, {self.l2:g}"


SETTINGS = (
    Setting(0.1, 1.0, 0.0, 0.0),
    Setting(0.5, 1.0, 0.0, 0.0),  # Vowpal Wabbit's defaults
    Setting(0.05, 0.1, 0.1, 0.1),
    Setting(0.3, 0.0, 1.0, 0.0),
    Setting(0.3, 0.5, 0.05, 2.0),
)


def vw_predictions(examples: Iterable[Example], setting: Setting) -> F64:
    """float64[rows] as `vw --ftrl` predicts them before it learns each example."""
    # Only the differential run's environment has it.
    import vowpalwabbit  # type: ignore[import-not-found]

    arguments = (
        f"--ftrl --loss_function logistic --link logistic -b {VW_BITS} --quiet "
        f"--ftrl_alpha {setting.alpha} --ftrl_beta {setting.beta} "
        f"--l1 {setting.l1} --l2 {setting.l2}"
    )
    workspace = vowpalwabbit.Workspace(arguments)
    predictions = []
    for row in examples:
        cells = " ".join(f"{number}:{value!r}" for number, value in row.features)
        example = workspace.parse(f"{2 * row.label - 1} {row.weight} | {cells}")
        workspace.learn(example)
        predictions.append(example.get_prediction())
        workspace.finish_example(example)
    workspace.finish()
    return np.array(predictions)


def without_collisions(batch: ExampleBatch, distinct: int) -> int:
    """Give each feature of the batch a slot of its own, in place; the number of slots in bits.

    The replacement keeps the order of the hashes, so the canonical order of a row stays as it is.
    """
    hashes, slots = np.unique(batch.feature_hashes, return_inverse=True)
    if hashes.size != distinct:
        raise ValueError("two names share a hash under this seed: choose another")
    batch.feature_hashes = slots.astype(np.uint32)
    return max(1, math.ceil(math.log2(distinct)))


def clickfold_predictions(examples: Sequence[Example], setting: Setting) -> F64:
    """float64[rows] of ftrl_core.Model with one learning rate, so with raw numbers."""
    shaped = [
        {
            "label": row.label,
            "weight": row.weight,
            "features": {str(number): value for number, value in row.features},
        }
        for row in examples
    ]
    distinct = {number for row in examples for number, _ in row.features}
    batch = ExampleBatch.from_examples(shaped, limits=LIMITS)
    config = {
        "table_bits": without_collisions(batch, len(distinct)),
        "deduplication_window": 0,
        "bias_regularized": True,
        "optimizer": {
            "learning_rate": setting.alpha,
            "beta": setting.beta,
            "initial_accumulator_value": 0.0,
            "l1_regularization_strength": setting.l1,
            "l2_regularization_strength": setting.l2 / 2,
        },
    }
    return Model(config).learn(batch)


def float64_predictions(examples: Iterable[Example], setting: Setting, logit_max: float) -> F64:
    """float64[rows] of the paper's Algorithm 1 in float64: tells whose rounding a difference is.

    The logit is clamped to +-logit_max: 50 in Vowpal Wabbit, 15 in the service.
    """
    z: dict[int, float] = defaultdict(float)
    n: dict[int, float] = defaultdict(float)
    predictions = []
    for row in examples:
        features = [*row.features, (CONSTANT, 1.0)]
        ws = []
        for i, _ in features:
            size = abs(z[i]) - setting.l1
            divisor = (setting.beta + math.sqrt(n[i])) / setting.alpha + setting.l2
            ws.append(0.0 if size <= 0 else -math.copysign(size, z[i]) / divisor)
        logit = sum(w * x for w, (_, x) in zip(ws, features, strict=True))
        p = 1.0 / (1.0 + math.exp(-min(max(logit, -logit_max), logit_max)))
        predictions.append(p)
        for w, (i, x) in zip(ws, features, strict=True):
            g = (p - row.label) * row.weight * x
            sigma = (math.sqrt(n[i] + g * g) - math.sqrt(n[i])) / setting.alpha
            z[i] += g - sigma * w
            n[i] += g * g
    return np.array(predictions)
