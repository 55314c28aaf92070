"""How many requests are answered at once: learners at most half of them, and probes always.

Requests of the direct way are not counted: each is done before the next is looked at, or waits in
the queue of its model, which is bounded.
"""

from __future__ import annotations

from app.problems import RETRY_AFTER_SECONDS, Problem
from app.route_table import Route


class RequestRoom:
    """The places of a process; a learner's is one of the general ones too."""

    def __init__(self, requests_max: int) -> None:
        self._most = requests_max
        self._learners_most = max(1, requests_max // 2)
        self.requests = self.learners = 0

    def enter(self, route: Route) -> None:
        """Take a place. Problem 503 when there is none; a probe always has one.

        A probe that is refused beside a flood would have a process ended that does its work.
        """
        if self.requests >= self._most or (route.learns and self.learners >= self._learners_most):
            self._refuse(route)
        self.requests += 1
        self.learners += route.learns

    def leave(self, route: Route) -> None:
        """Give the place back."""
        self.requests -= 1
        self.learners -= route.learns

    def _refuse(self, route: Route) -> None:
        if not route.is_probe:
            detail = "as many requests are being answered as may be at once"
            raise Problem("busy", detail, outcome="not_learned", retry_after=RETRY_AFTER_SECONDS)
