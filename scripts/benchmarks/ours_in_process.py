"""Ours in process: decoding JSON bodies, and folding what was decoded.

    python -m scripts.benchmarks.ours_in_process FILE mixture|single

FILE has examples as JSON lines. Decoding is of bodies of 100 examples; folding is `Model.apply` of
entries of 800 (checksum, de-duplication, metrics) on a table of 2^22 slots that is all zero, its
memory touched beforehand. Prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import app  # noqa: F401 - chooses the kernel cache, before numba is imported
from app.ingest import decode_body, warm_up
from ftrl_core import ExampleBatch, Model
from ftrl_core.entry import encode_examples, whole_request
from ftrl_core.position import Position

CONFIGS: dict[str, dict[str, Any]] = {
    "mixture": {},
    "single": {"optimizer": {"learning_rate": 0.1}},
}
BODY_ROWS, ENTRY_ROWS = 100, 800
JSON, NDJSON = "application/json", "application/x-ndjson"


def joined(
    lines: Sequence[bytes], rows: int, head: bytes, between: bytes, end: bytes
) -> list[bytes]:
    """The lines in bodies of so many."""
    ends = range(rows, len(lines) + 1, rows)
    return [head + between.join(lines[e - rows : e]) + end for e in ends]


def decoded(bodies: Sequence[bytes], kind: str) -> list[ExampleBatch]:
    """A batch of each body."""
    return [decode_body(body, content_type=kind).batch for body in bodies]


def timed(work: Callable[[], Any], examples: int) -> dict[str, float]:
    """What all contenders in process print."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    seconds = time.perf_counter() - began
    return {
        "examples": examples,
        "seconds": seconds,
        "processor_seconds": time.process_time() - worked,
        "examples_per_second": examples / seconds,
    }


def fresh(config: dict[str, Any]) -> Model:
    """A model whose table has its memory."""
    model = Model(config)
    model.table.cells.fill(0)
    return model


def fold(model: Model, payloads: Sequence[bytes]) -> None:
    """Learn all entries."""
    for number, payload in enumerate(payloads, 1):
        model.apply(Position(1, number), payload)


def main(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Both figures."""
    lines = path.read_bytes().splitlines()
    bodies = joined(lines, BODY_ROWS, b'{"examples":[', b",", b"]}")
    batches = decoded(joined(lines, ENTRY_ROWS, b"", b"\n", b""), NDJSON)
    payloads = [encode_examples(batch, whole_request(batch)) for batch in batches]
    warm_up()
    fold(Model(config), payloads[:1])  # loads the kernels
    model = fresh(config)
    rows = sum(batch.rows for batch in batches)
    return {
        "decode": timed(lambda: decoded(bodies, JSON), BODY_ROWS * len(bodies)),
        "fold": timed(lambda: fold(model, payloads), rows),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), CONFIGS[sys.argv[2]])))
