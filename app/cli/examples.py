"""What every reader of click-log files yields, and what happens to a line it cannot read.

An example travels as the bytes of one line: of newline-delimited JSON, in the shape of POST /learn,
or of Vowpal Wabbit text, which says things that JSON cannot. `learn` joins these bytes into a body
and `train` decodes that same body with the service's own decoder, so a file means the same thing
offline and over HTTP: the digests agree because there is one decoder, not because two agree.
Dictionaries were refused as the common form: they would be encoded again at once, and a JSON object
that names a feature twice would already have lost one.

A line that cannot be read is rejected through `BadLines`, which knows what the user wants: stop
and name the line, or count it and go on. Readers therefore need no flag.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from app.cli.failures import CommandFailed, say

Reject = Callable[[int, str], None]  # (line number from 1, reason); may raise CommandFailed

_NAMED_LINES_MAX = 10  # skipped lines named one by one before only the count goes on


class Format(StrEnum):
    """What --format takes."""

    NDJSON = "ndjson"
    CSV = "csv"
    VW = "vw"
    CRITEO = "criteo"
    ARROW = "arrow"


class BodyKind(NamedTuple):
    """How lines are sent: the Content-Type of the body that they make, and the query."""

    media_type: str
    query: str = ""


NDJSON_BODY = BodyKind("application/x-ndjson")
VW_BODY = BodyKind("text/x-vw")
VW_BODY_WITH_IDS = BodyKind("text/x-vw", "id=tag")


class NumberedExample(NamedTuple):
    """One example and where it came from; `label` is None where the file has none."""

    file: str
    line: int
    body: bytes
    label: int | None
    weight: float
    kind: BodyKind = NDJSON_BODY

    @property
    def place(self) -> str:
        """For messages: which line of which file."""
        return f"{self.file}: line {self.line}"


class BadLines:
    """Decides what a bad line means: the end of the command, or one more skipped line."""

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.skipped_count = 0

    def reject(self, place: str, reason: str) -> None:
        """Count a bad line, or raise CommandFailed when lines may not be skipped."""
        if not self.skip:
            raise CommandFailed(f"{place}: {reason}")
        self.skipped_count += 1
        if self.skipped_count <= _NAMED_LINES_MAX:
            say(f"{place}: {reason}; skipped")
        elif self.skipped_count == _NAMED_LINES_MAX + 1:
            say("further bad lines are skipped without a message")

    def of_file(self, file: str) -> Reject:
        """The rejecter that a reader of `file` calls with (line, reason)."""
        return lambda line, reason: self.reject(f"{file}: line {line}", reason)
