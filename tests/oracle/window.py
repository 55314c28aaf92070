"""The window of event ids and idempotency keys as a deque and a dict.

The rules are those of ftrl_core/deduplication.py's docstring: the last W ids in the order in which
they were folded; keys have their bits mixed so that they never meet an event id of the same text;
a request that continues takes the verdict of the one before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

LEARN, DUPLICATE, CONFLICT = 0, 1, 2
KEY_MIX = 0x9E3779B97F4A7C15


class PlainWindow:
    """Remembers the last `size` ids with their bodies."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.carried = LEARN
        self._order: deque[int] = deque()
        self._bodies: dict[int, int] = {}

    def _seen(self, identity: int, body: int) -> bool:
        """Whether the id is there; remembers it when not."""
        if self.size == 0:
            return False
        if identity in self._bodies:
            return True
        if len(self._order) == self.size:
            del self._bodies[self._order.popleft()]
        self._order.append(identity)
        self._bodies[identity] = body
        return False

    def judge(
        self, requests: Iterable[tuple[int, int, int, bool]], event_ids: Sequence[int]
    ) -> list[int]:
        """Verdicts of rows; requests are (key, body, rows, continues), 0 is no key and no id."""
        verdicts: list[int] = []
        for key, body, rows, continues in requests:
            if not continues:
                self.carried = LEARN
                mixed = key * KEY_MIX % 2**64
                if key and self._seen(mixed, body):
                    same = self._bodies[mixed] == body
                    self.carried = DUPLICATE if same else CONFLICT
            for _ in range(rows):
                event = event_ids[len(verdicts)]
                if self.carried == LEARN and event and self._seen(event, 0):
                    verdicts.append(DUPLICATE)
                else:
                    verdicts.append(self.carried)
        return verdicts

    def __len__(self) -> int:
        return len(self._order)
