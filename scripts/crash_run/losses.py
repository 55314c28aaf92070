"""Mode everysec: Redis dies and comes back without what it had acknowledged last.

The file of commands is cut at a random byte between its size at the start of the life and its end,
as a power failure or a return to an older disk would leave it. Clients are stopped meanwhile, so
that every acknowledgement is surely before or after. A service that had folded more than what is
left must say so: in /stats, and in its log.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from scripts.crash_run import history
from scripts.crash_run.processes import Redis, Service, Violation

NOTICE_SECONDS = 15.0
MADE_BYTES = 4096  # the first commands make the model, and what is written is never half a command
LOG_LINE = "loading again"


class Losses:
    """All that an episode's Redis was made to lose."""

    def __init__(self, redis: Redis, draw: random.Random) -> None:
        self._redis, self._random = redis, draw
        self._safe_bytes = 0
        self.surviving: list[int] = []  # by era: the seq up to which `default` was kept
        self.noticed = 0

    def life_begins(self) -> None:
        """What is on disk now is not lost in this life."""
        self._redis.wait_answers()
        self._safe_bytes = self._redis.append_only_file().stat().st_size

    def may_lose(self) -> bool:
        """Whether the model itself is safely on disk."""
        return self._safe_bytes > MADE_BYTES

    def lose(self, services: Sequence[Service]) -> None:
        """With clients stopped: lose the end of the log, and see that it is noticed."""
        before = {service.pid: told(service) for service in services}
        self._redis.lose(self._cut)
        self._redis.wait_answers()
        logs = history.logs(self._redis.append_only_file())["default"]
        self.surviving.append(logs[-1][-1].seq)
        for service in services:
            self._check(service, before[service.pid])

    def _cut(self) -> None:
        path: Path = self._redis.append_only_file()
        size = path.stat().st_size
        os.truncate(path, self._random.randrange(min(self._safe_bytes, size), size + 1))

    def _check(self, service: Service, before: tuple[int, int, int] | None) -> None:
        if before is None or before[0] <= self.surviving[-1]:
            return
        deadline = time.monotonic() + NOTICE_SECONDS
        while service.is_alive():
            now = told(service)
            if now is not None and now[1] > before[1] and now[2] > before[2]:
                self.noticed += 1
                return
            if time.monotonic() > deadline:
                raise Violation("Redis lost acknowledged entries, and a service did not say so")
            time.sleep(0.02)
        self.noticed += 1  # it died of a failpoint that stands where it was noticed


def told(service: Service) -> tuple[int, int, int] | None:
    """Seq, log_regressions and lines about them; None while it serves nothing."""
    with suppress(OSError):
        status, stats = service.request("GET", "/stats", seconds=10.0)
        if status == 200:
            seq = int(stats["position"].partition("-")[2])
            lines = service.log.read_text(errors="replace").count(LOG_LINE)
            return seq, int(stats["log_regressions"]), lines
    return None
