"""A process that runs episodes one after the other, with one template for all of them."""

from __future__ import annotations

from scripts.crash_run.episode import Episode, Outcome
from scripts.crash_run.points import Profile
from scripts.crash_run.processes import Template, Violation

_template: list[Template] = []


def run_episode(seed: str, profile: Profile, lives: int, chosen: list[str]) -> Outcome:
    """One episode, in a worker with a template of its own."""
    if not _template:
        try:
            _template.append(Template())
        except Violation as violation:
            failed = Outcome(seed, profile)
            failed.verdict.violations.append(str(violation))
            return failed
    return Episode(_template[0], seed, profile, lives, chosen).run()
