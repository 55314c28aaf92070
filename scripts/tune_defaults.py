"""Choose the service's default hyper-parameters by measurement: `scripts/tune`.

One pass of progressive log loss over each real log beside the checkout, for every point of a grid;
a row is one point, a column one log, the figure its loss as a multiple of the best point's on that
log. The default is the row whose worst figure is least: one set for all logs. The last columns
tell the share of touched weights that are not zero. Prints Markdown.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from ftrl_core import ExampleBatch, Limits, Model
from scripts import data_logs

RATES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
BETAS = (0.0, 0.5, 1.0, 2.0)
ACCUMULATORS = (0.0, 0.1)
L1S = (0.0, 0.1, 0.5, 1.0)
L2S = (0.0, 0.5)
ROWS_SHOWN = 16
LIMITS = Limits(examples=1 << 30, request_features=1 << 40)


class Point(NamedTuple):
    """One setting of the grid."""

    learning_rate: float
    beta: float
    initial_accumulator_value: float
    l1_regularization_strength: float
    l2_regularization_strength: float


def measure(batch: ExampleBatch, point: Point) -> tuple[float, float]:
    """Progressive log loss, and the share of touched slots with a weight that is not zero."""
    config = {"table_bits": 20, "deduplication_window": 0, "optimizer": point._asdict()}
    model = Model(config)
    model.learn(batch)
    loss = model.stats()["log_loss"]
    z, n = model.table.cells[0::2], model.table.cells[1::2]
    threshold = point.learning_rate * point.l1_regularization_strength
    touched = max(1, int(np.count_nonzero(n)))
    return loss, int(np.count_nonzero(np.abs(z) > threshold)) / touched


def main() -> None:
    """Print the table."""
    names = [name for name in data_logs.LOGS if data_logs.missing(name) is None]
    batches = {
        name: ExampleBatch.from_examples(list(data_logs.read(name)), limits=LIMITS)
        for name in names
    }
    points = [Point(*p) for p in itertools.product(RATES, BETAS, ACCUMULATORS, L1S, L2S)]
    points = [p for p in points if p.beta or p.initial_accumulator_value]
    figures = {p: [measure(batches[name], p) for name in names] for p in points}
    best = [min(f[i][0] for f in figures.values()) for i in range(len(names))]
    worst = {p: max(f[0] / b for f, b in zip(figures[p], best, strict=True)) for p in points}
    ranked = sorted(points, key=lambda p: worst[p])
    shown = {name: round(loss, 6) for name, loss in zip(names, best, strict=True)}
    print(f"{len(points)} points; best log loss: {shown}")
    print("| " + " | ".join([*Point._fields, *names, *(f"{n} non-zero" for n in names)]) + " |")
    print("|" + "---|" * (len(Point._fields) + 2 * len(names)))
    for p in ranked[:ROWS_SHOWN]:
        losses = [f"{f[0] / b:.4f}" for f, b in zip(figures[p], best, strict=True)]
        shares = [f"{f[1]:.3f}" for f in figures[p]]
        print("| " + " | ".join([*map(str, p), *losses, *shares]) + " |")


if __name__ == "__main__":
    main()
