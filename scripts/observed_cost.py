"""What the history, the reliability bins and slices cost the fold.

    python -m scripts.observed_cost [--bits 18 22] [--lanes 1 4] [--fields 39] [--rounds 15]

Model.apply of payloads (checksum, decoding, de-duplication, learning, metrics), as
scripts/benchmarks/fold.py makes them, three ways in turn over the same entries: `plain` scores as
before there was anything to look at, `default` is what every model does, `slices` counts by two
features as well. Figures are processor nanoseconds an example, medians; ratios are of one round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import app  # noqa: F401 - chooses the kernel cache, before numba is imported
from ftrl_core import Model
from ftrl_core.batch import F32, U8
from ftrl_core.constants import F64
from ftrl_core.entry import encode_examples, whole_request
from ftrl_core.jit import kernel
from ftrl_core.metrics import BASE_LOSS, CLICKS, LOSS, PREDICTED, WEIGHT, WINDOW, Metrics, bin_of
from ftrl_core.numbers import log
from ftrl_core.position import Position
from ftrl_core.slices import Slices
from scripts.benchmarks.fold import RATES, batches

SLICED = (0x9E3779B1, 0x3C6EF362)  # hashes of the first two fields there


@kernel
def _score(
    logits: F64, predictions: F64, labels: U8, weights: F32, skip: U8, scored: int, sums: F64,
    bins: F64, ring_logits: F32, ring_weights: F32, ring_labels: U8,
) -> int:  # fmt: skip
    """The scoring kernel without the curves."""
    for r in range(labels.size):
        if skip[r]:
            continue
        weight = np.float64(weights[r])
        clicked = np.float64(labels[r])
        base = (sums[CLICKS] + 0.5) / (sums[WEIGHT] + 1.0)
        sums[LOSS] += weight * (-log(predictions[r]) if labels[r] else -log(1.0 - predictions[r]))
        sums[BASE_LOSS] += weight * (-log(base) if labels[r] else -log(1.0 - base))
        sums[WEIGHT] += weight
        sums[CLICKS] += weight * clicked
        sums[PREDICTED] += weight * predictions[r]
        bins[np.int64(labels[r]), bin_of(logits[r])] += weight
        place = scored % WINDOW
        ring_logits[place] = logits[r]
        ring_weights[place] = weights[r]
        ring_labels[place] = labels[r]
        scored += 1
    return scored


class PlainMetrics(Metrics):
    """Metrics as they were without curves."""

    def update(
        self,
        logits: F64,
        predictions: F64,
        labels: U8,
        weights: F32,
        skip: U8,
        seq: int = 0,  # noqa: ARG002
        time_ms: int = 0,  # noqa: ARG002
    ) -> F64:
        """Score."""
        self.scored = _score(
            logits, predictions, labels, weights, skip, self.scored, self.sums, self.bins,
            self._logits, self._weights, self._labels,
        )  # fmt: skip
        return predictions


def models(bits: int, lanes: int) -> dict[str, Model]:
    """The three."""
    config = {"table_bits": bits, "optimizer": {"learning_rate": RATES[lanes]}}
    made = {name: Model(config) for name in ("plain", "default", "slices")}
    made["plain"].metrics = PlainMetrics()
    made["slices"].slices = Slices(("a", "b"), 0)
    made["slices"].slices.arrays.names[:] = SLICED
    return made


def timed(model: Model, payloads: Sequence[bytes], rows: int) -> float:
    """Processor nanoseconds an example."""
    began = time.thread_time()
    for payload in payloads:
        model.apply(Position(1, model.position.seq + 1), payload)
    return (time.thread_time() - began) * 1e9 / rows


def measure(bits: int, lanes: int, fields: int, rounds: int, single: int) -> dict[str, Any]:
    """Medians and ratios."""
    given = batches(1, fields)
    if single:
        given = [given[0].slice(i, i + 1) for i in range(min(single, given[0].rows))]
    rows = sum(batch.rows for batch in given)
    payloads = [encode_examples(batch, whole_request(batch)) for batch in given]
    compared = models(bits, lanes)
    found: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(rounds + 1):
        for name, model in compared.items():
            found[name].append(timed(model, payloads, rows))
    kept = {name: times[1:] for name, times in found.items()}
    ratios = {
        name: [a / b for a, b in zip(kept[name], kept["plain"], strict=True)]
        for name in ("default", "slices")
    }
    return {
        "table_bits": bits,
        "lanes": lanes,
        "fields": fields,
        "rows_an_entry": given[0].rows,
        **{f"{name}_ns": round(statistics.median(times), 1) for name, times in kept.items()},
        **{f"{name} / plain": round(statistics.median(r), 3) for name, r in ratios.items()},
        "spread": {name: [round(min(r), 3), round(max(r), 3)] for name, r in ratios.items()},
    }


def main() -> int:
    """Print one JSON line for each table size and number of lanes."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--bits", type=int, nargs="*", default=[18, 22])
    parser.add_argument("--lanes", type=int, nargs="*", default=[1, 4], choices=[1, 4])
    parser.add_argument("--fields", type=int, default=39)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--single", type=int, default=0, help="entries of one example, so many")
    given = parser.parse_args()
    for lanes in given.lanes:
        for bits in given.bits:
            line = measure(bits, lanes, given.fields, given.rounds, given.single)
            print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
