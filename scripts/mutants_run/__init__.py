"""Planted bugs: each applied to a copy of the tree, in which detectors must then find it.

A harness that finds nothing proves nothing: it may be blind. So bugs of the kinds that it is for
are planted one by one, and it must find each; `scripts/mutants` runs it, docs/mutants.md tells.
Unit tests do not count: a bug that only they see is a gap in the harness.
"""

from __future__ import annotations

from scripts.mutants_run import appending, checkpoints, folding, reading
from scripts.mutants_run.mutation import Mutation

MUTATIONS: tuple[Mutation, ...] = (
    *appending.MUTATIONS,
    *reading.MUTATIONS,
    *checkpoints.MUTATIONS,
    *folding.MUTATIONS,
    *folding.SNAPSHOT_MUTATIONS,
)
