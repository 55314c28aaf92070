"""The log of every model from Redis' append-only file: all that was ever appended and kept on disk.

The service trims its log, but the file of commands still has every XADD, so nothing needs to follow
the log while it grows. The file is read after Redis has ended: an unfinished command at its end was
cut off when Redis loaded it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.oracle.payload import Control, Examples, read

KEY_END = "}:log"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log."""

    epoch: int
    seq: int
    nonce: bytes
    previous: bytes
    content: Examples | Control
    payload: bytes

    @property
    def position(self) -> str:
        return f"{self.epoch}-{self.seq}"


def commands(path: Path) -> Iterator[list[bytes]]:
    """Every whole command of the file, in order; one may be being written at its end."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        if data[at : at + 1] != b"*":
            raise ValueError(f"{path}: no command begins at byte {at}")
        try:
            at, words = _command(data, at)
        except ValueError:
            return
        yield words


def _command(data: bytes, at: int) -> tuple[int, list[bytes]]:
    """Where the next one begins, and its words. ValueError when it is not whole."""
    at, count = _number(data, at)
    words = []
    for _ in range(count):
        at, size = _number(data, at)
        words.append(data[at : at + size])
        at += size + 2
        if at > len(data):
            raise ValueError("the end is missing")
    return at, words


def _number(data: bytes, at: int) -> tuple[int, int]:
    end = data.index(b"\r\n", at)
    return end + 2, int(data[at + 1 : end])


def logs(path: Path, prefix: str = "ctr") -> dict[str, list[list[Entry]]]:
    """By model: the log of each incarnation, in the order in which they were made."""
    found: dict[str, list[list[Entry]]] = {}
    for words in commands(path):
        if words[0].upper() != b"XADD":
            continue
        key = words[1].decode()
        if not (key.startswith("{" + prefix + ":") and key.endswith(KEY_END)):
            continue
        entry = _entry(words)
        incarnations = found.setdefault(key[len(prefix) + 2 : -len(KEY_END)], [])
        if entry.seq == 1:
            incarnations.append([])
        incarnations[-1].append(entry)
    return found


def _entry(words: list[bytes]) -> Entry:
    epoch, seq = (int(part) for part in words[2].split(b"-"))
    fields = dict(zip(words[3::2], words[4::2], strict=True))
    return Entry(epoch, seq, fields[b"n"], fields[b"p"], read(fields[b"b"]), fields[b"b"])


def is_whole(log: list[Entry]) -> bool:
    """Whether seqs are dense and every entry names the nonce before it."""
    dense = [entry.seq for entry in log] == list(range(1, len(log) + 1))
    return dense and all(after.previous == before.nonce for before, after in pairwise(log))
