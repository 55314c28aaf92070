"""Small cases in which the implementations are known to differ: what each of them gives.

Not figures of agreement but the differences themselves, so that docs/differential.md shows what the
versions named in the table do, and not what they once did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ftrl_core import Ftrl, IndexedSlices
from scripts.differential_run import tensorflow_side
from scripts.differential_run.cases import Case, Gradient, densified
from scripts.differential_run.clickfold_side import clickfold
from scripts.differential_run.outcome import Outcome

# Exact in float32, as everything but the last probe is, so that only what is meant differs.
PLAIN = {
    "initial_accumulator_value": 0.125,
    "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0,
}


def case(gradients: list[Gradient], start: list[float], **arguments: Any) -> Case:
    """A float64 case of one interesting variable, rate 0.5; the other's gradients are zero."""
    kind = "sparse" if isinstance(gradients[0], tuple) else "dense"
    rate = arguments.pop("learning_rate", 0.5)
    steps = tuple((gradient, np.zeros(1)) for gradient in gradients)
    first = np.array(start).reshape(-1, 1) if kind == "sparse" else np.array(start)
    variables = first, np.ones(1)
    return Case(kind, "float64", {**PLAIN, **arguments}, rate, variables, steps)


def slices(values: list[float], indices: list[int]) -> Gradient:
    """A sparse gradient of rows of one column."""
    return np.array(values).reshape(-1, 1), np.array(indices)


PROBES: dict[str, Case] = {
    "n0 = 0, gradient 0, dense": case([np.zeros(2)], [0.0, 1.0], initial_accumulator_value=0.0),
    "n0 = 0, gradient 0, sparse rows 0, 1": case(
        [slices([0.0, 0.0], [0, 1])], [0.0, 1.0], initial_accumulator_value=0.0
    ),
    "weight 1, gradient 0, dense": case([np.zeros(1)], [1.0]),
    "weights 1, gradient .5 for sparse row 0": case([slices([0.5], [0])], [1.0, 1.0]),
    "weights 0, sparse row 0 twice: .5, .25": case(
        [slices([0.5, 0.25], [0, 0])], [0.0, 0.0], learning_rate=0.125
    ),
    "the same, shrinkage .125, then row 1: .5": case(
        [slices([0.5, 0.25], [0, 0]), slices([0.5], [1])],
        [0.0, 0.0],
        learning_rate=0.125,
        l2_shrinkage_regularization_strength=0.125,
    ),
    "learning rate .1 and n0 .1 in float64, gradient 1": case(
        [np.ones(1)], [0.0], learning_rate=0.1, initial_accumulator_value=0.1
    ),
}


def sequential(probe: Case) -> Outcome:
    """By ftrl_core.Ftrl as it is by default: one step for each row of an IndexedSlices."""
    assert isinstance(probe.rate, float)
    optimizer = Ftrl(probe.rate, **probe.arguments)
    first = probe.variables[0].copy()
    weights = []
    for gradient, _ in probe.steps:
        given = IndexedSlices(*gradient) if isinstance(gradient, tuple) else gradient
        optimizer.apply_gradients([(given, first)])
        weights.append(first.ravel().copy())
    nothing = np.zeros(0)
    return Outcome(weights, nothing, nothing)


SIDES: dict[str, Callable[[Case], Outcome]] = {
    "Clickfold, sequential": sequential,
    "Clickfold, batch_sum": clickfold,
    "tf-keras legacy": tensorflow_side.legacy,
    "tf-keras new": tensorflow_side.new,
    "Keras 3": lambda probe: tensorflow_side.keras3(densified(probe)),
}


def show(probe: Case, outcome: Outcome) -> str:
    """The interesting variable's weights after the last step."""
    weights = outcome.weights[-1][: probe.variables[0].size]
    return ", ".join(f"{w:.12g}" for w in weights + 0.0)


def print_table() -> None:
    """Print the table of weights."""
    print("| what | " + " | ".join(SIDES) + " |")
    print("|---|" + "---|" * len(SIDES))
    for name, probe in PROBES.items():
        cells = [show(probe, side(probe)) for side in SIDES.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")
