"""What a replica knows of Redis, and what it says to learners meanwhile.

    answers     reads and writes work
    refuses     it can be read and answers writes with an error: out of memory, read-only, full
                disk, forbidden, or somebody else's entry at the end of the log
    is away     it cannot be read: no connection, no answer, loading

A refusal, and a write without a reply, are not over when a read works (a failover pauses writes
alone): the owner asks with lua/probe.lua, which writes nothing, until an append would be taken. So
/readyz does not flap, learners do not wait for a timeout each, and the log says it once.
"""

from __future__ import annotations

import logging
import time

from app.errors import AppendUnknown, ForeignKey, LogError, RedisRefused, Unavailable

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 1.0
SILENT_SECONDS = 2.0  # without a look at the log, though no look has failed


class RedisCondition:
    """One replica's view; changed by its owner's task only."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.away: str | None = None
        self.refused: LogError | None = None
        self.contact = time.monotonic()  # when the log was last looked at

    @property
    def takes_writes(self) -> bool:
        """Whether an append would be tried."""
        return self.away is None and self.refused is None

    def failed(self, error: LogError) -> None:
        """A read or a write ended so. After a silence a read that works proves nothing."""
        if isinstance(error, RedisRefused | ForeignKey):
            self.refuses(error)
        else:
            self.is_away(error)
        if isinstance(error, AppendUnknown):
            self.refused = error

    def is_away(self, error: Exception) -> None:
        """It could not be reached, or did not answer."""
        if self.away is None:
            log.warning("model %s: Redis is away: %s", self.model, error)
        self.away = str(error)

    def refuses(self, error: LogError | None) -> None:
        """It would answer a write with this error; None: not any more."""
        if error is not None and self.refused is None:
            log.warning("model %s: nothing can be learned: %s", self.model, error)
        if error is None and self.refused is not None:
            log.warning("model %s: learning goes on", self.model)
        self.refused = error

    def answers(self) -> None:
        """The log was read up to its head."""
        if self.away is not None:
            log.warning("model %s: Redis is back", self.model)
        self.away = None
        self.contact = time.monotonic()

    def stale_seconds(self) -> float:
        """For how long entries may have been missed; 0 while the log can be read."""
        silent = time.monotonic() - self.contact
        return silent if self.away or silent > SILENT_SECONDS else 0.0

    def refusal(self) -> Unavailable | None:
        """What a learner is told; None while writes are taken."""
        if self.away is not None:
            return not_learned("Redis does not answer", "redis-away")
        return as_refusal(self.refused) if self.refused is not None else None


def not_learned(detail: str, slug: str = "unavailable") -> Unavailable:
    """503 for a request of which surely nothing was learned."""
    return Unavailable(detail, slug, "not_learned", RETRY_AFTER_SECONDS)


def as_refusal(error: LogError) -> Unavailable:
    """503 for a write that was answered with this error."""
    if isinstance(error, AppendUnknown):
        return not_learned("Redis does not answer", "redis-away")
    if is_out_of_memory(error):
        return not_learned("Redis is out of memory", "log-full")
    return not_learned(str(error), "redis-refuses")


def is_out_of_memory(error: LogError) -> bool:
    """Whether trimming the log would help."""
    return isinstance(error, RedisRefused) and "OOM" in error.detail
