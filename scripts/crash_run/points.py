"""Which failpoints there are, what makes a service reach each, and seeded plans of lives.

A life is a plan of steps for one service process: none or some that it survives (Redis killed, a
connection lost, standing still), and one that ends it. Points are drawn like cards, so that all
come up equally often.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.failpoints import CONNECTION_POINTS, POINTS

# What a point needs; what is not listed is reached by learning.
_NEEDS = {
    "checkpoint": ("checkpoint.", "begin.", "put.", "commit.", "drop."),
    "snapshot": ("snapshot.",),
    "restore": ("restore.",),
    "configure": ("configure.",),
    "model": ("create.", "model.", "models_row.", "known."),
    "delete": ("delete.", "delete_finish."),
    "start": ("start.", "recovery.", "fold.caught_up"),
    "stop": ("stop.",),
    "embedded": ("embedded.",),
    "revived": ("embedded.revived",),
    "others": ("fold.others",),
    "repeat": ("append.repeated",),
    "control": ("fold.control", "names.folded"),
    "damage": ("damage.",),
    "doubt": ("recovery.doubt",),
    "patience": ("digest.", "probe."),  # comparisons half a minute apart, a Redis that refuses
}
OPERATIONS = {  # of the administrating client
    "snapshot": "snapshot", "restore": "restore", "configure": "configure", "model": "model",
    "delete": "delete", "control": "configure",
}  # fmt: skip
EARLY = ("start", "embedded", "damage")  # reached before the service is ready
HITS = {"learn": 12, "checkpoint": 3, "control": 2, "others": 3}
LOSSY, LOST_REPLIES = 0.1, 20
DEATHS = ("exit", "exit", "exit", "kill-both")


def need_of(point: str) -> str:
    """What makes a service reach this point."""
    fits = [need for need, starts in _NEEDS.items() if point.startswith(starts)]
    return fits[-1] if fits else "learn"


@dataclass(frozen=True, slots=True)
class Profile:
    """What an episode is like."""

    services: int = 1
    embedded: bool = False
    everysec: bool = False
    proxy: bool = False

    def reaches(self, point: str) -> bool:
        """Whether this point can come up."""
        need = need_of(point)
        if need == "patience":
            return False
        if need in ("embedded", "revived"):
            return self.embedded
        if need == "doubt":
            return self.everysec
        if need == "others":
            return self.services > 1
        if need == "damage":
            return not (self.embedded or self.everysec)
        return not self.everysec or need in ("learn", "checkpoint", "start", "stop")


@dataclass(slots=True)
class Life:
    """A plan, and what it needs."""

    plan: str
    needs: set[str] = field(default_factory=set)
    deadly: bool = True  # the plan ends the process; else the harness does
    steps: int = 1


class Deck:
    """Draws lives."""

    def __init__(
        self, draw: random.Random, profile: Profile, pid_file: str, chosen: Sequence[str] = ()
    ) -> None:
        self._random, self._profile, self._pid_file = draw, profile, pid_file
        self._points = [p for p in chosen or POINTS if profile.reaches(p)]
        self._only = bool(chosen)
        self._cards: list[str] = []

    def life(self) -> Life:
        """The next one."""
        draw = self._random
        if not self._points or (not self._only and draw.random() < 0.1):
            return Life("", deadly=False, steps=0)
        lossy = [p for p in sorted(CONNECTION_POINTS) if p in self._points]
        if lossy and draw.random() < LOSSY:
            return self._lossy(lossy)
        point = self._card()
        need = need_of(point)
        steps = self._before(need)
        if not steps and need not in EARLY and need != "stop" and draw.random() < 0.3:
            steps = [self._survived(self._card())]
        hit = draw.randrange(1, HITS.get(need, 1) + 1)
        action = "exit" if self._profile.everysec else draw.choice(DEATHS)
        steps.append(self._step(point, hit, action))
        needs = {need_of(step.split()[0]) for step in steps}
        return Life("; ".join(steps), needs, steps=len(steps))

    def _lossy(self, points: Sequence[str]) -> Life:
        """A life in which replies to writes are lost again and again, and nobody dies of it."""
        draw = self._random
        steps = [f"{draw.choice(points)} {draw.randrange(1, 5)} raise" for _ in range(LOST_REPLIES)]
        return Life("; ".join(steps), {"learn"}, deadly=False, steps=len(steps))

    def _before(self, need: str) -> list[str]:
        """What has to happen first."""
        if need == "repeat":
            return [f"redis.sent {self._random.randrange(1, 8)} raise"]
        if need == "revived":
            return [self._step("append.after", self._random.randrange(1, 8), "kill-redis")]
        return []

    def _survived(self, point: str) -> str:
        need = need_of(point)
        if need in (*EARLY, "stop", "repeat", "revived", "doubt"):
            point, need = "redis.sent", "learn"
        hit = self._random.randrange(1, HITS.get(need, 1) + 1)
        if point in CONNECTION_POINTS and self._random.random() < 0.5:
            return self._step(point, hit, "raise")
        if self._random.random() < 0.1 or self._profile.everysec:
            return f"{point} {hit} sleep 0.2"  # every death of Redis loses something there
        return self._step(point, hit, "kill-redis")

    def _step(self, point: str, hit: int, action: str) -> str:
        argument = self._pid_file if action in ("kill-redis", "kill-both") else ""
        return f"{point} {hit} {action} {argument}".rstrip()

    def _card(self) -> str:
        if not self._cards:
            self._cards = list(self._points)
            self._random.shuffle(self._cards)
        return self._cards.pop()
