"""A planted bug: where, what becomes of the text there, and why that is a bug.

Texts are exact and must occur once in their file, so the list cannot rot in silence: who changes a
line that is named here learns of it from a test. Some bugs need two places, because the code checks
twice: with either check alone nothing wrong can be seen, and the mutation would be no bug.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class Misfit(Exception):
    """The text of a mutation is not, or not once, in its file."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`old`, which occurs once in `file`, becomes `new`."""

    file: str
    old: str
    new: str

    def applied_to(self, text: str) -> str:
        """The changed text. Misfit unless `old` is there exactly once."""
        count = text.count(self.old)
        if count != 1:
            raise Misfit(f"{self.file}: {count} times: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One planted bug."""

    name: str
    why: str
    edits: tuple[Edit, ...]
    detector: str = ""  # the one that can see it; "" for any

    @property
    def files(self) -> list[str]:
        """The files changed, each once."""
        return sorted({edit.file for edit in self.edits})

    def changed(self, root: Path) -> dict[str, str]:
        """Texts of the changed files by name, for the tree under root. Raises Misfit."""
        texts: dict[str, str] = {}
        for edit in self.edits:
            text = texts.get(edit.file)
            if text is None:
                text = (root / edit.file).read_text()
            texts[edit.file] = edit.applied_to(text)
        return texts


def mutation(
    name: str, why: str, file: str, old: str, new: str, *more: Edit, detector: str = ""
) -> Mutation:
    """A mutation at one place, or at this and more."""
    return Mutation(name, why, (Edit(file, old, new), *more), detector)
