"""From a file name to numbered examples: opening, decompressing, guessing the format, reading.

The format follows from the name (after .gz is taken off), and --format overrides it; standard
input, which has no name, is read as ndjson. Whether the bytes are compressed is seen from
their first two, not from the name, so that `-` takes a compressed stream too. A .tsv is not
guessed to be the Criteo log: a file with other columns would be learned as nonsense without a word.

Reading is lazy, a line at a time or (for `train`) a chunk of lines, so that a log larger than
memory, or an endless one on standard input, can be learned. `Sources.bytes_read` is the place in
the files, for progress.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from app.cli.chunks import GZIP_MAGIC, LINE_BYTES_MAX, in_background, in_order, read_chunks
from app.cli.criteo_reader import read_criteo
from app.cli.csv_reader import CsvColumns, read_csv
from app.cli.examples import BadLines, Format, NumberedExample, Reject
from app.cli.failures import CommandFailed, bad_usage
from app.cli.ndjson_reader import read_ndjson

if TYPE_CHECKING:  # what brings Numba in is imported where it is needed
    from app.cli import bulk
    from ftrl_core.batch import ExampleBatch

STANDARD_INPUT = "-"

_FORMAT_OF_SUFFIX = {
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".csv": Format.CSV,
    ".vw": Format.VW,
    ".arrow": Format.ARROW,
    ".arrows": Format.ARROW,
}
_TAG = "tag"
_PARSERS = 2  # threads that parse chunks: one core parses while another folds, or parses too


def format_of(name: str, chosen: Format | None) -> Format:
    """The format to read `name` in; raises typer.BadParameter if it cannot be known or read."""
    guessed = chosen or _guess(name)
    if guessed is None:
        raise bad_usage(f"cannot tell the format of {name} from its name; say which", "--format")
    return guessed


def _guess(name: str) -> Format | None:
    if name == STANDARD_INPUT:
        return Format.NDJSON
    return _FORMAT_OF_SUFFIX.get(Path(name.lower().removesuffix(".gz")).suffix)


class Sources:
    """The files of one command, read one after the other in the order given.

    Names, formats and existence are checked at once, so that the third file's misspelt name is
    not found out after an hour of learning the first two.
    """

    def __init__(
        self,
        names: Sequence[str],
        chosen: Format | None,
        columns: CsvColumns,
        labelled: bool,
        bad_lines: BadLines,
    ) -> None:
        self._formats = [format_of(name, chosen) for name in names]
        self._names = list(names)
        self._columns = columns
        self._id_from_tag = _id_from_tag(self._formats, columns)
        self._labelled = labelled
        self._bad_lines = bad_lines
        self._finished_bytes = 0
        self._current: io.BufferedReader | None = None
        self.bytes_total = _total_bytes(names)

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the files so far, as they are on disk; 0 for standard input."""
        if self._current is None or not self._current.seekable():
            return self._finished_bytes
        return self._finished_bytes + self._current.tell()

    def examples(self) -> Iterator[NumberedExample]:
        """Every example of every file; raises CommandFailed where one cannot be read."""
        for name, file_format in zip(self._names, self._formats, strict=True):
            with self._opened(name) as raw:
                reject = self._bad_lines.of_file(_shown(name))
                if file_format is Format.ARROW:
                    from app.cli.arrow_reader import read_arrow

                    yield from read_arrow(raw, _shown(name), self._labelled, reject)
                    continue
                yield from self._reader(_shown(name), file_format)(_lines(raw), reject)

    def batches(self, decoder: bulk.Decoder) -> Iterator[ExampleBatch]:
        """The same as batches, parsed ahead in threads."""
        with ThreadPoolExecutor(_PARSERS, "parsing") as pool:
            for name, file_format in zip(self._names, self._formats, strict=True):
                with self._opened(name) as raw:
                    yield from self._file_batches(raw, name, file_format, decoder, pool)

    def warm_up(self) -> None:
        """Compile or load the kernels that `batches` will need."""
        from app.ingest.decoding import warm_up_json, warm_up_vw

        if Format.VW in self._formats:
            warm_up_vw()
        if set(self._formats) != {Format.VW}:
            warm_up_json()

    def _file_batches(
        self,
        raw: io.BufferedReader,
        name: str,
        file_format: Format,
        decoder: bulk.Decoder,
        pool: ThreadPoolExecutor,
    ) -> Iterator[ExampleBatch]:
        reject = self._bad_lines.of_file(_shown(name))
        before = 0
        all_parsed: Iterator[bulk.Parsed]
        if file_format is Format.ARROW:
            from app.cli.arrow_reader import parse_table, read_tables

            tables = in_background(read_tables(raw, _shown(name)))
            all_parsed = map(partial(parse_table, decoder=decoder), tables)
        else:
            chunks = in_background(read_chunks(raw))
            before, chunks, parse = self._parser(chunks, _shown(name), file_format, decoder, reject)
            all_parsed = in_order(parse, chunks, pool, _PARSERS)
        for parsed in all_parsed:
            for line, reason in parsed.bad:
                reject(before + line, reason)
            before += parsed.lines
            yield from parsed.batches

    def _parser(
        self,
        chunks: Iterator[bytearray],
        file: str,
        file_format: Format,
        decoder: bulk.Decoder,
        reject: Reject,
    ) -> tuple[int, Iterator[bytearray], bulk.Parse]:
        """The number of lines before the examples, chunks of these, and how they are parsed."""
        from app.cli import bulk, bulk_csv

        if file_format is Format.VW:
            return 0, chunks, bulk.vw_parser(decoder, self._id_from_tag)
        if file_format is Format.NDJSON:
            return 0, chunks, bulk.ndjson_parser(decoder)
        if file_format is Format.CSV:
            return bulk_csv.csv_parser(chunks, file, self._columns, self._labelled, decoder, reject)
        return 0, chunks, bulk.line_parser(self._reader(file, file_format), decoder)

    @contextmanager
    def _opened(self, name: str) -> Iterator[io.BufferedReader]:
        """The file while it is read; raises CommandFailed, naming it, where it cannot be."""
        try:
            with _open(name) as raw:
                self._current = raw
                yield raw
                self._finished_bytes = self.bytes_read
                self._current = None
        except (EOFError, zlib.error, OSError) as error:
            raise CommandFailed(f"cannot read {name}: {error}") from error

    def _reader(self, file: str, file_format: Format) -> bulk.ReadLines:
        """How lines of the file become examples."""

        def read(lines: Iterable[bytes], reject: Reject) -> Iterator[NumberedExample]:
            if file_format is Format.CSV:
                return read_csv(lines, file, self._columns, self._labelled, reject)
            if file_format is Format.CRITEO:
                return read_criteo(lines, file, self._labelled, reject)
            if file_format is Format.VW:
                from app.cli.vw_reader import read_vw

                return read_vw(lines, file, self._labelled, self._id_from_tag, reject)
            return read_ndjson(lines, file, self._labelled, reject)

        return read


def _id_from_tag(formats: Sequence[Format], columns: CsvColumns) -> bool:
    """Whether the tag of Vowpal Wabbit text is the event id."""
    if Format.VW in formats and columns.id not in (None, _TAG):
        raise bad_usage(f"vw text has no columns; --id {_TAG} takes the tag for the id", "--id")
    return columns.id == _TAG


def _shown(name: str) -> str:
    return "standard input" if name == STANDARD_INPUT else name


def _total_bytes(names: Sequence[str]) -> int | None:
    """Size of all files together, None when standard input is among them."""
    if STANDARD_INPUT in names:
        return None
    for name in names:
        if not Path(name).is_file() and not Path(name).is_fifo():
            raise bad_usage(f"there is no file {name}", "FILE...")
    return sum(Path(name).stat().st_size for name in names)


def _open(name: str) -> AbstractContextManager[io.BufferedReader]:
    if name != STANDARD_INPUT:
        return Path(name).open("rb")
    stream = sys.stdin.buffer
    if not isinstance(stream, io.BufferedReader):
        stream = io.BufferedReader(cast(io.RawIOBase, stream))
    return nullcontext(stream)  # standard input is not ours to close


def _lines(raw: io.BufferedReader) -> Iterator[bytes]:
    """Lines of the file, decompressed if it is compressed, line ends kept."""
    if raw.peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)] == GZIP_MAGIC:
        with gzip.open(raw, "rb") as unpacked:
            yield from _bounded_lines(unpacked)
    else:
        yield from _bounded_lines(raw)


def _bounded_lines(stream: io.BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    while line := stream.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise OSError(f"a line is longer than {LINE_BYTES_MAX} bytes")
        yield line
