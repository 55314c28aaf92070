"""What docs/interchange.md claims of real logs: the price of q2.13, and of a warm start.

    .venv/bin/python -m scripts.interchange_figures

Each log is cut in two. One learner (rate .1, beta 1) learns the first half. q2.13: its weights
predict the second half as they are and rounded, under five seeds. Warm start: its weights alone,
without n, begin models of several confidences, which learn the second half; beside them a model
that begins anew, and the learner itself going on. Losses are nats an example, of the second half.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import typer

from ftrl_core.batch import ExampleBatch
from ftrl_core.interchange import Feature, LinearWeights
from ftrl_core.limits import Limits
from ftrl_core.model import Model
from ftrl_core.quantized import QuantizedModel
from ftrl_core.synthesis import model_of, weights_of
from scripts import data_logs

CONFIG: dict[str, Any] = {"table_bits": 22, "optimizer": {"learning_rate": 0.1, "beta": 1.0}}
CONFIDENCES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
SEEDS = range(5)
LIMITS = Limits(examples=1 << 30, request_features=1 << 40)


def log_loss(p: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    """Mean loss in nats."""
    return float(-np.mean(np.log(np.where(labels == 1, p, 1.0 - p))))


def halves(name: str) -> tuple[ExampleBatch, ExampleBatch, list[Feature]]:
    """Both halves of a log, and the features of the first."""
    examples = list(data_logs.read(name))
    features: dict[Feature, None] = {}
    for example in examples[: len(examples) // 2]:
        features |= dict.fromkeys(example["features"].items())
    batch = ExampleBatch.from_examples(examples, limits=LIMITS)
    half = len(examples) // 2
    return batch.slice(0, half), batch.slice(half, batch.rows), list(features)


def q2_13(name: str) -> str:
    """The row of a log: sizes, and what rounding does to the loss."""
    first, second, _ = halves(name)
    model = Model(CONFIG)
    model.learn(first)
    exact = log_loss(model.predict(second), second.labels)
    copies = [QuantizedModel.from_model(model, seed=seed) for seed in SEEDS]
    changes = [log_loss(c.predict(second), second.labels) / exact - 1.0 for c in copies]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **copies[0].to_arrays())
    learned = int(model.table.cells.reshape(-1, 2).any(axis=1).sum())
    size, kept = buffer.getbuffer().nbytes, copies[0].slots.size
    return (
        f"| {name} | {learned:,} | {8 * learned:,} | {kept:,} | {2 * kept:,} |"
        f" {2 * kept / (8 * learned) - 1:+.1%} | {size:,} | {exact:.5f} |"
        f" {min(changes):+.4%} to {max(changes):+.4%} |"
    )


def warm_start(name: str) -> str:
    """The row of a log: the loss of the second half after each kind of beginning."""
    first, second, features = halves(name)
    model = Model(CONFIG)
    model.learn(first)
    known = weights_of(model, features)
    alone = LinearWeights(known.features, known.w, bias=known.bias)
    losses = [log_loss(Model(CONFIG).learn(second), second.labels)]
    for confidence in CONFIDENCES:
        warm = model_of(alone, CONFIG, confidence, "mean")
        losses.append(log_loss(warm.learn(second), second.labels))
    warm = model_of(known, CONFIG, None, "mean")
    losses.append(log_loss(warm.learn(second), second.labels))
    losses.append(log_loss(model.learn(second), second.labels))
    return f"| {name} | " + " | ".join(f"{loss:.5f}" for loss in losses) + " |"


def main() -> None:
    """Print both tables as Markdown."""
    names = [name for name in data_logs.LOGS if data_logs.missing(name) is None]
    for name in names:
        print(q2_13(name), flush=True)
    for name in names:
        print(warm_start(name), flush=True)


if __name__ == "__main__":
    typer.run(main)
