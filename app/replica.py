"""A replica of one model, as requests see it: learn, predict, stats, snapshots, restore.

The owner's task (app.replica_owner) alone changes the model. Predictions read it directly on the
event loop: between two entries it is whole, and the owner never yields in the middle of one.
Whatever needs the fold paused (a digest, a cut, a control entry) is handed to the owner as a job.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterable
from typing import Any

from app.authors import Authors
from app.errors import Conflict, ModelGone, ModelNotFound, Unavailable, WrongEpoch, not_durable
from app.event_log import ConfigureControl, DeleteControl, EventLog, RestoreControl, SkipControl
from app.failpoints import failpoint
from app.group import LearnOutcome, LearnRequest
from app.name_dictionary import NameDictionary
from app.redis_condition import RETRY_AFTER_SECONDS, not_learned
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from app.replica_owner import ReplicaOwner
from app.replica_work import ReplicaOptions
from ftrl_core.batch import ExampleBatch
from ftrl_core.checkpoint import Cut, Manifest, cut
from ftrl_core.config import ModelConfig
from ftrl_core.constants import F64
from ftrl_core.entry import encode_control
from ftrl_core.errors import BadConfig
from ftrl_core.explanation import Explanation
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.reconfigure import changed_config

QUEUE_FEATURES_MAX = 1 << 24  # waiting to be appended: about 200 MB
SKIP_SECONDS = 5.0
NOTICE_SECONDS = 0.02  # between two looks whether a deletion elsewhere was noticed


class ModelReplica:
    """One model in this process; `start` it, and `close` it at the end."""

    def __init__(
        self,
        name: str,
        incarnation: str,
        connections: RedisConnections,
        keys: ModelKeys,
        options: ReplicaOptions,
    ) -> None:
        self.name = name
        self.incarnation = incarnation
        self.durability = options.durability
        self._connections = connections
        self._log = EventLog(connections, keys)
        self._owner = ReplicaOwner(name, incarnation, connections, keys, options)
        self._figures: tuple[tuple[Position, str] | None, dict[str, Any]] = (None, {})
        self.dictionary = NameDictionary()
        self._loop = asyncio.get_running_loop()  # asking for it takes 4 microseconds

    def start(self) -> None:
        """Begin to load and follow."""
        self._owner.start()

    async def close(self) -> None:
        """Append and fold what is queued, checkpoint, and end."""
        failpoint("stop.begun")
        await self._owner.close()
        failpoint("stop.finished")

    @property
    def state(self) -> str:
        """loading, live, stuck, doubtful, outdated or deleted; see app.replica_owner."""
        return self._owner.state

    @property
    def detail(self) -> str:
        """What the state means right now, for people."""
        return self._owner.detail

    @property
    def model(self) -> Model | None:
        """The model as it is now; None while it is not to be used."""
        return self._owner.model

    def require_model(self) -> Model:
        """The model; Unavailable or ModelNotFound when there is none to serve."""
        model = self._owner.model
        if model is not None:
            return model
        if self.state == "deleted":
            raise ModelNotFound("the model was deleted")
        raise Unavailable(self.detail, "unavailable", None, RETRY_AFTER_SECONDS)

    @property
    def authors(self) -> Authors:
        """Which key wrote what, as far as this replica has folded it."""
        return self._owner.follower.authors

    async def settled(self, seconds: float) -> None:
        """Wait until loading ended, well or not; at most so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._owner.settled.wait(), seconds)

    def stale_seconds(self) -> float:
        """For how long this replica may have missed entries; 0 while Redis answers."""
        return self._owner.redis.stale_seconds()

    def can_learn(self) -> bool:
        """Whether /learn would be accepted now."""
        owner = self._owner
        refused = self._connections.refusal is not None
        able = owner.redis.takes_writes and not refused
        return owner.state == "live" and able and not owner.stop.is_set()

    def predict(self, batch: ExampleBatch) -> tuple[Position, F64]:
        """Probabilities, and the position of the model that made them."""
        model = self.require_model()
        return model.position, model.predict(batch)

    def uncertainty(self, batch: ExampleBatch) -> F64:
        """The most that learning each row next could move its logit, by the present model."""
        return self.require_model().uncertainty(batch)

    def explain(self, batch: ExampleBatch) -> list[Explanation]:
        """What each feature contributes to the logit of each row, by the present model."""
        return self.require_model().explain(batch)

    async def learn(
        self,
        batch: ExampleBatch,
        *,
        hash_seed: int | None = None,
        key_number: int = 0,
        idempotency_key: int = 0,
        body_hash: int = 0,
        covered: bool = False,
    ) -> LearnOutcome:
        """Append the batch and fold it; hash_seed is the one it was hashed under.

        Raises Unavailable with an outcome, IdempotencyConflict, ModelNotFound. May be cancelled:
        the request is learned all the same.
        """
        self.refuse_learn()  # first, for it says what came of the examples
        seed = self.require_model().config.hash_seed if hash_seed is None else hash_seed
        request = LearnRequest(batch, seed, key_number, idempotency_key, body_hash, covered)
        return await asyncio.shield(self.submit(request))

    def submit(self, request: LearnRequest) -> asyncio.Future[LearnOutcome]:
        """Queue a request to learn; what becomes of it, as `learn` says. Not to be cancelled."""
        self.refuse_learn()
        self._owner.submit(request)
        return request.done

    def new_future(self) -> asyncio.Future[LearnOutcome]:
        """For a LearnRequest."""
        return self._loop.create_future()

    def has_unheard_names(self, batch: ExampleBatch) -> bool:
        """Whether a field name of the batch is not in the log yet."""
        return self.require_model().names.has_unheard(batch.name_hashes)

    def tell_names(self, names: Iterable[str]) -> None:
        """Have field names written to the log before the next examples; best effort."""
        self._owner.new_names.update(names)

    def refuse_learn(self) -> None:
        """Raise what `learn` would be refused with right now, if it would."""
        owner = self._owner
        if owner.stop.is_set():
            raise not_learned("the service is stopping")
        if (refusal := owner.redis.refusal()) is not None:
            raise refusal
        if owner.state == "deleted":
            raise ModelNotFound("the model was deleted")
        if owner.state != "live":
            raise not_learned(self.detail)
        if self._connections.refusal is not None:
            raise not_durable(self._connections.refusal)
        if owner.queue.features > QUEUE_FEATURES_MAX:
            raise not_learned("too many examples wait to be appended", "busy")

    async def wait_for(self, position: Position, seconds: float) -> bool:
        """Wait until the position is folded; an older epoch counts as reached."""
        if self._owner.reached(position):
            return True
        try:
            return await asyncio.wait_for(self._owner.when_reached(position), seconds)
        except TimeoutError:
            return self._owner.reached(position)

    async def stats(self) -> dict[str, Any]:
        """Progressive figures, digests and health; the body of GET /stats."""
        model = self.require_model()
        # After a lost history another log may come to the same position: its nonce differs.
        at, figures = self._figures
        if at != (here := self._place()):
            figures = await self._job(_figures_of)
            if self._place() == here:  # else they may be of a later place
                self._figures = (here, figures)
        return {"model": self.name, **figures, **self.health(model)}

    def _place(self) -> tuple[Position, str]:
        return self.require_model().position, self._owner.follower.nonce

    def health(self, model: Model) -> dict[str, Any]:
        """What is known without touching the model's table: log, checkpoint, durability."""
        owner, checkpoints = self._owner, self._owner.checkpoints
        oldest, refusal = model.deduplication.oldest_second(), self._connections.refusal
        return {
            "deduplication_window_seconds": oldest and max(0.0, time.time() - oldest),
            "durability": self.durability,
            "durability_refused": refusal and str(refusal),
            "stale_seconds": round(self.stale_seconds(), 3),
            "state": owner.state,
            "learn": self.can_learn(),
            "log_bytes": owner.log_bytes,
            "log_regressions": owner.log_regressions,
            "digest_comparisons": owner.agreement.comparisons,
            "digest_differences": owner.agreement.differences,
            "checkpoint": {
                "seq": checkpoints.committed_seq,
                "committed_at": checkpoints.committed_at,
                "seconds": checkpoints.last_seconds,
            },
            "incarnation": self.incarnation,
            "config": model.config.to_dict(),
        }

    def has_ended(self) -> bool:
        """Whether the model was deleted, or this replica is being closed."""
        return self.state == "deleted" or self._owner.stop.is_set()

    def lag_entries(self) -> int:
        """Entries of the log, when it was last looked at, that are not folded here."""
        model, head = self.model, self._owner.follower.head_seq
        return 0 if model is None else max(0, head - model.position.seq)

    def agreed(self) -> dict[str, str] | None:
        """Position and digest that stand between replicas, as last heard."""
        return self._owner.agreement.stands

    def compared(self) -> dict[str, Any]:
        """What this replica last compared with others, and how that went."""
        agreement = self._owner.agreement
        return {
            "compared": agreement.own,
            "comparisons": agreement.comparisons,
            "differences": agreement.differences,
        }

    def checkpoint_seq(self) -> int:
        """Of the newest checkpoint that this replica knows; 0 before the first."""
        return self._owner.checkpoints.committed_seq

    def checkpoint_age_seconds(self) -> float | None:
        """Since this replica learned of the newest checkpoint; None before the first."""
        at = self._owner.checkpoints.committed_at
        return None if at is None else max(0.0, time.time() - at)

    async def checkpoint(self) -> None:
        """Write a checkpoint of the present position and wait for it."""
        started: bool | None = None
        while started is None:
            await self._owner.checkpoints.finish()
            started = await self._owner.job(self._owner.start_checkpoint)
        await self._owner.checkpoints.finish()

    async def snapshot_cut(self) -> tuple[Cut, int]:
        """A whole cut for a snapshot, and the number of examples in it."""
        taken: tuple[Cut, int] = await self._job(lambda model: (cut(model, -1), model.examples))
        return taken

    async def _job(self, compute: Any) -> Any:
        """Run compute(model) in a thread while the fold is paused."""
        self.require_model()
        return await self._owner.job(lambda: asyncio.to_thread(compute, self.require_model()))

    async def skip(self, position: Position) -> Position:
        """Pass over the unreadable entry that this replica is stuck before."""

        async def run() -> Position:
            stuck = self._owner.stuck
            if stuck is None or stuck.position != position:
                raise Conflict("not-stuck", f"this replica is not stuck before {position}")
            payload = encode_control("skip", {"seq": position.seq})
            control = SkipControl(position.seq)
            return (await self._owner.append_control(payload, control)).last

        reached: Position = await self._owner.job(run)
        await self.wait_for(reached, SKIP_SECONDS)
        return reached

    async def configure(self, changes: dict[str, Any]) -> ModelConfig:
        """Change hyper-parameters or the table's size at one position.

        Raises BadConfig, and Conflict when another replica's change came between.
        """

        async def run() -> None:
            after = changed_config(self.require_model().config, changes)
            payload = encode_control("configure", {"config": changes})
            control = ConfigureControl(json.dumps(after.to_dict()))
            failpoint("configure.before")
            await self._owner.append_control(payload, control)
            failpoint("configure.appended")
            await self._owner.follower.catch_up()

        await self._owner.job(run)
        config = self.require_model().config
        with contextlib.suppress(BadConfig):
            if changed_config(config, changes) == config:
                return config
        raise Conflict("configured-meanwhile", "another change came first; look, and try again")

    async def restore(self, restored: Model) -> Position:
        """Switch every replica to a verified model at one position. Raises Conflict."""
        store, epoch = self._owner.store, self.require_model().position.epoch
        generation = await store.register_restore(self.require_model().position)
        failpoint("restore.registered")
        taken = await asyncio.to_thread(cut, restored, -1)
        manifest = Manifest.advance(None, taken, generation, "0" * 16)
        await store.put_pages(generation, taken.pages, taken.segments)
        failpoint("restore.pages")
        await store.put_manifest(generation, manifest.encode())
        failpoint("restore.manifest")
        configuration = json.dumps(restored.config.to_dict())
        control = RestoreControl(generation, len(taken.pages), len(taken.segments), configuration)

        async def run() -> Position:
            payload = encode_control("restore", {"generation": generation})
            if self.require_model().position.epoch != epoch:
                raise Conflict("restored-meanwhile", "another restore came first")
            failpoint("restore.before")
            try:
                appended = await self._owner.append_control(payload, control, same_epoch=True)
            except WrongEpoch as error:
                raise Conflict("restored-meanwhile", "another restore came first") from error
            failpoint("restore.appended")
            await self._owner.follower.catch_up()
            return appended.last

        position: Position = await self._owner.job(run)
        return position

    async def was_deleted(self) -> bool:
        """Whether Redis has the model no more, folded here or not. Raises RedisAway, ForeignKey."""
        try:
            head = await self._log.head()
        except ModelGone:
            return True
        return head.deleted or head.incarnation != self.incarnation

    async def until_deleted(self, seconds: float) -> None:
        """Wait until this replica has noticed it too. Raises Unavailable."""
        for _ in range(round(seconds / NOTICE_SECONDS)):
            if self.state == "deleted":
                return
            await asyncio.sleep(NOTICE_SECONDS)
        raise Unavailable(
            "the model is being deleted", "unavailable", retry_after=RETRY_AFTER_SECONDS
        )

    async def append_delete(self) -> None:
        """Append the model's last entry."""
        payload = encode_control("delete", {})
        await self._owner.job(lambda: self._owner.append_control(payload, DeleteControl()))


def _figures_of(model: Model) -> dict[str, Any]:
    return {**model.stats(), "digest": model.digest(), "state_digest": model.state_digest()}
