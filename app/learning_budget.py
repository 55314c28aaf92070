"""How much a key may teach: examples a second, and a share of what a model learned last.

The rate is a token bucket of each process. A request passes while there is a token left, and then
takes as many as it has examples, below nothing if need be: so a large request is possible, and what
it took too much is waited for afterwards. BURST_SECONDS of the rate can be saved up.

The share is of the latest examples folded (app/authors.py), whoever appended them; it binds only
when somebody else has learned among them, and not before a hundredth of the window is full: one
key alone is never held up, and a second one is not shut out by its first request.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.authors import WINDOW_EXAMPLES, Authors
from app.errors import Throttled
from app.key_lines import Key

BURST_SECONDS = 2.0
SHARE_RETRY_SECONDS = 5.0  # when the others will have learned is not known


class Bucket:
    """Tokens for examples, `rate` a second."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = self._most = rate * BURST_SECONDS
        self._at = clock()

    def check(self) -> None:
        """Throttled when there is no token."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens <= 0:
            detail = "the key has had its examples for now"
            raise Throttled("rate-exceeded", detail, -self._tokens / self._rate)

    def spend(self, examples: int) -> None:
        """Take tokens."""
        self._tokens -= examples


class LearningBudgets:
    """The budgets of all keys of a process; `rate` and `share` for keys that name none."""

    def __init__(self, rate: float = 0.0, share: float = 1.0) -> None:
        self._rate = rate
        self._share = share
        self._binds_all = rate > 0 or share < 1
        self._buckets: dict[tuple[int, float], Bucket] = {}

    def check(self, key: Key) -> None:
        """Throttled when the key may not learn now, however little: before anything is decoded."""
        bucket = self._bucket(key)
        if bucket is not None:
            bucket.check()

    def spend(self, key: Key, examples: int, authors: Authors) -> None:
        """Let a request of that many examples pass, or Throttled."""
        if not self._binds_all and key.rate is None and key.share is None:
            return
        share = self._share if key.share is None else key.share
        if share < 1:
            _check_share(share, examples, authors, key.number)
        bucket = self._bucket(key)
        if bucket is not None:
            bucket.check()
            bucket.spend(examples)

    def _bucket(self, key: Key) -> Bucket | None:
        rate = self._rate if key.rate is None else key.rate
        if not rate:
            return None
        bucket = self._buckets.get((key.number, rate))
        if bucket is None:
            bucket = self._buckets[key.number, rate] = Bucket(rate)
        return bucket


def _check_share(share: float, examples: int, authors: Authors, number: int) -> None:
    own, all_of_them = authors.latest(number)
    least = WINDOW_EXAMPLES // 100
    if own < all_of_them and own + examples > share * max(all_of_them + examples, least):
        detail = f"of the latest examples, {share:g} may be of one key"
        raise Throttled("share-exceeded", detail, SHARE_RETRY_SECONDS)
