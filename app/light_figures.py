"""What is known of a model and of this process without hashing or walking a table.

One look takes about 0.1 ms on the event loop: whole figures from the fold's sums, a copy of the
window's scores, counters. The window's own figures are computed in a thread, once a position.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from app.hub import memory_bytes
from app.replica import ModelReplica
from ftrl_core.metrics import window_figures
from ftrl_core.position import Position

Figures = dict[str, Any]


class Windows:
    """Figures of the windows of models, of the last position asked for."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Position, Figures]] = {}

    async def of(self, replica: ModelReplica) -> Figures:
        """The window's figures now."""
        model = replica.require_model()
        incarnation, position, figures = self._known.get(replica.name, ("", None, {}))
        if (incarnation, position) != (replica.incarnation, model.position):
            position = model.position
            figures = await asyncio.to_thread(window_figures, *model.metrics.ring())
            self._known[replica.name] = replica.incarnation, position, figures
        return figures


async def look(replica: ModelReplica, windows: Windows) -> Figures:
    """A replica's light figures; without those of the model while it is not served."""
    model = replica.model
    told: Figures = {"at": time.time(), "model": replica.name, "state": replica.state}
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
    return told | {"window": await windows.of(replica)}


def scraped(replica: ModelReplica, key_names: dict[int, str]) -> Figures:
    """What a replica tells the other workers and /metrics."""
    told: Figures = {
        "state": replica.state,
        "position": None,
        "live": int(replica.state == "live"),
        "can_learn": int(replica.can_learn()),
        "stale_seconds": round(replica.stale_seconds(), 3),
        "key_examples": replica.authors.examples_by_name(key_names),
        **replica.compared(),
    }
    model = replica.model
    if model is None:
        return told
    health = replica.health(model)
    return told | {
        **model.metrics.whole(),
        "position": str(model.position),
        "seq": model.position.seq,
        "examples": model.examples,
        "duplicates": model.duplicates,
        "lag_entries": replica.lag_entries(),
        "memory_bytes": memory_bytes(model.config),
        "durability_weak": int(health["durability_refused"] is not None),
        "log_bytes": health["log_bytes"],
        "log_regressions": health["log_regressions"],
        "digest_comparisons": health["digest_comparisons"],
        "digest_differences": health["digest_differences"],
        "deduplication_window_seconds": health["deduplication_window_seconds"],
        "checkpoint_age_seconds": replica.checkpoint_age_seconds(),
        "checkpoint_seq": replica.checkpoint_seq(),
    }


REPLICA = ("state", "position", "stale_seconds", "compared", "comparisons", "differences")


def side_by_side(documents: list[Figures], model: str, number: int) -> list[Figures]:
    """Of each worker's document what it says of its replica of the model; this one is `number`."""
    return [
        {
            "replica": one["replica"],
            **{name: one["models"][model][name] for name in REPLICA},
            "this": one["replica"] == number,
        }
        for one in documents
        if model in one["models"]
    ]
