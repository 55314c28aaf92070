"""Bringing an embedded server back that died: it was killed, or the disk was full.

Meanwhile replicas predict from memory and refuse to learn; when it answers again they compare the
log with what they folded and go on. It comes back on the same data and the same socket, so nobody
needs a new address. Tries are spaced out up to half a minute, for a disk that stays full.
"""

from __future__ import annotations

import time

from app.embedded_server import EmbeddedServer, EmbeddedServerError
from app.starting import Progress

PAUSE_SECONDS = 0.5
PAUSE_SECONDS_MAX = 30.0


class EmbeddedKeeper:
    """Looks after the embedded server, where there is one; used by the main thread."""

    def __init__(self, embedded: EmbeddedServer | None, progress: Progress) -> None:
        self._embedded = embedded
        self._progress = progress
        self._pause = PAUSE_SECONDS
        self._next_try = 0.0

    def look(self) -> None:
        """Start it again if it is gone and it is time to try."""
        embedded = self._embedded
        if embedded is None or embedded.is_running() or time.monotonic() < self._next_try:
            return
        self._progress.say(f"the embedded server has ended (see {embedded.log_path}); starting it")
        try:
            embedded.revive()
        except EmbeddedServerError as error:
            self._progress.say(f"it does not start: {error}; next try in {self._pause:.0f} s")
            self._next_try = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, PAUSE_SECONDS_MAX)
        else:
            self._progress.say("the embedded server is back")
            self._next_try = time.monotonic() + PAUSE_SECONDS
            self._pause = PAUSE_SECONDS
