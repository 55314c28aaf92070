"""The append-only file of a random life, and what must come of each of its prefixes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from app.embedded_server import EmbeddedServer
from scripts.sweep_run.aof_file import Unit, units
from scripts.sweep_run.expected import Expected, Fold
from scripts.sweep_run.history import live
from tests.oracle.history import ExactHistory


@dataclass
class File:
    """The file as units, and the reference fold's answers."""

    content: bytes
    units: list[Unit]
    expected: list[list[Expected]]  # for each unit, the models that it touched
    histories: dict[str, ExactHistory]  # by incarnation
    snapshots: list[bytes]  # snapshot files taken on the way
    done: dict[str, int]
    ends: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.ends = [unit.end for unit in self.units]

    def end_of(self, count: int) -> int:
        """Bytes of the first `count` units."""
        return self.ends[count - 1] if count else 0

    def before(self, count: int) -> dict[str, Expected]:
        """Every model after the first `count` units."""
        models: dict[str, Expected] = {}
        for changed in self.expected[:count]:
            models |= {one.name: one for one in changed}
        return models

    def inner_boundaries(self) -> list[int]:
        """Ends of commands after which a unit is not whole."""
        return [c.end for unit in self.units for c in unit.commands[:-1]]


def lived(folder: Path, seed: int, operations: int) -> File:
    """Live, stop the server as a kill does, and fold what it wrote."""
    data = folder / "life"
    with EmbeddedServer.start(data, "bundled", "fsync") as server:
        life, content = asyncio.run(live(server.url, data, folder, seed, operations))
        server.kill()
    found, fold = units(content), Fold(life.marks)
    expected = [fold.after(unit) for unit in found]
    done = dict(sorted(life.done.items()))
    return File(content, found, expected, fold.histories, life.snapshots, done)
