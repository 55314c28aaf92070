"""How long bodies take to become batches, by media type, in process.

    .venv/bin/python -m scripts.benchmarks.bodies [--rows 1000] [--rounds 15]

The same examples of 39 categories (click_text.py) in every media type of /learn; microseconds an
example, best of the rounds. msgpack, Arrow and packed bodies are made by a client and cost it time
too: that is not in here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa

from app.ingest import decode_body
from ftrl_core.batch import ExampleBatch
from ftrl_core.entry import encode_examples, whole_request
from scripts.benchmarks import click_text


def bodies(rows: int) -> dict[str, bytes]:
    """One log in every media type; Arrow twice, with texts and with dictionaries."""
    values, clicks = click_text.block(np.random.default_rng(1), rows)
    texts = [[f"{value:08x}" for value in row] for row in values]
    examples = [
        {"label": int(click), "features": dict(zip(click_text.NAMES, row, strict=True))}
        for click, row in zip(clicks, texts, strict=True)
    ]
    batch = ExampleBatch.from_examples(examples)
    columns = {"label": pa.array(clicks.astype(np.int64))}
    columns |= {
        n: pa.array(c) for n, c in zip(click_text.NAMES, zip(*texts, strict=True), strict=True)
    }
    coded = {n: c if n == "label" else c.dictionary_encode() for n, c in columns.items()}
    return {
        "application/json": json.dumps({"examples": examples}).encode(),
        "application/x-ndjson": click_text.text("ndjson", values, clicks),
        "text/x-vw": click_text.text("namespaces", values, clicks),
        "application/msgpack": msgspec.msgpack.encode({"examples": examples}),
        "application/vnd.apache.arrow.stream; of=texts": arrow(columns),
        "application/vnd.apache.arrow.stream; of=dictionaries": arrow(coded),
        "application/x-clickfold-batch": encode_examples(batch, whole_request(batch)),
    }


def arrow(columns: dict[str, pa.Array]) -> bytes:
    """Columns as an Arrow IPC stream."""
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def main(arguments: Sequence[str]) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    print("| media type | bytes an example | us an example |")
    print("|---|---|---|")
    for kind, body in bodies(options.rows).items():
        best = float("inf")
        for _ in range(options.rounds):
            began = time.perf_counter()
            decode_body(body, content_type=kind)
            best = min(best, time.perf_counter() - began)
        size = len(body) / options.rows
        print(f"| {kind} | {size:.0f} | {best / options.rows * 1e6:.2f} |")


if __name__ == "__main__":
    main(sys.argv[1:])
