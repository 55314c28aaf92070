"""What the processes of one service tell each other, so that a scrape of any is right for all.

    each worker   its counters and light figures ──► <folder>/<number>.json, once a second and
                                                     before it answers a scrape or a stream
    a scrape      reads every file: counters are summed, replicas stand side by side

A file is replaced as a whole. All that is shown comes from the files, also what the asked process
says of itself, so nothing that one scrape has shown is less at the next one, whoever answers it: a
counter that fell would look like a restart. What others counted is a second old at most. A worker
that dies leaves its file, and its successor goes on from the counters there. Gauges of a process
that is gone are not shown.

The folder is private, made by the parent before it forks, and removed at the end (that of a killed
parent stays: a few kilobytes). One process
alone has none, and shows its own document.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

PUBLISH_SECONDS = 1.0
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Which worker a process is; without a folder it is the only one."""

    number: int = 0
    folder: Path | None = None


def make_folder() -> Path:
    """A private folder for the workers of one service."""
    return Path(tempfile.mkdtemp(prefix="clickfold-workers-"))


def remove_folder(folder: Path) -> None:
    """At the end of the service."""
    shutil.rmtree(folder, ignore_errors=True)


class WorkerFigures:
    """The documents of all processes of the service; `collect` makes this one's."""

    def __init__(self, place: WorkerPlace, collect: Callable[[], Document]) -> None:
        self.place = place
        self._collect = collect
        self._writing = asyncio.Lock()  # so that no older document replaces a newer one

    def own(self) -> Document:
        """This process's document, as it is now."""
        return {"replica": self.place.number, "pid": os.getpid(), **self._collect()}

    def predecessor(self) -> Document | None:
        """What the process before in this place left; to be asked before anything is counted."""
        return None if self.place.folder is None else _read(self._file())

    async def all(self) -> list[Document]:
        """The documents of all, by number: this one's of now."""
        folder = self.place.folder
        if folder is None:
            return [self.own()]
        async with self._writing:
            return await asyncio.to_thread(self._exchange, self.own(), folder)

    async def keep_publishing(self) -> None:
        """Publish once a second, until cancelled."""
        while self.place.folder is not None:
            with contextlib.suppress(OSError):
                async with self._writing:
                    await asyncio.to_thread(_write, self._file(), self.own())
            await asyncio.sleep(PUBLISH_SECONDS)

    def _exchange(self, own: Document, folder: Path) -> list[Document]:
        _write(self._file(), own)
        found = (_read(path) for path in folder.glob("*.json"))
        return sorted((one for one in found if one is not None), key=lambda one: one["replica"])

    def _file(self) -> Path:
        assert self.place.folder is not None
        return self.place.folder / f"{self.place.number}.json"


def _write(path: Path, document: Document) -> None:
    """Replace the file."""
    beside = path.with_suffix(".new")
    beside.write_bytes(msgspec.json.encode(document))
    beside.replace(path)


def _read(path: Path) -> Document | None:
    try:
        read: Document = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return read


def is_alive(document: Mapping[str, Any]) -> bool:
    """Whether its process still runs."""
    try:
        os.kill(document["pid"], 0)
    except OSError:
        return False
    return True


def summed(counts: Iterable[Sequence[int]], length: int) -> list[int]:
    """Lists of this length, added up."""
    return [sum(column) for column in zip([0] * length, *counts, strict=True)]
