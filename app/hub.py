"""The models of one process: which there are, made, found, loaded at first use, deleted.

Redis' index of models is the truth (app.model_index); a replica object stands for one incarnation,
so a model that was deleted and made again gets another object. `default` is made by itself only
when Redis has no index at all and the data directory remembers no model: an emptied Redis is an
alarm and not a new model.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import logging
import secrets
from dataclasses import dataclass
from typing import Any

from app.checkpoint_garbage import CheckpointGarbage
from app.checkpoint_store import CheckpointStore
from app.checkpointing import CheckpointOptions
from app.errors import Conflict, LogError, ModelExists, ModelNotFound, Unavailable
from app.failpoints import failpoint
from app.known_models import KnownModels
from app.model_index import ModelIndex
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from app.replica_work import ReplicaOptions
from app.server_watch import ServerWatch
from app.settings import Settings
from ftrl_core.config import ModelConfig
from ftrl_core.entry import encode_control
from ftrl_core.errors import UnknownVersion
from ftrl_core.model import Model
from ftrl_core.placement import SECRET_BYTES, keep_apart

log = logging.getLogger(__name__)
DEFAULT = "default"
LOAD_SECONDS = 30.0  # how long a first request waits for its model
FIXED_BYTES = 8 << 20  # of a model, beside table and window


@dataclass(frozen=True, slots=True)
class Emptied:
    """Redis has lost its models: what was remembered, and what to do."""

    detail: str


class Hub:
    """All models that this process hosts."""

    def __init__(self, settings: Settings, connections: RedisConnections) -> None:
        keep_apart(secrets.token_bytes(SECRET_BYTES))
        self.settings = settings
        self.connections = connections
        self.emptied: Emptied | None = None
        self._watch = ServerWatch(connections)
        self._index = ModelIndex(connections, settings.key_prefix)
        self._known = KnownModels(settings.data_dir, settings.key_prefix)
        self._replicas: dict[str, ModelReplica] = {}
        self._making = asyncio.Lock()
        self._patterns = [p.strip() for p in settings.models.split(",") if p.strip()]
        self._options = ReplicaOptions(
            settings.durability,
            settings.log_bytes_max,
            settings.compare_seconds,
            CheckpointOptions(
                settings.checkpoint_log_bytes, settings.checkpoint_idle_seconds, settings.trim
            ),
        )

    async def start(self, default_config: dict[str, Any] | None = None) -> None:
        """Make `default` if this is a new place, and begin to load it. Raises LogError."""
        self._watch.start()
        rows = await self._index.rows()
        known = self._known.read()
        if not rows and known:
            self.emptied = Emptied(
                f"Redis holds no models, but {self._known.path} remembers {len(known)}: its data"
                " was lost or another server is connected. Bring the data back, or remove that"
                " file to begin anew"
            )
            log.error(self.emptied.detail)
            return
        if not rows and self.hosts(DEFAULT):
            incarnation, _ = await self._make(DEFAULT, ModelConfig.from_dict(default_config or {}))
            self._begin(DEFAULT, incarnation)
        elif self.hosts(DEFAULT) and DEFAULT in rows and not rows[DEFAULT].deleted:
            self._begin(DEFAULT, rows[DEFAULT].incarnation)

    def hosts(self, name: str) -> bool:
        """Whether --models names this model."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)

    def loaded(self) -> list[ModelReplica]:
        """The replicas begun so far."""
        return list(self._replicas.values())

    async def names(self) -> list[str]:
        """Names of all models hosted here, loaded or not."""
        try:
            rows = await self._index.rows()
        except LogError:
            return sorted(self._replicas)
        return sorted(n for n, row in rows.items() if not row.deleted and self.hosts(n))

    async def get(self, name: str) -> ModelReplica:
        """The model's replica, loaded. Raises ModelNotFound, Unavailable."""
        replica = self._replicas.get(name)
        if replica is None or replica.state == "deleted":
            replica = await self._find(name)
        if replica.model is None:
            await replica.settled(LOAD_SECONDS)
        return replica

    def find_loaded(self, name: str) -> ModelReplica | None:
        """The replica if it can serve right now, without waiting."""
        replica = self._replicas.get(name)
        return replica if replica is not None and replica.model is not None else None

    async def _find(self, name: str) -> ModelReplica:
        if self.emptied is not None:
            raise Unavailable(self.emptied.detail, "unavailable", "not_learned", None)
        if not self.hosts(name):
            raise ModelNotFound("there is no such model here")
        try:
            rows = await self._index.rows()
        except LogError as error:
            raise Unavailable("Redis does not answer", "redis-away", "not_learned", 1.0) from error
        row = rows.get(name)
        known = self._known.read()
        if row is None and (name in known or (known and not rows)):
            detail = f"Redis has lost models that {self._known.path} remembers"
            raise Unavailable(detail, "unavailable", "not_learned", None)
        if row is None or row.deleted:
            raise ModelNotFound("there is no such model here")
        old = self._replicas.get(name)
        if old is not None and old.incarnation == row.incarnation and old.state != "deleted":
            return old
        if old is not None and old.incarnation == row.incarnation:
            await self._remove(name, row.incarnation)  # who deleted it has not come to that
            raise ModelNotFound("the model was deleted")
        await self._check_memory(name)
        return self._begin(name, row.incarnation)

    def _begin(self, name: str, incarnation: str) -> ModelReplica:
        keys = ModelKeys(self.settings.key_prefix, name)
        replica = ModelReplica(name, incarnation, self.connections, keys, self._options)
        self._replicas[name] = replica
        self._known.remember(name, incarnation)
        replica.start()
        return replica

    async def _check_memory(self, name: str) -> None:
        """Refuse to load what would not fit, with the arithmetic."""
        keys = ModelKeys(self.settings.key_prefix, name)
        text = await self.connections.read_command("HGET", keys.meta, "configuration")
        try:
            needed = memory_bytes(ModelConfig.stored(json.loads(text))) if text else 0
        except UnknownVersion:
            return  # its replica says so, and loads nothing
        except ValueError as error:
            detail = "the model's configuration in Redis is damaged"
            raise Unavailable(detail, "unavailable", "not_learned", None) from error
        models = [r.model for r in self._replicas.values() if r.model is not None]
        used = sum(memory_bytes(model.config) for model in models)
        limit = self.settings.memory_limit
        if used + needed > limit:
            raise Unavailable(
                f"the model needs {needed} bytes, {used} of the memory limit of {limit} are used",
                "memory-limit",
                "not_learned",
                None,
            )

    async def create(
        self, name: str, config: dict[str, Any], *, from_model: Model | None = None
    ) -> tuple[ModelReplica, bool]:
        """Make a model, or find the same one; whether it was made. Raises BadConfig, Conflict.

        One that has learned nothing is replaced. `from_model` is the content of a snapshot.
        """
        async with self._making:
            wanted = from_model.config if from_model else ModelConfig.from_dict(config)
            while True:
                existing = await self._existing(name)
                if existing is not None:
                    if await existing.was_deleted():  # elsewhere, a moment ago
                        await existing.until_deleted(LOAD_SECONDS)
                        continue
                    model = existing.require_model()
                    if model.config == wanted and from_model is None:
                        return existing, False
                    if model.examples or model.duplicates:
                        raise Conflict("model-exists", "a model of that name has learned already")
                    await self._delete(existing)
                self.require_room(wanted)
                incarnation, made = await self._make(name, wanted)
                replica = self._begin(name, incarnation)
                await replica.settled(LOAD_SECONDS)
                if made:
                    break  # otherwise another process was quicker: look at what it made
            if from_model is not None:
                await replica.restore(from_model)
            return replica, True

    def require_room(self, config: ModelConfig) -> None:
        """Raise Conflict for a model that alone is larger than the memory limit."""
        needed, limit = memory_bytes(config), self.settings.memory_limit
        if needed > limit:
            detail = f"the model would need {needed} bytes, the memory limit is {limit}"
            raise Conflict("memory-limit", detail)

    async def _existing(self, name: str) -> ModelReplica | None:
        if not self.hosts(name):
            raise Conflict("not-hosted", "this process is told not to host a model of that name")
        try:
            replica = await self.get(name)
            if replica.state == "deleted":  # seen in its log: who deleted it died before the row
                replica = await self.get(name)
        except ModelNotFound:
            return None
        return replica

    async def _make(self, name: str, config: ModelConfig) -> tuple[str, bool]:
        """The incarnation that has the name now, and whether it was made here."""
        whole = config.to_dict()
        payload = encode_control("create", {"config": whole})
        incarnation, nonce = secrets.token_hex(8), secrets.token_hex(8)
        try:
            await self._index.create(name, incarnation, nonce, payload, json.dumps(whole))
            failpoint("model.made")
        except ModelExists as error:
            if error.deleting:
                await self._remove(name, error.incarnation)
                return await self._make(name, config)
            await self._index.adopt(name)
            return error.incarnation, False
        return incarnation, True

    async def delete(self, name: str) -> None:
        """Delete a model for every replica. Raises ModelNotFound, Unavailable.

        Of one that was deleted, what an interrupted call left behind is removed.
        """
        async with self._making:
            try:
                replica = await self.get(name)
            except ModelNotFound:
                row = (await self._index.rows()).get(name)
                if row is not None and row.deleted:
                    await self._remove(name, row.incarnation)
                raise
            await self._delete(replica)

    async def _delete(self, replica: ModelReplica) -> None:
        replica.require_model()
        failpoint("delete.before")
        await replica.append_delete()
        failpoint("delete.appended")
        await replica.close()
        failpoint("delete.closed")
        self._replicas.pop(replica.name, None)
        self._known.forget(replica.name)
        failpoint("delete.forgotten")
        await self._remove(replica.name, replica.incarnation)

    async def _remove(self, name: str, incarnation: str) -> None:
        """Take away what is left of a deleted model; done again, it does nothing."""
        await self._index.bury(name, incarnation)
        failpoint("delete.buried")
        keys = ModelKeys(self.settings.key_prefix, name)
        store = CheckpointStore(self.connections, keys, incarnation)
        await CheckpointGarbage(store).drop_all()
        failpoint("delete.dropped")
        await self._index.finish_delete(name, incarnation)

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether every model begun is loaded and trusted, and what to say about it."""
        replicas = {name: r for name, r in self._replicas.items() if r.state != "deleted"}
        ready = self.emptied is None and all(r.model is not None for r in replicas.values())
        learn = ready and all(r.can_learn() for r in replicas.values())
        stale = max((r.stale_seconds() for r in replicas.values()), default=0.0)
        body: dict[str, Any] = {"ready": ready, "learn": learn, "stale_seconds": round(stale, 3)}
        if self.connections.refusal is not None:
            body["refused"] = self.connections.refusal.setting
        if self.emptied is not None:
            body["detail"] = self.emptied.detail
        body["models"] = {
            name: {"state": r.state, "detail": r.detail} for name, r in replicas.items()
        }
        return ready, body

    async def close(self) -> None:
        """Checkpoint and end every replica."""
        await asyncio.gather(*(r.close() for r in self._replicas.values()))
        await self._watch.stop()


def memory_bytes(config: ModelConfig) -> int:
    """About what a model takes: 8 bytes a slot and lane, 28 an id remembered, and the rest."""
    table = 8 * config.lanes << config.table_bits
    bits = config.admission.bits if config.admission is not None else None
    filters = 0 if bits is None else 2 << bits
    return table + filters + 28 * config.deduplication_window + FIXED_BYTES
