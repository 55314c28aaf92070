"""What the clients of an episode saw: sent, acknowledged, unknown. The judge's only witness.

Positions are as the service told them. `era` counts the times that Redis was made to lose what it
had acknowledged (mode everysec only), because a position may stand for something else afterwards.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Batch:
    """A request to learn, as it is sent every time."""

    model: str
    ids: tuple[str, ...]  # one an example; empty when only the key makes it unique
    key: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A 200 of /learn."""

    batch: Batch
    position: str
    accepted: int
    duplicates: int
    predictions: list[float | None] | None
    era: int


@dataclass(frozen=True, slots=True)
class Predicted:
    """A 200 of /predict for the features of one example that was sent."""

    event: str
    position: str
    prediction: float
    era: int


@dataclass
class Journal:
    """Of all clients of an episode; appended to under its lock."""

    sent: set[str] = field(default_factory=set)  # event ids, whatever became of them
    attempts: Counter[tuple[str | None, tuple[str, ...]]] = field(default_factory=Counter)
    keys_sent: set[str] = field(default_factory=set)
    not_learned: list[Batch] = field(default_factory=list)  # given up, every attempt refused
    acknowledged: list[Acknowledged] = field(default_factory=list)
    predicted: list[Predicted] = field(default_factory=list)
    checkpoints: list[tuple[str, str, int]] = field(default_factory=list)  # digests; era
    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)  # name: description
    restored: dict[int, str] = field(default_factory=dict)  # epoch: snapshot
    configured: list[dict[str, Any]] = field(default_factory=list)  # acknowledged changes
    made: set[str] = field(default_factory=set)  # models acknowledged, no DELETE sent since
    deleted: set[str] = field(default_factory=set)  # DELETE acknowledged, no PUT sent since
    faults: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    era: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, text: str) -> None:
        """Something no client should ever see."""
        with self.lock:
            self.faults.append(text)

    def count(self, what: str) -> None:
        """For the report."""
        with self.lock:
            self.answers[what] += 1
