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
from itertools import chain

import numpy as np

from app.cli.bulk import BadLine, Decoder, Parse, Parsed, line_parser, reason_of
from app.cli.csv_reader import (
    CsvColumns,
    CsvPlan,
    NumberedRows,
    decoded_lines,
    read_plan,
    read_rows,
)
from app.cli.examples import Reject
from app.ingest.lines import close_text, lines_to_batch
from ftrl_core.csv_scan import CATEGORY, ID, IGNORED, LABEL, NUMBER, Columns, scan_csv
from ftrl_core.errors import BadExample
from ftrl_core.features import Example, Triples
from ftrl_core.hashing import name_hash

_QUOTE = b'"'


def csv_parser(
    chunks: Iterator[bytearray],
    file: str,
    columns: CsvColumns,
    labelled: bool,
    decoder: Decoder,
    reject: Reject,
) -> tuple[int, Iterator[bytearray], Parse]:
    """Reads the header from the first chunk: the number of its lines, the chunks of the rows after
    it, and how they are parsed.

    Raises CommandFailed and typer.BadParameter as `read_csv` does.
    """
    chunks = whole_rows(chunks)
    lines = list(io.BytesIO(next(chunks, b"")))
    rows = NumberedRows(lines, reject)
    plan = read_plan(rows, file, columns, labelled)
    first = bytearray().join(lines[rows.lines_read :])
    rest = chain([first] if first else [], chunks)
    return rows.lines_read, rest, _parser(plan, file, decoder)


def whole_rows(chunks: Iterator[bytearray]) -> Iterator[bytearray]:
    """The same text, cut where no row is cut."""
    held = bytearray()  # begins with a row that has not ended yet
    first_of_file = True
    for chunk in chunks:
        joined = held + chunk if held else chunk
        end = _rows_end(joined, first_of_file) if _QUOTE in joined else len(joined)
        held = joined[end:]  # before the chunk is handed on, and is no longer ours
        if end:
            yield joined[:end] if held else joined
            first_of_file = False
    if held:
        yield held


def _rows_end(text: bytearray, first_of_file: bool) -> int:
    """Where the last row ends that ends in the text."""
    lines = list(io.BytesIO(text))
    reader = csv.reader(decoded_lines(lines, first_of_file), strict=True)
    whole = 0  # lines
    while whole < len(lines):
        try:
            next(reader)
        except csv.Error as error:
            if reader.line_num == len(lines) and "unexpected end of data" in str(error):
                break
        whole = reader.line_num
    return sum(map(len, lines[:whole]))


def _parser(plan: CsvPlan, file: str, decoder: Decoder) -> Parse:
    by_row = line_parser(
        lambda lines, reject: read_rows(NumberedRows(lines, reject, False), file, plan, reject),
        decoder,
    )
    columns = _columns(plan, decoder)

    def parse(chunk: bytearray) -> Parsed:
        if columns is None or _QUOTE in chunk or not _is_utf8(chunk):
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


def _scanned(chunk: bytearray, columns: Columns, plan: CsvPlan, decoder: Decoder) -> Parsed:
    """The chunk by the kernel, and row by row what that leaves."""
    bad: list[BadLine] = []
    close_text(chunk)
    lines = scan_csv(np.frombuffer(chunk, np.uint8), columns, decoder.hash_seed, decoder.limits)
    batch = lines_to_batch(
        lines,
        chunk,
        lambda line, _: _read_row(line, plan, decoder),
        lambda number, error: bad.append((number + 1, reason_of(error))),
    )
    return Parsed((batch,) if batch.rows else (), lines.lines, bad)


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
