"""What is known of a model and of this process without hashing or walking a table.

One look takes about 0.1 ms on the event loop: whole figures from the fold's sums, a copy of the
window's scores, counters. The window's own figures are computed in a thread, once a position.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from app.replica import ModelReplica
from ftrl_core.metrics import window_figures
from ftrl_core.position import Position


class LightFigures:
    """The light figures of one replica; remembers the window's of the last position."""

    def __init__(self, replica: ModelReplica) -> None:
        self.replica = replica
        self._window: tuple[Position | None, dict[str, Any]] = (None, {})

    async def look(self) -> dict[str, Any]:
        """The figures now; without those of the model while it is not served."""
        replica = self.replica
        model = replica.model
        told: dict[str, Any] = {"at": time.time(), "model": replica.name, "state": replica.state}
        if model is None:
            return told | {"detail": replica.detail, "learn": False}
        health = replica.health(model)
        told |= {
            "detail": replica.detail,
            "learn": health["learn"],
            "position": str(model.position),
            "examples": model.examples,
            "duplicates": model.duplicates,
            "log": {
                "bytes": health["log_bytes"],
                "lag_entries": replica.lag_entries(),
                "stale_seconds": health["stale_seconds"],
                "regressions": health["log_regressions"],
            },
            "checkpoint": {
                "seq": health["checkpoint"]["seq"],
                "age_seconds": replica.checkpoint_age_seconds(),
                "seconds": health["checkpoint"]["seconds"],
            },
            "durability": health["durability"],
            "durability_refused": health["durability_refused"],
            "incarnation": replica.incarnation,
            "whole": model.metrics.whole(),
        }
        if self._window[0] != (position := model.position):
            ring = model.metrics.ring()
            self._window = position, await asyncio.to_thread(window_figures, *ring)
        return told | {"window": self._window[1]}


def replica_figures(replica: ModelReplica, number: int) -> dict[str, Any]:
    """What one replica says of itself beside others."""
    model = replica.model
    return {
        "replica": number,
        "state": replica.state,
        "position": None if model is None else str(model.position),
        "stale_seconds": round(replica.stale_seconds(), 3),
        **replica.compared(),
    }
