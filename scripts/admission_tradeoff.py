"""The trade-off of feature admission (McMahan et al. 2013, section 4.1): slots against loss.

    .venv/bin/python -m scripts.admission_tradeoff [--examples 5000000] [--seed 1]

One learner at one learning rate folds a generated Zipf stream, and the real logs beside the
checkout, once with every feature admitted and once under each rule, all with the same table size.
Printed as Markdown: slots in use, and the change of progressive log loss and of AUC loss (1 - AUC)
in per cent. The paper's figures stand beside: its stream was Google's, its memory had no table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from ftrl_core.batch import ExampleBatch, canonicalise
from ftrl_core.limits import Limits
from ftrl_core.model import Model
from scripts import data_logs

TABLE_BITS = 24
CHUNK = 50_000
FIELDS = 8
LIMITS = Limits(examples=1 << 30, request_features=1 << 40)
RULES: dict[str, tuple[dict[str, Any] | None, str]] = {
    "every feature": (None, ""),
    "Poisson, p = .03": ({"kind": "poisson", "probability": 0.03}, "-60 %, +.020 %"),
    "Poisson, p = .1": ({"kind": "poisson", "probability": 0.1}, "-40 %, +.006 %"),
    "Bloom, n = 2": ({"kind": "bloom", "count": 2, "bits": 24}, "-66 %, +.008 %"),
    "Bloom, n = 1": ({"kind": "bloom", "count": 1, "bits": 24}, "-55 %, +.003 %"),
}


class Outcome(NamedTuple):
    """What one rule came to on one stream."""

    slots: int
    log_loss: float
    auc_loss: float


def zipf_stream(examples: int, seed: int) -> Iterator[ExampleBatch]:
    """Examples of FIELDS categories each, of Zipf popularity with an endless tail.

    A category's true weight is normal, a hash of its name; about one example in eight is a click.
    """
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(seed + 1).normal(0.0, 0.5, 1 << 16)
    names = np.arange(1, FIELDS + 1, dtype=np.uint32) * np.uint32(0x9E3779B1)
    for first in range(0, examples, CHUNK):
        rows = min(CHUNK, examples - first)
        ranks = rng.zipf(1.35, (rows, FIELDS)).astype(np.uint64)
        mixed = (ranks + names) * np.uint64(0x9E3779B97F4A7C15)
        hashes = ((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(16)).astype(np.uint32)
        logits = weights[hashes & np.uint32(0xFFFF)].sum(axis=1) - 2.2
        labels = rng.random(rows) < 1.0 / (1.0 + np.exp(-logits))
        offsets = np.arange(0, rows * FIELDS + 1, FIELDS, dtype=np.int64)
        flat = np.ones(rows * FIELDS, np.float32)
        yield ExampleBatch(
            *canonicalise(offsets, np.tile(names, rows), hashes.ravel(), flat),
            labels.astype(np.uint8),
            np.ones(rows, np.float32),
            np.zeros(rows, np.uint64),
        )


def log_stream(name: str) -> Iterator[ExampleBatch]:
    """A real log as one batch."""
    yield ExampleBatch.from_examples(list(data_logs.read(name)), limits=LIMITS)


def measure(stream: Iterable[ExampleBatch], admission: dict[str, Any] | None) -> Outcome:
    """Fold the stream under a rule."""
    model = Model(
        {
            "table_bits": TABLE_BITS,
            "deduplication_window": 0,
            "admission": admission,
            "optimizer": {"learning_rate": 0.1},
        }
    )
    for batch in stream:
        model.learn(batch)
    stats = model.stats()
    slots = int(np.count_nonzero(model.table.cells[1::2]))
    return Outcome(slots, stats["log_loss"], 1.0 - stats["auc"])


def row_of(stream: str, rule: str, outcome: Outcome, base: Outcome, paper: str) -> str:
    """A line of the table."""
    saved = 100.0 * (outcome.slots / base.slots - 1.0)
    loss = 100.0 * (outcome.log_loss / base.log_loss - 1.0)
    auc = 100.0 * (outcome.auc_loss / base.auc_loss - 1.0)
    changes = [f"{saved:+.1f} %", f"{loss:+.3f} %", f"{auc:+.3f} %"]
    if outcome is base:
        changes = ["", "", ""]
    cells = [stream, rule, f"{outcome.slots:,}", *changes, f"{outcome.log_loss:.5f}", paper]
    return f"| {' | '.join(cells)} |"


def main(
    examples: Annotated[int, typer.Option(help="Examples of the Zipf stream.")] = 5_000_000,
    seed: Annotated[int, typer.Option(help="Seed of the Zipf stream.")] = 1,
) -> None:
    """Print the table."""
    print(f"{examples:,} Zipf examples, seed {seed}, 2^{TABLE_BITS} slots\n")
    print(
        "| stream | admitted | slots in use | slots | log loss | AUC loss | log loss in nats "
        "| the paper: memory, AUC loss |\n|---|---|---|---|---|---|---|---|"
    )
    for name in ["Zipf", *(n for n in data_logs.LOGS if data_logs.missing(n) is None)]:
        base: Outcome | None = None
        for rule, (admission, paper) in RULES.items():
            stream = zipf_stream(examples, seed) if name == "Zipf" else log_stream(name)
            outcome = measure(stream, admission)
            base = base or outcome
            print(row_of(name, rule, outcome, base, paper), flush=True)


if __name__ == "__main__":
    typer.run(main)
