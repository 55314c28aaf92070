"""What stands in Redis between two lives: both kept manifests, and the log after the older one.

A recovery takes the newest manifest, so that a damaged older one, or a log trimmed too far, would
stay unseen until the day it is needed. Here both are loaded each time, and their digests go to the
judge. A checkpoint may be committed meanwhile by another service; then it is looked at again.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import redis

from ftrl_core.checkpoint import Manifest
from ftrl_core.errors import ClickfoldError
from ftrl_core.loader import Loader
from scripts.crash_run.journal import Journal

TAG = "{ctr:default}"
TRIES = 20
META = ("manifest", "previous", "previous_seq", "trimmed_seq", "seq")


def look(client: redis.Redis, journal: Journal, damaged: Container[str]) -> None:
    """Load what is kept, and note it; faults go into the journal. `damaged`: keys of pages that
    the harness itself has damaged."""
    for _ in range(TRIES):
        before = _meta(client)
        if before is None:
            return
        notes, faults = [], _log_faults(client, before)
        for name in (before["manifest"], before["previous"]):
            if name == "-":
                continue
            try:
                notes += _load(client, name, damaged)
            except (ClickfoldError, KeyError) as error:
                faults.append(f"kept manifest {name} cannot be loaded: {error}")
        faults += _orphans(client)
        if before == _meta(client):
            journal.checkpoints += [(position, digest, journal.era) for position, digest in notes]
            for fault in faults:
                journal.fault(fault)
            return


def _meta(client: redis.Redis) -> dict[str, str] | None:
    values: list[Any] = client.hmget(f"{TAG}:meta", META)
    if None in values:
        return None
    return {name: value.decode() for name, value in zip(META, values, strict=True)}


def _load(client: redis.Redis, generation: str, damaged: Container[str]) -> list[tuple[str, str]]:
    """Position and digest of a kept manifest, every byte verified; none when it names a damaged
    page. KeyError names what is lost."""
    loader = Loader(Manifest.decode(_get(client, f"{TAG}:manifest:{generation}")))
    if any(f"{TAG}:page:{owner}:{index}" in damaged for owner, index in loader.missing_pages()):
        return []
    for owner, index in loader.missing_segments():
        loader.put_segment(index, _get(client, f"{TAG}:state:{owner}:{index}"))
    for owner, index in loader.missing_pages():
        loader.put_page(index, _get(client, f"{TAG}:page:{owner}:{index}"))
    model = loader.finish()
    return [(str(model.position), model.digest())]


def _get(client: redis.Redis, key: str) -> bytes:
    value: Any = client.get(key)
    if value is None:
        raise KeyError(key)
    return bytes(value)


def _log_faults(client: redis.Redis, meta: dict[str, str]) -> list[str]:
    """The log must begin right after what was trimmed, and not after the older manifest."""
    first: Any = client.xrange(f"{TAG}:log", count=1)
    trimmed, seq = int(meta["trimmed_seq"]), int(meta["seq"])
    faults = []
    begins = int(first[0][0].split(b"-")[1]) if first else seq + 1
    if begins != trimmed + 1:
        faults.append(f"the log begins at {begins}, and was trimmed up to {trimmed}")
    if begins > 1 and (meta["previous"] == "-" or begins > int(meta["previous_seq"]) + 1):
        faults.append(f"the log begins at {begins}, after the older manifest")
    return faults


def _orphans(client: redis.Redis) -> list[str]:
    """Pages and segments of generations that nobody will ever bury."""
    names: Any = client.hkeys(f"{TAG}:generations")
    rows = {name.decode() for name in names}
    keys = [key.decode() for key in client.scan_iter(f"{TAG}:*", count=1000)]
    owned = [k for k in keys if k.split(":")[2] in ("page", "state", "manifest")]
    lost = [key for key in owned if key.split(":")[3] not in rows]
    return [f"{key} belongs to no generation" for key in lost[:1]]
