"""Scanned lines of text to a batch: the lines that a kernel left are read by a slow path.

What is done with a line that is wrong is the caller's: a request is refused whole, a file's reader
may drop the line and go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ftrl_core.batch import ExampleBatch, canonicalise
from ftrl_core.errors import BadBody, BadExample, TooLarge
from ftrl_core.features import Example, Triples
from ftrl_core.json_scan import with_slow_rows
from ftrl_core.text_scan import TEXT_SPARE_BYTES, ScannedLines

LineError = BadBody | BadExample | TooLarge
OnBadLine = Callable[[int, LineError], None]  # (line from 0, what is wrong); may raise
# A line and its number from 0: what it says, None for nothing. Raises LineError.
ReadLine = Callable[[bytes, int], tuple[Example, Triples] | None]


def close_text(text: bytearray) -> None:
    """End the last line of a text, and add the bytes that scans need after it."""
    text += bytes(TEXT_SPARE_BYTES) if text.endswith(b"\n") else b"\n" + bytes(TEXT_SPARE_BYTES)


def lines_to_batch(
    lines: ScannedLines, text: bytearray, read_line: ReadLine, on_bad_line: OnBadLine
) -> ExampleBatch:
    """The batch of all rows but the bad ones; `lines` is used up."""
    if lines.scanned.slow:
        _read_slow_lines(lines, text, read_line, on_bad_line)
    scanned = lines.scanned
    canonical = canonicalise(
        scanned.row_offsets, scanned.name_hashes, scanned.feature_hashes, scanned.values
    )
    return ExampleBatch(*canonical, lines.labels, lines.weights, lines.event_ids)


def _read_slow_lines(
    lines: ScannedLines, text: bytearray, read_line: ReadLine, on_bad_line: OnBadLine
) -> None:
    """Fill in the slow rows of `lines`, and take out those that say nothing or are wrong."""
    features: list[Triples] = []
    dropped: list[int] = []
    for row in lines.scanned.slow:
        number = int(lines.line_numbers[row])
        read = None
        try:
            read = read_line(bytes(text[lines.starts[row] : lines.ends[row]]), number)
        except (BadBody, BadExample, TooLarge) as error:
            on_bad_line(number, error)
        if read is None:
            dropped.append(row)
            features.append(Triples())
            continue
        example, triples = read
        lines.labels[row], lines.weights[row] = example.label, example.weight
        lines.event_ids[row] = example.event_id
        features.append(triples)
    lines.scanned = with_slow_rows(lines.scanned, features)
    if dropped:
        _drop(lines, dropped)


def _drop(lines: ScannedLines, rows: Sequence[int]) -> None:
    """Take rows without features out of `lines`."""
    lines.scanned.row_offsets = np.delete(lines.scanned.row_offsets, rows)
    lines.labels = np.delete(lines.labels, rows)
    lines.weights = np.delete(lines.weights, rows)
    lines.event_ids = np.delete(lines.event_ids, rows)
