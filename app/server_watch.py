"""Looks again and again whether the server still keeps the durability promised.

Settings change while a server runs, and behind one address another server may answer after a
failover. So it is asked on every new connection and every LOOK_SECONDS. While it is refused, /learn
answers 503 and names the setting, /predict goes on, and it is asked every REFUSED_SECONDS, so that
setting it right is enough. Between two looks a change is not known; a connection's first append is
held back until its server was asked (app.redis_connections).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from app.errors import RedisAway, ServerRefused
from app.redis_connections import RedisConnections
from app.replica_work import end_task

log = logging.getLogger(__name__)
LOOK_SECONDS = 30.0
REFUSED_SECONDS = 1.0


class ServerWatch:
    """Keeps `RedisConnections.refusal` true; one for a process."""

    def __init__(self, connections: RedisConnections) -> None:
        self._connections = connections
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, once."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            await end_task(self._task)

    async def _run(self) -> None:
        told: str | None = None
        while True:
            connected = self._connections.connected
            refused = self._connections.refusal is not None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    connected.wait(), REFUSED_SECONDS if refused else LOOK_SECONDS
                )
            connected.clear()
            with contextlib.suppress(RedisAway, ServerRefused):
                await self._connections.check_server()
            refusal = self._connections.refusal
            if refusal is not None and refusal.setting != told:
                log.error("learning is refused (%s): %s", refusal.setting, refusal)
            elif refusal is None and told is not None:
                log.warning("the server keeps the durability promised again")
            told = None if refusal is None else refusal.setting
