"""Chunks of lines to batches: what `train` does with a file, many lines at a time.

    vw      the kernel reads the whole chunk (app.ingest.vw)
    ndjson  so does the service's decoder
    csv     the kernel reads a chunk without a quote (bulk_csv)
    criteo  a line at a time, as for `learn`

A chunk in which a line is wrong is read again by halves until the line stands alone, and then the
reader that `learn` uses says what is wrong with it. So a good file costs nothing for this, and a
bad line is named in the same words as ever. Bad lines are handed on, not judged here: chunks are
read ahead, and what a bad line means is decided in the order of the file.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from app.cli.examples import NumberedExample, Reject
from app.cli.ndjson_reader import read_ndjson
from app.ingest import decode_ndjson
from app.ingest.vw import vw_batch
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, BadExample, TooLarge
from ftrl_core.features import Reader
from ftrl_core.limits import Limits
from ftrl_core.text_scan import count_line_feeds

BadLine = tuple[int, str]  # number in the chunk, from 1, and what is wrong
LineErrors = (BadBody, BadExample, TooLarge)


class Parsed(NamedTuple):
    """What a chunk holds: examples in batches, number of lines, bad lines; all in order."""

    batches: Sequence[ExampleBatch]
    lines: int
    bad: Sequence[BadLine] = ()


Parse = Callable[[bytearray], Parsed]
ReadLines = Callable[[Iterable[bytes], Reject], Iterator[NumberedExample]]


def reason_of(error: BadBody | BadExample | TooLarge) -> str:
    """What is said about a bad line."""
    return str(error) if isinstance(error, BadBody) else error.detail


def offline_limits() -> Limits:
    """The service's limits on one example; a body has none, since there is no request."""
    unbounded = 1 << 40
    return Limits(
        body_bytes=unbounded,
        decompressed_bytes=unbounded,
        examples=unbounded,
        request_features=unbounded,
    )


@dataclass(frozen=True)
class Decoder:
    """Decodes lines under one model's hash seed."""

    hash_seed: int
    limits: Limits

    def decode(self, body: bytes) -> ExampleBatch:
        """The batch of newline-delimited JSON. Raises BadBody, BadExample or TooLarge."""
        return decode_ndjson(body, self.limits, self.hash_seed)

    def decode_all(
        self, examples: Sequence[NumberedExample], bad: list[BadLine]
    ) -> list[ExampleBatch]:
        """Batches of the examples that the decoder takes; the others are added to `bad`."""
        if not examples:
            return []
        try:
            return [self.decode(b"\n".join(example.body for example in examples))]
        except LineErrors as error:
            if len(examples) == 1:
                bad.append((examples[0].line, reason_of(error)))
                return []
        half = len(examples) // 2
        return self.decode_all(examples[:half], bad) + self.decode_all(examples[half:], bad)


def line_parser(read_lines: ReadLines, decoder: Decoder) -> Parse:
    """Parses chunks a line at a time."""

    def parse(chunk: bytearray) -> Parsed:
        bad: list[BadLine] = []
        lines = list(io.BytesIO(chunk))
        read = read_lines(lines, lambda line, reason: bad.append((line, reason)))
        batches = decoder.decode_all(list(read), bad)
        return Parsed(batches, len(lines), sorted(bad))

    return parse


def ndjson_parser(decoder: Decoder) -> Parse:
    """Parses chunks of newline-delimited JSON."""
    by_line = line_parser(lambda lines, reject: read_ndjson(lines, "", True, reject), decoder)

    def parse(chunk: bytearray) -> Parsed:
        text = bytes(chunk)
        if not text.isspace():
            try:
                lines, _ = count_line_feeds(np.frombuffer(text, np.uint8))
                return Parsed((decoder.decode(text),), lines)
            except LineErrors:
                pass
        return by_line(chunk)

    return parse


def vw_parser(decoder: Decoder, id_from_tag: bool) -> Parse:
    """Parses chunks of Vowpal Wabbit text."""
    reader = Reader(decoder.hash_seed, True, decoder.limits)

    def parse(chunk: bytearray) -> Parsed:
        bad: list[BadLine] = []
        batch, lines = vw_batch(
            _without_bad_text(chunk, bad),
            reader,
            id_from_tag,
            lambda line, error: bad.append((line + 1, reason_of(error))),
        )
        return Parsed((batch,) if batch.rows else (), lines, sorted(bad))

    return parse


def _without_bad_text(text: bytearray, bad: list[BadLine]) -> bytearray:
    """The text, with lines that are not UTF-8 made blank and added to `bad`."""
    if text.isascii():
        return text
    lines = text.split(b"\n")
    for number, line in enumerate(lines):
        try:
            line.decode()
        except UnicodeDecodeError:
            bad.append((number + 1, "not UTF-8"))
            lines[number] = bytearray()
    return bytearray(b"\n").join(lines)
