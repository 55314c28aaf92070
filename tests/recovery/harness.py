"""Hubs in this process on a real server that can be stopped, killed and given an older disk.

Everything below HTTP is what runs in production: Hub, replicas, scripts, server. Each hub has a
data directory and connections of its own, so two hubs here are two machines on one Redis. A
`Disk` is a server that comes back under the same address, which the embedded one does not do by
itself: its socket lies in a fresh directory at each start, so the address is a symbolic link.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from app.embedded_server import EmbeddedServer
from app.event_log import Append, Control, EventLog
from app.hub import Hub
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from app.settings import load_settings
from ftrl_core.batch import ExampleBatch, canonicalise
from ftrl_core.position import Position

SMALL = {"table_bits": 12, "deduplication_window": 4096}
IDLE_SECONDS = 0.15
NEVER_SECONDS = 3600.0


def batch_of(
    random: np.random.Generator,
    rows: int,
    *,
    first_id: int = 0,
    features: int = 6,
    distinct: int = 1 << 12,
) -> ExampleBatch:
    """Random labelled examples in canonical form; ids count from first_id, 0 is none at all."""
    names = np.tile(np.arange(1, features + 1, dtype=np.uint32), rows)
    hashes = (random.integers(0, distinct, rows * features) * 2654435761 % 2**32).astype(np.uint32)
    offsets = features * np.arange(rows + 1, dtype=np.int64)
    ones = np.ones(rows * features, np.float32)
    offsets, names, hashes, values = canonicalise(offsets, names, hashes, ones)
    ids = np.arange(first_id, first_id + rows) if first_id else np.zeros(rows)
    return ExampleBatch(
        offsets,
        names,
        hashes,
        values,
        (random.random(rows) < 0.3).astype(np.uint8),
        np.ones(rows, np.float32),
        ids.astype(np.uint64),
    )


@asynccontextmanager
async def hub_on(
    url: str,
    directory: Path,
    *,
    config: dict[str, Any] | None = None,
    socket_timeout: float = 5.0,
    idle_seconds: float = NEVER_SECONDS,
    **settings: Any,
) -> AsyncIterator[Hub]:
    """A started hub with a data directory of its own; closed at the end."""
    durability = settings.get("durability", "fsync")
    connections = RedisConnections.from_url(url, durability, socket_timeout=socket_timeout)
    options = load_settings(
        redis_url=url,
        data_dir=directory,
        checkpoint_idle_seconds=idle_seconds,
        **settings,
    )
    hub = Hub(options, connections)
    try:
        await hub.start({**SMALL, **(config or {})})
        yield hub
    finally:
        await hub.close()
        await connections.aclose()


async def default_of(hub: Hub) -> ModelReplica:
    """The hub's model `default`, loaded."""
    replica = await hub.get("default")
    replica.require_model()
    return replica


async def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait until the condition holds; an AssertionError naming `what` when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


async def until_async(
    condition: Callable[[], Awaitable[object]], what: str, seconds: float = 10.0
) -> None:
    """The same for a condition that has to ask Redis."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


async def state_of(replica: ModelReplica) -> tuple[str, str]:
    """Position and state digest, taken together."""
    stats = await replica.stats()
    return stats["position"], stats["state_digest"]


async def assert_agree(*replicas: ModelReplica) -> tuple[str, str]:
    """All replicas at the furthest position have one digest; that position and digest."""
    position = max((r.require_model().position for r in replicas), key=lambda p: p.seq)
    for replica in replicas:
        assert await replica.wait_for(position, 10.0), f"{replica.detail} before {position}"
    states = [await state_of(replica) for replica in replicas]
    assert len(set(states)) == 1, states
    return states[0]


async def append_raw(
    hub: Hub, replica: ModelReplica, payload: bytes, control: Control | None = None
) -> Position:
    """Append whatever bytes to `default`, as a process with a defect would: the chain is right."""
    log = EventLog(hub.connections, ModelKeys("ctr", "default"))
    head = await log.head()
    append = Append(
        incarnation=replica.incarnation,
        epoch=head.epoch,
        producer=secrets.token_hex(8),
        batch_number=1,
        after=head.position,
        after_nonce=head.nonce,
        entries=[(payload, secrets.token_hex(8))],
        log_bytes_max=0,
        control=control,
    )
    return (await log.append(append)).last


class Disk:
    """A server under one address that survives kill, stop and a return to an older disk."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "redis"
        self._link = directory / "s"
        self.server = EmbeddedServer.start(self.data, "bundled")
        self._point()

    @property
    def url(self) -> str:
        return f"unix://{self._link}"

    def start(self) -> None:
        """Start again on the same data."""
        self.server = EmbeddedServer.start(self.data, "bundled")
        self._point()

    def kill(self) -> None:
        """SIGKILL, as a crash would; the address refuses until `start`."""
        self.server.kill()

    def freeze(self) -> None:
        """SIGSTOP: connections stand, nothing answers."""
        os.kill(self.server.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.server.pid, signal.SIGCONT)

    def copy_aside(self) -> Path:
        """A copy of the append-only files as they are now."""
        aside = self.data.with_name("aside")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(self.data / "appendonlydir", aside)
        return aside

    def return_to(self, aside: Path) -> None:
        """Kill, put the copy back and start: what came after it is lost."""
        self.kill()
        shutil.rmtree(self.data / "appendonlydir")
        shutil.copytree(aside, self.data / "appendonlydir")
        self.start()

    def close(self) -> None:
        """Stop for good."""
        if self.server.is_running():
            self.thaw()
            self.server.stop()

    def _point(self) -> None:
        temporary = self._link.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(self.server.socket_path)
        temporary.replace(self._link)
