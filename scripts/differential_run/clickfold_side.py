"""One case by ftrl_core.Ftrl."""

from __future__ import annotations

from typing import Any

import numpy as np

from ftrl_core import Ftrl, IndexedSlices
from ftrl_core.schedules import deserialize
from scripts.differential_run.cases import Case, Gradient
from scripts.differential_run.outcome import Outcome


def gradient_of(gradient: Gradient, dtype: str) -> Any:
    """A gradient as ftrl_core takes it."""
    if isinstance(gradient, tuple):
        return IndexedSlices(gradient[0].astype(dtype), gradient[1])
    return gradient.astype(dtype)


def clickfold(case: Case) -> Outcome:
    """The case's outcome; duplicates in an IndexedSlices are summed first, as TensorFlow does."""
    rate = case.rate if isinstance(case.rate, float) else deserialize(case.rate)
    optimizer = Ftrl(rate, **case.arguments, batch_mode="batch_sum")
    variables = [v.astype(case.dtype) for v in case.variables]
    weights = []
    for gradients in case.steps:
        prepared = [gradient_of(g, case.dtype) for g in gradients]
        optimizer.apply_gradients(list(zip(prepared, variables, strict=True)))
        weights.append(np.concatenate([v.ravel() for v in variables]))
    state = optimizer.get_weights()  # iterations, then n and z of each variable
    n, z = (np.concatenate([a.ravel() for a in state[first::2]]) for first in (1, 2))
    return Outcome(weights, z, n)
