"""From a file name to numbered examples: opening, decompressing, guessing the format, reading.

The format follows from the name (after .gz is taken off), and --format overrides it; standard
input, which has no name, is read as ndjson. Whether the bytes are compressed is seen from
their first two, not from the name, so that `-` takes a compressed stream too. A .tsv is not
guessed to be the Criteo log: a file with other columns would be learned as nonsense without a word.

Reading is lazy and a line at a time, so that a log larger than memory, or an endless one on
standard input, can be learned. `Sources.bytes_read` is the place in the files, for progress.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

from app.cli.criteo_reader import read_criteo
from app.cli.csv_reader import CsvColumns, read_csv
from app.cli.examples import BadLines, Format, NumberedExample
from app.cli.failures import CommandFailed, bad_usage
from app.cli.ndjson_reader import read_ndjson

STANDARD_INPUT = "-"
LINE_BYTES_MAX = 32 << 20  # the default limit of a request's body: no longer line can be learned
_GZIP_MAGIC = b"\x1f\x8b"

_FORMAT_OF_SUFFIX = {
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".csv": Format.CSV,
    ".vw": Format.VW,
    ".arrow": Format.ARROW,
    ".arrows": Format.ARROW,
}
_NOT_READ_YET = (Format.VW, Format.ARROW)


def format_of(name: str, chosen: Format | None) -> Format:
    """The format to read `name` in; raises typer.BadParameter if it cannot be known or read."""
    guessed = chosen or _guess(name)
    if guessed is None:
        raise bad_usage(f"cannot tell the format of {name} from its name; say which", "--format")
    if guessed in _NOT_READ_YET:
        raise bad_usage(f"format {guessed.value} cannot be read yet by this version", "--format")
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
            try:
                with _open(name) as raw:
                    self._current = raw
                    yield from self._read(name, file_format, _lines(raw))
                    self._finished_bytes = self.bytes_read
                    self._current = None
            except (EOFError, zlib.error, OSError) as error:
                raise CommandFailed(f"cannot read {name}: {error}") from error

    def _read(
        self, name: str, file_format: Format, lines: Iterable[bytes]
    ) -> Iterator[NumberedExample]:
        file = "standard input" if name == STANDARD_INPUT else name
        reject = self._bad_lines.of_file(file)
        if file_format is Format.CSV:
            return read_csv(lines, file, self._columns, self._labelled, reject)
        if file_format is Format.CRITEO:
            return read_criteo(lines, file, self._labelled, reject)
        return read_ndjson(lines, file, self._labelled, reject)


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
    if raw.peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)] == _GZIP_MAGIC:
        with gzip.open(raw, "rb") as unpacked:
            yield from _bounded_lines(unpacked)
    else:
        yield from _bounded_lines(raw)


def _bounded_lines(stream: io.BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    while line := stream.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise OSError(f"a line is longer than {LINE_BYTES_MAX} bytes")
        yield line
