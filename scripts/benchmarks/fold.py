"""The fold in process, beside a kernel that only touches the same records.

    .venv/bin/python -m scripts.benchmarks.fold [--bits 18 24] [--lanes 1 4] [--fields 39]

    touch    reads each record and writes it back, in the order and with the prefetching of the
             learn kernel, and does no arithmetic: the floor that memory sets
    learn    the bare learn kernel
    fold     Model.apply of decoded entries: de-duplication, learn kernel, progressive metrics
    apply    Model.apply of payloads: checksum and decoding as well

Zipf slots (exponent 1.1), values 1, entries of about 31,200 features (800 examples of 39). Every
round runs all four in turn over the same batches; figures are processor nanoseconds a feature,
medians, and for the ratios the least and the greatest as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import app  # noqa: F401 - chooses the kernel cache, before numba is imported
from ftrl_core import ExampleBatch, Model, fast
from ftrl_core.batch import F32, I64, U32, canonicalise
from ftrl_core.entry import ROWS_MAX, ExamplesEntry, encode_examples, whole_request
from ftrl_core.jit import kernel
from ftrl_core.position import Position
from ftrl_core.vector import load, spread, store

FIELDS, ENTRY_FEATURES, BATCHES = 39, 31_200, 40
RATES = {1: 0.1, 4: [0.03, 0.1, 0.3, 1.0]}


@kernel
def touch(markers: tuple[np.float32, ...], table: F32, row_offsets: I64, hashes: U32) -> None:
    """Read and write back every record; the addition keeps the store from being dropped.

    `markers` has as many elements as there are lanes, so a record is one vector, as it is in the
    learn kernel. Nothing adds up over records, for that would be a chain to wait for.
    """
    width, both = len(markers), markers + markers
    mask = np.uint32(table.size // (2 * width) - 1)
    little = spread(both, np.float32(1e-9))
    for r in range(row_offsets.size - 1):
        fast.prefetch_row(table, width, hashes, row_offsets, r + fast.AHEAD)
        for i in range(row_offsets[r], row_offsets[r + 1]):
            at = 2 * width * np.int64(hashes[i] & mask)
            store(table, at, load(both, table, at) + little)


def batches(seed: int, fields: int = FIELDS) -> list[ExampleBatch]:
    """Batches of distinct fields whose values are Zipf distributed."""
    rng = np.random.default_rng(seed)
    made = []
    rows = max(1, min(ENTRY_FEATURES // fields, ROWS_MAX))
    offsets = fields * np.arange(rows + 1, dtype=np.int64)
    names = np.tile(np.arange(1, fields + 1, dtype=np.uint32) * np.uint32(0x9E3779B1), rows)
    for _ in range(BATCHES):
        values = rng.zipf(1.1, rows * fields).astype(np.uint64)
        mixed = (values + names.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        hashes = (mixed >> np.uint64(32)).astype(np.uint32)
        ones = np.ones(rows * fields, np.float32)
        made.append(
            ExampleBatch(
                *canonicalise(offsets, names, hashes, ones),
                (rng.random(rows) < 0.2).astype(np.uint8),
                np.ones(rows, np.float32),
                np.zeros(rows, np.uint64),
            )
        )
    return made


def timed(run: Callable[[ExampleBatch], Any], given: Sequence[ExampleBatch]) -> float:
    """Processor nanoseconds a feature."""
    began = time.thread_time()
    for batch in given:
        run(batch)
    return (time.thread_time() - began) * 1e9 / sum(batch.nnz for batch in given)


def runs(
    bits: int, lanes: int, given: Sequence[ExampleBatch]
) -> dict[str, Callable[[ExampleBatch], Any]]:
    """What is compared, by name, each with a table of its own."""
    config = {"table_bits": bits, "optimizer": {"learning_rate": RATES[lanes]}}
    bare, folded, whole = Model(config), Model(config), Model(config)
    payloads = {id(batch): encode_examples(batch, whole_request(batch)) for batch in given}
    rows, nnz = given[0].rows, max(batch.nnz for batch in given)
    touched = Model(config).table.cells  # as well placed in memory
    skip, logits, out = np.zeros(rows, np.uint8), np.empty(rows), np.empty(rows)
    views = np.zeros(nnz, np.uint8)
    state = bare.coefficients
    markers = (np.float32(0.0),) * lanes

    def learn(batch: ExampleBatch) -> None:
        fast.learn_batch(
            markers, state.table.cells, state.bias, state.posterior, state.constants, 0, 1,
            batch.row_offsets, batch.feature_hashes, batch.values, views, batch.labels,
            batch.weights, skip, state.table.page_seqs, state.table.page_shift, 1, logits, out,
        )  # fmt: skip

    def fold(batch: ExampleBatch) -> None:
        position = Position(1, folded.position.seq + 1)
        folded.apply(position, ExamplesEntry(batch, whole_request(batch)))

    def apply(batch: ExampleBatch) -> None:
        position = Position(1, whole.position.seq + 1)
        whole.apply(position, payloads[id(batch)])

    return {
        "touch": lambda batch: touch(markers, touched, batch.row_offsets, batch.feature_hashes),
        "learn": learn,
        "fold": fold,
        "apply": apply,
    }


def measure(bits: int, lanes: int, rounds: int, given: Sequence[ExampleBatch]) -> dict[str, Any]:
    """Medians and ratios of one table size and number of lanes."""
    compared = runs(bits, lanes, given)
    figures: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(rounds + 1):
        for name, run in compared.items():
            figures[name].append(timed(run, given))
    kept = {name: found[1:] for name, found in figures.items()}  # the first compiles and touches
    pairs = (("learn", "touch"), ("fold", "learn"), ("apply", "learn"))
    ratios = {
        f"{of} / {to}": [a / b for a, b in zip(kept[of], kept[to], strict=True)] for of, to in pairs
    }
    return {
        "table_bits": bits,
        "lanes": lanes,
        **{f"{name}_ns": round(statistics.median(found), 2) for name, found in kept.items()},
        "fields": given[0].nnz // given[0].rows,
        **{name: round(statistics.median(found), 2) for name, found in ratios.items()},
        "spread": {name: [round(min(r), 2), round(max(r), 2)] for name, r in ratios.items()},
    }


def main() -> int:
    """Print one JSON line for each table size and number of lanes."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--bits", type=int, nargs="*", default=[18, 24])
    parser.add_argument("--lanes", type=int, nargs="*", default=[1, 4], choices=[1, 4])
    parser.add_argument("--fields", type=int, default=FIELDS)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    made = batches(1, given.fields)
    for lanes in given.lanes:
        for bits in given.bits:
            print(json.dumps(measure(bits, lanes, given.rounds, made)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
