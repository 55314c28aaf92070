"""Our side: a model that nobody configured, through the public interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core import ExampleBatch, Model

BATCH = 1_000
F64 = npt.NDArray[np.float64]


def losses(examples: Iterable[Mapping[str, Any]]) -> F64:
    """float64[rows]: the log loss in nats of each example before it was learned."""
    model = Model()
    remaining = iter(examples)
    parts = []
    while chunk := list(islice(remaining, BATCH)):
        batch = ExampleBatch.from_examples(chunk)
        predictions = model.learn(batch)
        parts.append(log_loss(predictions, batch.labels))
    return np.concatenate(parts) if parts else np.empty(0)


def log_loss(predictions: F64, labels: npt.ArrayLike) -> F64:
    """float64[rows] in nats; predictions are cut to [1e-15, 1 - 1e-15]."""
    clicked = np.asarray(labels) == 1
    likelihood = np.where(clicked, predictions, 1.0 - predictions)
    return np.asarray(-np.log(np.clip(likelihood, 1e-15, 1.0)), np.float64)
