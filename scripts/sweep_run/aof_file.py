"""An append-only file as the server's loader sees it: commands, and what is all or nothing.

    *2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n          a unit of one command
    *1\r\n$5\r\nMULTI\r\n ... *1\r\n$4\r\nEXEC\r\n   a unit: the effects of one script

A file that is cut anywhere goes back to the end of the last whole unit before the cut: the loader
drops an incomplete command and a MULTI without its EXEC. `units` is that rule, and the sweep
compares it with the loader itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Command:
    """One command and where its bytes end in the file."""

    words: tuple[bytes, ...]
    end: int

    @property
    def name(self) -> bytes:
        """In upper case."""
        return self.words[0].upper()


@dataclass(frozen=True, slots=True)
class Unit:
    """Commands that are loaded together or not at all."""

    start: int
    commands: tuple[Command, ...]

    @property
    def end(self) -> int:
        """Offset after its last byte."""
        return self.commands[-1].end


FILE_LINE = "file appendonly.aof.1.incr.aof seq 1 type i\n"


def place_file(data_dir: Path, content: bytes) -> None:
    """Make the data directory of a server whose append-only file this is."""
    files = data_dir / "appendonlydir"
    files.mkdir(parents=True)
    (files / "appendonly.aof.manifest").write_text(FILE_LINE)
    (files / "appendonly.aof.1.incr.aof").write_bytes(content)


def incremental_file(data_dir: Path) -> Path:
    """The one incremental file of a server that has never rewritten its log."""
    (path,) = (data_dir / "appendonlydir").glob("*.incr.aof")
    return path


def commands(content: bytes, start: int = 0) -> Iterator[Command]:
    """Whole commands from `start` on; ends quietly at the first that is incomplete."""
    at = start
    while at < len(content):
        parsed = _command(content, at)
        if parsed is None:
            return
        yield parsed
        at = parsed.end


def units(content: bytes, start: int = 0) -> list[Unit]:
    """Whole units from `start` on, in order."""
    found: list[Unit] = []
    pending: list[Command] = []
    for command in commands(content, start):
        pending.append(command)
        if pending[0].name != b"MULTI" or command.name == b"EXEC":
            found.append(Unit(start, tuple(pending)))
            pending, start = [], command.end
    return found


def units_within(ends: Sequence[int], size: int) -> int:
    """How many units a file keeps that is cut after `size` bytes; `ends` are theirs."""
    return bisect_right(ends, size)


def _command(content: bytes, at: int) -> Command | None:
    header = _number(content, at, b"*")
    if header is None:
        return None
    count, at = header
    words = []
    for _ in range(count):
        size = _number(content, at, b"$")
        if size is None:
            return None
        length, at = size
        if len(content) < at + length + 2:
            return None
        words.append(content[at : at + length])
        at += length + 2
    return Command(tuple(words), at)


def _number(content: bytes, at: int, mark: bytes) -> tuple[int, int] | None:
    """The number on the line at `at`, and where the next one begins."""
    end = content.find(b"\r\n", at)
    if end < 0:
        return None
    if content[at : at + 1] != mark:
        raise ValueError(f"not a command at byte {at}")
    return int(content[at + 1 : end]), end + 2
