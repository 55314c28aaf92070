"""Whether this process' snapshot directory is the one that all replicas share.

A restore names a file; on a replica with a directory of its own, another file or none may have that
name. So the directory's random id is kept in Redis too: the first process writes it, and one that
finds another there answers snapshot routes with 503 `snapshot-store-differs`, saying what to do.
"""

from __future__ import annotations

from app.problems import Problem
from app.redis_connections import RedisConnections
from app.snapshots import STORE_ID, SnapshotDirectory


class SnapshotStore:
    """A snapshot directory together with the id that Redis holds for it."""

    def __init__(
        self, directory: SnapshotDirectory, connections: RedisConnections, prefix: str
    ) -> None:
        self._directory = directory
        self._connections = connections
        self._key = f"{prefix}:snapshot-store"

    async def checked(self) -> SnapshotDirectory:
        """The directory. Problem 503 when Redis knows another one; raises LogError."""
        ours = self._directory.store_id
        await self._connections.write_command("SET", self._key, ours, "NX")
        kept = await self._connections.read_command("GET", self._key)
        theirs = kept.decode("ascii", "replace") if isinstance(kept, bytes) else str(kept)
        if theirs != ours:
            raise Problem(
                "snapshot-store-differs",
                "other replicas use another snapshot directory: mount that one here; if it is lost,"
                f" write {theirs} into the file {STORE_ID} of this one",
                status=503,
            )
        return self._directory

    def close(self) -> None:
        """Let go of the directory."""
        self._directory.close()
