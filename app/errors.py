"""Every operating error of the shell, as one tree under the core's root.

    ClickfoldError                       (ftrl_core)
    └── AppError
        ├── LogError                     what Redis, or a script of ours, said no to
        │   ├── RedisAway                surely not executed: no connection, or an error reply
        │   │   └── RedisRefused         an error reply to a write: full, read-only, loading
        │   ├── AppendUnknown            sent, no reply: executed or not, nobody knows
        │   ├── ServerRefused            the server cannot keep the durability asked for
        │   ├── ForeignKey               a key of ours holds what we did not write
        │   ├── ModelGone                no such model, or it is being deleted
        │   ├── ModelExists              create: another incarnation has the name
        │   ├── WrongIncarnation         the name now belongs to another incarnation
        │   ├── WrongEpoch               a restore or a skip came between
        │   ├── LogRegressed             the log lost entries that the caller has folded
        │   ├── StaleBatch               a late copy of a call that was given up
        │   ├── ProducerUnknown          an evicted producer, or one never seen
        │   ├── LogFull                  the cap on the log's bytes is reached
        │   ├── SkipRefused              a checkpoint past the position exists
        │   └── CheckpointRefused        begin, put, commit, drop or restore: see its `reason`
        ├── Unavailable                  503: try later; says whether a /learn was learned
        ├── Throttled                    429: too much for the key, for now
        ├── IdempotencyConflict          422: the key came before with another body
        ├── ModelNotFound                404
        └── Conflict                     409

RedisAway and AppendUnknown are kept apart because they are answered differently: after the first
a client is told `not_learned`, after the second `unknown`. What is a refusal of a script is never
either of them: a script validates everything before its first write, so a refusal wrote nothing.
Messages never hold a password, a payload or a client's input.
"""

from __future__ import annotations

from ftrl_core.errors import ClickfoldError


class AppError(ClickfoldError):
    """Root of the shell's errors."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class LogError(AppError):
    """Root of what the event log, the checkpoint store and the model index raise."""


class RedisAway(LogError):
    """Surely not executed: Redis could not be reached, or replied with an error."""


class RedisRefused(RedisAway):
    """A write was answered with an error, so nothing was executed; reads may well go on."""


class AppendUnknown(LogError):
    """A write was sent and no reply came. Repeat the very same call to learn what happened."""


class ServerRefused(LogError):
    """The server cannot be used as asked; `setting` names the one that is wrong."""

    def __init__(self, setting: str, detail: str) -> None:
        super().__init__(detail)
        self.setting = setting


def not_durable(refusal: ServerRefused) -> Unavailable:
    """503 because the server would not keep what is acknowledged; the setting is named."""
    detail = f"Redis does not keep what is promised: {refusal.setting}"
    return Unavailable(detail, "not-durable", "not_learned", 1.0)


class ForeignKey(LogError):
    """A key of ours has another type or an id we did not give: somebody else writes there."""


class ModelGone(LogError):
    """The model does not exist, or its `delete` entry has been appended."""


class ModelExists(LogError):
    """The name is taken: by `incarnation`, which is being deleted when `deleting`."""

    def __init__(self, incarnation: str, *, deleting: bool) -> None:
        super().__init__("the name belongs to a model that exists")
        self.incarnation = incarnation
        self.deleting = deleting


class WrongIncarnation(LogError):
    """The model was deleted and made again: `incarnation` is the one that lives now."""

    def __init__(self, incarnation: str) -> None:
        super().__init__("the model was made again under the same name")
        self.incarnation = incarnation


class WrongEpoch(LogError):
    """The log is in epoch `epoch`: read up to the entry that began it, then call again."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the log is in epoch {epoch}")
        self.epoch = epoch


class LogRegressed(LogError):
    """The log does not hold the caller's position with its nonce: drop memory and reload."""


class StaleBatch(LogError):
    """The producer has appended a later batch since; this one is never appended."""


class ProducerUnknown(LogError):
    """The producer was evicted, or starts from a position too old to tell it from one that was.

    Draw a new producer id, read up to the head, and start again with batch number 1.
    """


class LogFull(LogError):
    """The cap on the log's bytes is reached; a checkpoint and a trim make room again."""

    def __init__(self, detail: str, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after  # seconds


class SkipRefused(LogError):
    """A kept checkpoint lies at or past the position, so nothing needs to be skipped."""


class CheckpointRefused(LogError):
    """A step of a checkpoint is refused; `reason` is one of

    `unregistered` no row for the generation (a lossy restart, or it was dropped);
    `dead`         its base is no longer kept, so its pages could name dropped ones;
    `closed`       it is committed or pinned already, so nothing more is written to it;
    `base_gone`    begin or commit: the base is not one of the two manifests kept;
    `incomplete`   commit or restore: the registration counts other pages or segments;
    `not_newer`    commit: the newest manifest is already at this position or past it;
    `stale_drop`   drop: the manifests kept are no longer those the caller decided by;
    `in_use`       drop: the generation is open, kept, or pinned by a restore;
    `live`         delete_finish: the model is not deleted, or generations are left.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the checkpoint step is refused: {reason}")
        self.reason = reason


class Unavailable(AppError):
    """503: `outcome` is `not_learned`, `unknown`, or None where nothing was to be learned."""

    def __init__(
        self,
        detail: str,
        type_slug: str,
        outcome: str | None = None,
        retry_after: float | None = None,
        status: int = 503,
    ) -> None:
        super().__init__(detail)
        self.type_slug = type_slug
        self.outcome = outcome
        self.retry_after = retry_after  # seconds; None: no Retry-After header
        self.status = status


class IdempotencyConflict(AppError):
    """422: the idempotency key came before with another body."""


class Throttled(AppError):
    """429: the key may not learn so much now; `slug` says which bound it met."""

    def __init__(self, slug: str, detail: str, retry_after: float) -> None:
        super().__init__(detail)
        self.slug = slug
        self.retry_after = retry_after  # seconds


class ModelNotFound(AppError):
    """404: this process hosts no such model."""


class Conflict(AppError):
    """409: the request contradicts the state of the model; `slug` names how."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug
