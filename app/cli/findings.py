"""What a check of `clickfold doctor` found, and what would mend it."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What was looked at, whether it will do, what was seen, and what to do about it.

    A finding that will do and has a `mend` is a warning: it works, and may not for long.
    """

    what: str
    ok: bool
    detail: str
    mend: str = ""

    @property
    def mark(self) -> str:
        """ok, warn or FAIL."""
        return "FAIL" if not self.ok else "warn" if self.mend else "ok"


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} TiB"
