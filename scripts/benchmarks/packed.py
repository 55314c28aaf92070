"""Examples as binary bodies: the service's packed batch, and an Arrow stream."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.benchmarks.contenders import Missing
from scripts.benchmarks.examples import Example


def bodies(kind: str, given: Sequence[Sequence[Example]]) -> tuple[str, list[bytes]]:
    """The content type and a body of each chunk; Missing where the service takes none."""
    del given
    raise Missing(f"not available: the service does not take {kind} bodies yet")
