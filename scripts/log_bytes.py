"""What a log entry would cost in other encodings: bytes on disk against processor time.

    .venv/bin/python -m scripts.log_bytes [--rows 1 32 800] [--rounds 7]

    plain        ftrl_core/entry.py as it is
    lz4, zstd    the whole payload through the codec (zstd at levels -1, 1 and 3)
    columns+...  the value hashes column by column, then the codec
    delta        column by column: the distinct hashes sorted, as differences in bytes of variable
                 length, and a number of each row's hash among them

Entries of --rows examples from each click log that is here, and of generated examples (39
categories, Pareto ids). Bytes an example; nanoseconds an example to encode and to decode, beyond
those of the plain entry, best of the rounds. The codecs are those in pyarrow.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ftrl_core.batch import ExampleBatch
from ftrl_core.entry import encode_examples, whole_request
from scripts import data_logs
from scripts.benchmarks import click_text

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
ENTRIES = 8  # of each log, one after the other


def generated(rows: int) -> list[dict[str, Any]]:
    """Examples like those of the benchmarks."""
    values, clicks = click_text.block(np.random.default_rng(1), rows)
    return [
        {"label": int(click), "features": {n: f"{v:08x}" for n, v in zip(names, row, strict=True)}}
        for names, row, click in zip(
            itertools.repeat(click_text.NAMES), values, clicks, strict=False
        )
    ]


def streams(rows: int) -> dict[str, list[ExampleBatch]]:
    """Batches of `rows` examples, by the name of their log."""
    sources = {"generated": generated(rows * ENTRIES)}
    for name in data_logs.LOGS:
        if data_logs.missing(name) is None:
            sources[name] = list(itertools.islice(data_logs.read(name), rows * ENTRIES))
    return {
        name: [ExampleBatch.from_examples(list(part)) for part in _parts(examples, rows)]
        for name, examples in sources.items()
    }


def _parts(examples: list[dict[str, Any]], rows: int) -> list[list[dict[str, Any]]]:
    return [examples[i : i + rows] for i in range(0, len(examples) - rows + 1, rows)]


def columns(batch: ExampleBatch) -> list[U32]:
    """The hashes of each field."""
    order = np.argsort(batch.name_hashes, kind="stable")
    cuts = np.flatnonzero(np.diff(batch.name_hashes[order])) + 1
    return np.split(batch.feature_hashes[order], cuts)


def varints(numbers: npt.NDArray[np.uint64]) -> bytes:
    """Numbers in groups of seven bits."""
    groups = [(numbers >> np.uint64(7 * i)) & np.uint64(127) for i in range(5)]
    needed = np.maximum(1, (np.ceil(np.log2(numbers.astype(np.float64) + 1) / 7)).astype(np.int64))
    table = np.stack(groups, axis=1).astype(np.uint8)
    return table[np.arange(5) < needed[:, None]].tobytes()


def delta(batch: ExampleBatch) -> bytes:
    """Column by column: sorted distinct hashes as differences, and each row's among them."""
    pieces = []
    for column in columns(batch):
        distinct, places = np.unique(column, return_inverse=True)
        steps = np.diff(distinct.astype(np.uint64), prepend=np.uint64(0))
        pieces += [varints(steps), varints(places.astype(np.uint64))]
    return b"".join(pieces)


def best(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the quickest round."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def codecs() -> dict[str, pa.Codec]:
    """The compressors, by name."""
    levels = {"zstd -1": -1, "zstd 1": 1, "zstd 3": 3}
    return {"lz4": pa.Codec("lz4_raw")} | {
        name: pa.Codec("zstd", compression_level=level) for name, level in levels.items()
    }


def lines(batches: list[ExampleBatch], rounds: int) -> list[tuple[str, float, float, float]]:
    """(encoding, bytes, ns to encode, ns to decode), an example."""
    count = sum(batch.rows for batch in batches)
    payloads = [encode_examples(batch, whole_request(batch)) for batch in batches]
    hash_bytes = [batch.feature_hashes.nbytes for batch in batches]
    rest = sum(map(len, payloads)) - sum(hash_bytes)
    in_columns = [np.concatenate(columns(batch)).tobytes() for batch in batches]
    made = [("plain", sum(map(len, payloads)) / count, 0.0, 0.0)]
    for name, codec in codecs().items():
        for prefix, texts, other in (("", payloads, 0), ("columns+", in_columns, rest)):
            packed = [codec.compress(text, asbytes=True) for text in texts]
            both = list(zip(packed, map(len, texts), strict=True))
            encode = best(lambda c=codec, t=texts: [c.compress(x) for x in t], rounds)
            decode = best(lambda c=codec, b=both: [c.decompress(p, n) for p, n in b], rounds)
            size = (sum(map(len, packed)) + other) / count
            made.append((prefix + name, size, encode / count * 1e9, decode / count * 1e9))
    deltas = sum(len(delta(batch)) for batch in batches) + rest
    made.append(("delta", deltas / count, float("nan"), float("nan")))
    return made


def main(arguments: Sequence[str]) -> None:
    """Print a table for each log and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32, 800])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    print("| log | rows | encoding | bytes | of plain | encode ns | decode ns |")
    print("|---|---|---|---|---|---|---|")
    for rows in options.rows:
        for name, batches in streams(rows).items():
            table = lines(batches, options.rounds)
            for encoding, size, encode, decode in table:
                share = size / table[0][1]
                print(
                    f"| {name} | {rows} | {encoding} | {size:.1f} | {share:.2f} "
                    f"| {encode:.0f} | {decode:.0f} |"
                )


if __name__ == "__main__":
    main(sys.argv[1:])
