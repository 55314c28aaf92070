"""Which key wrote what, read from the log: the request table of every entry names the key.

Each replica counts while it folds, from the position at which it loaded the model: `since`. The
counts are no part of the model's state. They would change every digest and checkpoint for figures
that no arithmetic needs, and all of them can be had again from an archive of the log; and what is
decided by them, a key's share, concerns the latest WINDOW_EXAMPLES only, which every replica has
after as many. So replicas that folded the same entries agree, and one that was just started knows
less, and says so.

The window is BLOCKS blocks of examples, each with its count by key; the oldest is dropped when the
newest is full. Work is done once an entry, not once an example.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import numpy as np

from ftrl_core.deduplication import DUPLICATE, LEARN
from ftrl_core.entry import CONTINUES
from ftrl_core.model import Applied
from ftrl_core.position import START, Position

WINDOW_EXAMPLES = 100_000
BLOCKS = 100
SHOWN_MAX = 100
NOBODY = "none"  # the name of what was learned without a key


class Authors:
    """Counts by the number of a key, since a position."""

    def __init__(self, since: Position = START) -> None:
        self.since = since
        self.examples: Counter[int] = Counter()  # learned
        self.duplicates: Counter[int] = Counter()
        self.requests: Counter[int] = Counter()
        self._blocks: deque[Counter[int]] = deque([Counter()])
        self._block_examples = 0
        self._latest: Counter[int] = Counter()
        self._latest_examples = 0

    def count(self, applied: Applied) -> None:
        """Count one folded entry."""
        requests, verdicts = applied.requests, applied.verdicts.tobytes()
        if requests.size == 1:
            _, _, _, number, flags = requests.item(0)
            self._add(number, verdicts.count(LEARN), verdicts.count(DUPLICATE))
            self.requests[number] += flags & CONTINUES == 0
            return
        numbers = requests["key_number"]
        if int(numbers.min()) == int(numbers.max()):
            number = int(numbers[0])
            self._add(number, verdicts.count(LEARN), verdicts.count(DUPLICATE))
            continued = int(requests["flags"][0]) & CONTINUES  # the first alone can
            self.requests[number] += int(requests.size) - continued
            return
        ends = np.cumsum(requests["rows"], dtype=np.int64)
        begun = (requests["flags"] & CONTINUES) == 0
        learned = _sums(applied.verdicts == LEARN, ends)
        duplicates = _sums(applied.verdicts == DUPLICATE, ends)
        for number in np.unique(numbers).tolist():
            of_key = numbers == number
            self._add(number, int(learned[of_key].sum()), int(duplicates[of_key].sum()))
            self.requests[number] += int(np.count_nonzero(begun & of_key))

    def latest(self, number: int) -> tuple[int, int]:
        """How many of the latest examples are of the key, and how many there are."""
        return self._latest[number], self._latest_examples

    def to_dict(self, names: dict[int, str]) -> dict[str, Any]:
        """For /stats: by name, the busiest first; a key that is not known here by its number."""
        rows = []
        for number, requests in self.requests.most_common(SHOWN_MAX):
            own, all_of_them = self.latest(number)
            rows.append(
                {
                    "key": _name(number, names),
                    "requests": requests,
                    "examples": self.examples[number],
                    "duplicates": self.duplicates[number],
                    "latest_share": own / all_of_them if all_of_them else None,
                }
            )
        return {"since": str(self.since), "latest": self._latest_examples, "keys": rows}

    def examples_by_name(self, names: dict[int, str]) -> dict[str, int]:
        """For metrics: only names that are known, and `other`, so that nobody makes a series."""
        found: dict[str, int] = {}
        for number, examples in self.examples.items():
            name = NOBODY if number == 0 else names.get(number, "other")
            found[name] = found.get(name, 0) + examples
        return found

    def _add(self, number: int, learned: int, duplicates: int) -> None:
        self.examples[number] += learned
        if duplicates:
            self.duplicates[number] += duplicates
        self._blocks[-1][number] += learned
        self._latest[number] += learned
        self._block_examples += learned
        self._latest_examples += learned
        if self._block_examples >= WINDOW_EXAMPLES // BLOCKS:
            self._begin_block()

    def _begin_block(self) -> None:
        self._blocks.append(Counter())
        self._block_examples = 0
        while self._latest_examples > WINDOW_EXAMPLES and len(self._blocks) > 2:
            oldest = self._blocks.popleft()
            self._latest.subtract(oldest)
            self._latest_examples -= oldest.total()


def _name(number: int, names: dict[int, str]) -> str:
    return NOBODY if number == 0 else names.get(number, f"unknown ({number})")


def _sums(flags: Any, ends: Any) -> Any:
    """Of the rows of each request."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    return np.diff(sums[np.concatenate([[0], ends])])
