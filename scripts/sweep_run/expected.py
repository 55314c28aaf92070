"""What a replica must hold after each unit of an append-only file, by the reference fold.

Entries are read from the XADD commands of the file itself and folded by tests/oracle alone, so
nothing here asks the service what is right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from scripts.sweep_run.aof_file import Command, Unit
from scripts.sweep_run.history import Marks
from tests.oracle.history import Answer, ExactHistory

KEY = re.compile(rb"\{ctr:([^}]*)\}:")


@dataclass(frozen=True, slots=True)
class Expected:
    """One model after a unit that touched it."""

    name: str
    incarnation: str
    state: str  # live, stuck or deleted
    answer: Answer | None  # None when deleted


class Fold:
    """The reference fold of every model of a file, unit by unit."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self.histories: dict[str, ExactHistory] = {}  # by incarnation
        self._incarnation: dict[str, str] = {}  # by name, the latest

    def after(self, unit: Unit) -> list[Expected]:
        """Take a unit; what the models that it touched must be from now on."""
        touched = set()
        for command in unit.commands:
            for word in command.words[1:4]:
                touched |= {name.decode() for name in KEY.findall(word[:200])}
            if command.name == b"XADD":
                self._entry(command)
        return [self._expected(name) for name in sorted(touched)]

    def _entry(self, command: Command) -> None:
        (name,) = (found.decode() for found in KEY.findall(command.words[1]))
        at = command.words.index(b"n", 2)  # MAXLEN and the like never stand before the id
        position, fields = command.words[at - 1].decode(), command.words[at:]
        given = dict(zip(fields[::2], fields[1::2], strict=True))
        if position == "1-1":
            self._incarnation[name] = given[b"p"].decode()
            incarnation = self._incarnation[name]
            self.histories[incarnation] = ExactHistory(
                self._marks.kept[incarnation], self._marks.restored[incarnation]
            )
        self.histories[self._incarnation[name]].add(position, given[b"b"])

    def _expected(self, name: str) -> Expected:
        incarnation = self._incarnation[name]
        history = self.histories[incarnation]
        if history.deleted:
            return Expected(name, incarnation, "deleted", None)
        state = "live" if history.stuck is None else "stuck"
        return Expected(name, incarnation, state, history.answers[history.seq])
