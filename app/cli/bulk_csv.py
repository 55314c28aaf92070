"""Chunks of comma-separated rows to batches.

The header, and so which column is what, is read by `csv_reader`. A chunk without a quote has a row
a line and is the kernel's (ftrl_core.csv_scan); one with a quote, or that is not UTF-8, is read by
the standard library's reader, and is made to end where a row ends: a quoted cell may hold line
breaks.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import numpy as np

from app.cli.bulk import BadLine, Decoder, Parse, Parsed, line_parser, reason_of
from app.cli.chunks import Chunk
from app.cli.csv_reader import (
    CsvColumns,
    CsvPlan,
    NumberedRows,
    decoded_lines,
    read_plan,
    read_rows,
)
from app.cli.examples import Reject
from app.ingest.lines import lines_to_batch
from ftrl_core.csv_scan import CATEGORY, ID, IGNORED, LABEL, NUMBER, Columns, scan_csv
from ftrl_core.errors import BadExample
from ftrl_core.features import Example, Triples
from ftrl_core.hashing import name_hash
from ftrl_core.json_string import SPARE_BYTES

_QUOTE = b'"'


def csv_parser(
    chunks: Iterator[Chunk],
    file: str,
    columns: CsvColumns,
    labelled: bool,
    decoder: Decoder,
    reject: Reject,
) -> tuple[Iterator[Chunk], Parse]:
    """Reads the header from the first chunk; the chunks of the rows, and how they are parsed.

    Raises CommandFailed and typer.BadParameter as `read_csv` does.
    """
    chunks = whole_rows(chunks)
    first = next(chunks, Chunk(1, bytearray()))
    rows = NumberedRows(io.BytesIO(first.text), reject)
    plan = read_plan(rows, file, columns, labelled)
    return _after_header(first, rows.lines_read, chunks), _parser(plan, file, decoder)


def whole_rows(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The same text, cut where no row is cut."""
    held = Chunk(1, bytearray())  # begins with a row that has not ended yet
    for chunk in chunks:
        joined = Chunk(held.first_line, held.text + chunk.text) if held.text else chunk
        done, held = _parted(joined) if _QUOTE in joined.text else (joined, Chunk(1, bytearray()))
        if done.text:
            yield done
    if held.text:
        yield held


def _parted(chunk: Chunk) -> tuple[Chunk, Chunk]:
    """The rows that end in the chunk, and the rest of it."""
    lines = list(io.BytesIO(chunk.text))
    reader = csv.reader(decoded_lines(lines, chunk.first_line == 1), strict=True)
    whole = 0  # lines
    while whole < len(lines):
        try:
            next(reader)
        except csv.Error as error:
            if reader.line_num == len(lines) and "unexpected end of data" in str(error):
                break
        whole = reader.line_num
    done = sum(map(len, lines[:whole]))
    rest = Chunk(chunk.first_line + whole, chunk.text[done:])
    return Chunk(chunk.first_line, chunk.text[:done]), rest


def _after_header(first: Chunk, lines: int, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    text = bytearray().join(list(io.BytesIO(first.text))[lines:])
    if text:
        yield Chunk(first.first_line + lines, text)
    yield from chunks


def _parser(plan: CsvPlan, file: str, decoder: Decoder) -> Parse:
    by_row = line_parser(
        lambda lines, reject: read_rows(NumberedRows(lines, reject, False), file, plan, reject),
        decoder,
    )
    columns = _columns(plan, decoder)

    def parse(chunk: Chunk) -> Parsed:
        if columns is None or _QUOTE in chunk.text or not _is_utf8(chunk.text):
            return by_row(chunk)
        return _scanned(chunk, columns, plan, decoder)

    return parse


def _is_utf8(text: bytearray) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _columns(plan: CsvPlan, decoder: Decoder) -> Columns | None:
    """The plan as the kernel takes it; None where it is beyond what the kernel takes."""
    kinds = np.full(plan.width, IGNORED, np.uint8)
    names = np.zeros(plan.width, np.uint32)
    for columns, kind in ((plan.categorical, CATEGORY), (plan.numeric, NUMBER)):
        for i, name in columns:
            data = name.encode(errors="surrogateescape")
            if len(data) > decoder.limits.name_bytes or not _is_utf8(bytearray(data)):
                return None
            kinds[i], names[i] = kind, name_hash(name, decoder.hash_seed)
    if plan.width > decoder.limits.features:
        return None
    if plan.label is not None:
        kinds[plan.label] = LABEL
    if plan.id is not None:
        kinds[plan.id] = ID
    return Columns(kinds, names)


def _scanned(chunk: Chunk, columns: Columns, plan: CsvPlan, decoder: Decoder) -> Parsed:
    """The chunk by the kernel, and row by row what that leaves."""
    text, bad = chunk.text, list[BadLine]()
    if not text.endswith(b"\n"):
        text += b"\n"
    count = text.count(b"\n")
    text += bytes(SPARE_BYTES)
    lines = scan_csv(
        np.frombuffer(text, np.uint8), columns, decoder.hash_seed, decoder.limits, count
    )
    batch = lines_to_batch(
        lines,
        text,
        lambda line, _: _read_row(line, plan, decoder),
        lambda number, error: bad.append((chunk.first_line + number, reason_of(error))),
    )
    return Parsed((batch,) if batch.rows else (), bad)


def _read_row(line: bytes, plan: CsvPlan, decoder: Decoder) -> tuple[Example, Triples] | None:
    """A row by the reader that `learn` uses; None for a blank one."""

    def refuse(_: int, reason: str) -> None:
        raise BadExample(reason)

    rows = NumberedRows([line + b"\n"], refuse, first_of_file=False)
    for example in read_rows(rows, "", plan, refuse):
        batch = decoder.decode(example.body)
        triples = Triples(
            batch.name_hashes.tolist(), batch.feature_hashes.tolist(), batch.values.tolist()
        )
        label, weight = int(batch.labels[0]), float(batch.weights[0])
        return Example(label, weight, int(batch.event_ids[0])), triples
    return None
