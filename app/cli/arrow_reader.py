"""Arrow files and streams: one row an example, as in bodies of that kind (app.ingest.arrow).

    train            tables of rows ──► batches
    learn, predict   rows ──► JSON, one row a line, because a request has many small ones

A row is called a line in messages. Both forms are read, the file (it begins with ARROW1) and the
stream; each record batch is checked in full before anything looks at it.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from app.cli.bulk import BadLine, Decoder, Parsed, reason_of
from app.cli.chunks import GZIP_MAGIC
from app.cli.examples import NumberedExample, Reject
from app.cli.failures import CommandFailed
from app.ingest import UnsupportedMediaType
from app.ingest.arrow import RESERVED, library, table_to_batch
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, BadExample, TooLarge
from ftrl_core.limits import Limits

ROWS_MAX = 8192  # of a table
_FILE_MAGIC = b"ARROW1"
_TRUSTED = Limits(features=1 << 20, request_features=1 << 40, examples=1 << 40)


def read_tables(raw: io.BufferedReader, file: str) -> Iterator[Any]:
    """The rows as checked tables of at most ROWS_MAX; raises CommandFailed."""
    try:
        pa = library()
    except UnsupportedMediaType as error:
        raise CommandFailed(f"cannot read {file}: {error}") from error
    if raw.peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)] == GZIP_MAGIC:
        raw = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw)))
    try:
        for batch in _record_batches(raw, pa):
            batch.validate(full=True)
            table = pa.Table.from_batches([batch])
            for first in range(0, table.num_rows, ROWS_MAX):
                yield table.slice(first, ROWS_MAX)
    except (pa.ArrowException, ValueError) as error:
        raise CommandFailed(f"cannot read {file}: it is no Arrow file or stream") from error


def _record_batches(raw: io.BufferedReader, pa: Any) -> Iterator[Any]:
    if raw.peek(len(_FILE_MAGIC))[: len(_FILE_MAGIC)] != _FILE_MAGIC:
        yield from pa.ipc.open_stream(raw)
        return
    reader = pa.ipc.open_file(raw if raw.seekable() else io.BytesIO(raw.read()))
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


def parse_table(table: Any, decoder: Decoder) -> Parsed:
    """The batches of a table, and its bad rows."""
    bad: list[BadLine] = []
    return Parsed(_batches(table, 0, decoder, bad), table.num_rows, bad)


def _batches(table: Any, before: int, decoder: Decoder, bad: list[BadLine]) -> list[ExampleBatch]:
    """By halves, as in bulk.Decoder.decode_all."""
    rows = table.num_rows
    try:
        return [table_to_batch(table, decoder.limits, decoder.hash_seed, True)]
    except (BadBody, BadExample, TooLarge) as error:
        if rows == 1:
            bad.append((before + 1, reason_of(error)))
            return []
    half = rows // 2
    head = _batches(table.slice(0, half), before, decoder, bad)
    return head + _batches(table.slice(half), before + half, decoder, bad)


def read_arrow(
    raw: io.BufferedReader, file: str, labelled: bool, reject: Reject
) -> Iterator[NumberedExample]:
    """The examples of a file; a row that is not one is handed to `reject`."""
    number = 0
    for table in read_tables(raw, file):
        try:
            table_to_batch(table.slice(0, 0), _TRUSTED, 0, False)  # columns of other types
        except (BadBody, BadExample, TooLarge) as error:
            raise CommandFailed(f"{file}: {reason_of(error)}") from error
        for row in table.to_pylist():
            number += 1
            label, weight = row.get("label") if labelled else None, row.get("weight")
            if labelled and label not in (0, 1):
                reject(number, "the label is neither 0 nor 1")
            elif any(_is_endless(value) for value in row.values()):
                reject(number, "a number is not finite")
            else:
                body = msgspec.json.encode(_example(row, labelled))
                yield NumberedExample(
                    file, number, body, label, 1.0 if weight is None else float(weight)
                )


def _example(row: dict[str, Any], labelled: bool) -> dict[str, Any]:
    """A row in the shape of POST /learn; what is null is left out."""
    wanted = RESERVED if labelled else RESERVED[1:]
    example = {name: row[name] for name in wanted if row.get(name) is not None}
    features = {k: v for k, v in row.items() if k not in RESERVED and v is not None}
    return {**example, "features": features}


def _is_endless(value: Any) -> bool:
    """Whether it is, or has in it, NaN or infinity: JSON would make null of it."""
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, float) and not math.isfinite(item) for item in items)
