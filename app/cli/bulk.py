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

from app.cli.chunks import Chunk
from app.cli.examples import NumberedExample, Reject
from app.cli.ndjson_reader import read_ndjson
from app.ingest import decode_ndjson
from app.ingest.vw import vw_batch
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, BadExample, TooLarge
from ftrl_core.features import Reader
from ftrl_core.limits import Limits

BadLine = tuple[int, str]  # number from 1, what is wrong
LineErrors = (BadBody, BadExample, TooLarge)


class Parsed(NamedTuple):
    """What a chunk holds: examples in batches, and the bad lines, both in order."""

    batches: Sequence[ExampleBatch]
    bad: Sequence[BadLine] = ()


Parse = Callable[[Chunk], Parsed]
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

    def parse(chunk: Chunk) -> Parsed:
        bad: list[BadLine] = []
        before = chunk.first_line - 1
        lines = io.BytesIO(chunk.text)
        read = read_lines(lines, lambda line, reason: bad.append((before + line, reason)))
        examples = [example._replace(line=before + example.line) for example in read]
        batches = decoder.decode_all(examples, bad)
        return Parsed(batches, sorted(bad))

    return parse


def ndjson_parser(decoder: Decoder) -> Parse:
    """Parses chunks of newline-delimited JSON."""
    by_line = line_parser(lambda lines, reject: read_ndjson(lines, "", True, reject), decoder)

    def parse(chunk: Chunk) -> Parsed:
        text = bytes(chunk.text)
        if text.isspace():
            return Parsed(())
        try:
            return Parsed((decoder.decode(text),))
        except LineErrors:
            return by_line(chunk)

    return parse


def vw_parser(decoder: Decoder, id_from_tag: bool) -> Parse:
    """Parses chunks of Vowpal Wabbit text."""
    reader = Reader(decoder.hash_seed, True, decoder.limits)

    def parse(chunk: Chunk) -> Parsed:
        bad: list[BadLine] = []
        text = _without_bad_text(chunk, bad)
        batch = vw_batch(
            text,
            reader,
            id_from_tag,
            lambda line, error: bad.append((chunk.first_line + line, reason_of(error))),
        )
        return Parsed((batch,) if batch.rows else (), sorted(bad))

    return parse


def _without_bad_text(chunk: Chunk, bad: list[BadLine]) -> bytearray:
    """The chunk's text, with lines that are not UTF-8 made blank and added to `bad`."""
    if chunk.text.isascii():
        return chunk.text
    lines = chunk.text.split(b"\n")
    for i, line in enumerate(lines):
        try:
            line.decode()
        except UnicodeDecodeError:
            bad.append((chunk.first_line + i, "not UTF-8"))
            lines[i] = bytearray()
    return bytearray(b"\n").join(lines)
