"""Every operating error of the core, as one tree.

    ClickfoldError
    ├── BadConfig          an argument of a model or optimizer (also a ValueError)
    ├── BadBody            a body that cannot be decoded at all
    ├── BadExample         a decodable example that breaks a rule
    ├── TooLarge           a limit of `Limits` is exceeded
    ├── BadEntry           the payload of a log entry is damaged or unknown
    ├── BadCheckpoint      a page, segment or manifest is damaged or unknown
    ├── BadSnapshot        a snapshot file is damaged or unknown
    ├── BadWeights         weights of another system are refused (also a ValueError)
    └── PositionNotNext    an entry was applied out of order

Messages name what was wrong and where, and never repeat the input: they travel to clients and
into logs. Broken invariants (programmer errors) are not here: they are plain assertions.
"""

from __future__ import annotations


class ClickfoldError(Exception):
    """Root of the tree; catch it to catch every operating error of the core."""


class BadConfig(ClickfoldError, ValueError):
    """A configuration value is refused; the message names the argument and the value."""


class BadBody(ClickfoldError):
    """The bytes are not a document of the stated media type."""


class _AboutExample(ClickfoldError):
    """An error that can point at an example: `row` is its index, `pointer` an RFC 6901 pointer."""

    def __init__(self, detail: str, row: int | None = None, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.row = row
        self.pointer = pointer


class BadExample(_AboutExample):
    """The document is decodable, and one of its examples breaks a rule."""


class TooLarge(_AboutExample):
    """A limit of `ftrl_core.limits.Limits` is exceeded."""


class BadEntry(ClickfoldError):
    """The payload of a log entry fails its checksum, its bounds or its version."""


class BadCheckpoint(ClickfoldError):
    """A page, a state segment or a manifest fails its checksum, its bounds or its version."""


class BadSnapshot(ClickfoldError):
    """A snapshot file fails its checksum, its bounds or its version; the message says which."""


class BadWeights(ClickfoldError, ValueError):
    """Weights to import or export are refused; the message says which line or feature, and why.

    It names features: these are files that a person converts, and no client sees the message.
    """


class PositionNotNext(ClickfoldError):
    """An entry's seq is not the model's plus one: the fold never skips and never repeats."""
