"""Appending for one replica: the producer's identity, and what a refusal or a silence means.

A call whose outcome is unknown is repeated as the very same `Append`, which append.lua recognises;
after REPEAT_SECONDS it is given up as unknown, and its batch number makes sure that a late copy of
it is never appended once a higher number was. Refusals wrote nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Sequence

from app.errors import (
    AppendUnknown,
    LogError,
    LogFull,
    ProducerUnknown,
    RedisAway,
    StaleBatch,
    WrongEpoch,
)
from app.event_log import Append, Appended, Control, EventLog, LogEntry
from app.failpoints import failpoint
from app.folding import Doubt, Follower
from app.group import LearnRequest, plan, resolve
from app.redis_condition import RedisCondition
from app.replica_work import NOT_APPENDED, fail_group
from app.tracing import TRACING
from ftrl_core.entry import Entry, decode
from ftrl_core.model import Applied
from ftrl_core.position import Position

REPEAT_SECONDS = 3.0
REPEAT_PAUSE_SECONDS = 0.05
ATTEMPTS_MAX = 5


class Writer:
    """The one appender of a replica; used by its owner's task only."""

    def __init__(
        self,
        event_log: EventLog,
        follower: Follower,
        redis: RedisCondition,
        log_bytes_max: int,
    ) -> None:
        self._log = event_log
        self._redis = redis
        self._follower = follower
        self._log_bytes_max = log_bytes_max
        self._new_producer()

    def _new_producer(self) -> None:
        self._producer = secrets.token_hex(8)
        self._batch_number = 0

    async def append(
        self,
        incarnation: str,
        entries: Sequence[tuple[bytes, str]],
        control: Control | None = None,
        *,
        same_epoch: bool = False,
        epoch: int | None = None,
        log_bytes_max: int = 0,
    ) -> Appended:
        """Append all entries or none, after the follower's position or later.

        A new epoch is read and the call made again, unless `same_epoch` or a restore brought
        another hash seed (then WrongEpoch). `epoch`: the log's, where the follower cannot read up
        to it. What is not examples goes through a full log: it has no log_bytes_max. Raises
        also AppendUnknown, RedisAway, LogFull, LogRegressed, ModelGone, WrongIncarnation,
        SkipRefused, CheckpointRefused, and what catching up raises.
        """
        seed = self._follower.loaded.config.hash_seed
        for attempts_left in reversed(range(ATTEMPTS_MAX)):
            try:
                return await self._settle(
                    self._call(incarnation, entries, control, epoch, log_bytes_max)
                )
            except (WrongEpoch, ProducerUnknown, StaleBatch) as refusal:
                if not attempts_left or (same_epoch and isinstance(refusal, WrongEpoch)):
                    raise
                if not isinstance(refusal, WrongEpoch):
                    self._new_producer()
                await self._follower.catch_up()
                if self._follower.loaded.config.hash_seed != seed:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def learn(self, incarnation: str, group: Sequence[LearnRequest]) -> bool:
        """Append and fold a group of requests, and tell each what became of it; whether the log
        was full. Raises what doubts the memory or the connection."""
        try:
            resolve(group, await self.append_and_fold(incarnation, plan(group)))
        except NOT_APPENDED as error:
            fail_group(group, error)
            return isinstance(error, LogFull)
        except Exception as error:
            fail_group(group, error)
            raise
        return False

    async def append_and_fold(
        self, incarnation: str, planned: Iterable[tuple[bytes, str]]
    ) -> list[tuple[Position, Applied]]:
        """Append entries of examples, fold them, and tell where they are and what came of each.

        What is next in the log is folded from memory; it is decoded before it is appended, so what
        cannot be read back never gets into the log. Raises what `append` and catching up raise.
        """
        entries: list[tuple[bytes, str]] = []
        decoded: list[Entry] = []
        for payload, nonce in planned:
            if entries:
                await asyncio.sleep(0)  # a prediction may come in between
            entries.append((payload, nonce))
            decoded.append(decode(payload))
        with TRACING.stage("log.append", self._redis.model):
            appended = await self.append(incarnation, entries, log_bytes_max=self._log_bytes_max)
        failpoint("fold.begun")
        with TRACING.stage("log.fold", self._redis.model):
            return await self._fold_appended(appended, entries, decoded)

    async def _fold_appended(
        self, appended: Appended, entries: Sequence[tuple[bytes, str]], decoded: Sequence[Entry]
    ) -> list[tuple[Position, Applied]]:
        follower = self._follower
        previous = (appended.previous.seq, appended.previous_nonce)
        if previous != (follower.loaded.position.seq, follower.nonce):
            try:
                return await self._fold_by_reading([nonce for _, nonce in entries])
            except LogError as error:  # the entries are in the log, whatever it says
                raise AppendUnknown(str(error)) from error
        folded = []
        for place, (payload, nonce) in enumerate(entries):
            if place:
                await asyncio.sleep(0)  # a prediction may come in between
                failpoint("fold.between")
            position = Position(appended.first.epoch, appended.first.seq + place)
            time_ms = appended.time_ms[place]
            await follower.before(time_ms)
            entry = LogEntry(position, nonce, follower.nonce, time_ms, payload)
            folded.append((position, follower.fold_own(entry, decoded[place])))
            failpoint("fold.own")
        return folded

    async def _fold_by_reading(self, nonces: list[str]) -> list[tuple[Position, Applied]]:
        """Somebody else's entries came before ours: fold all of them from the log."""
        failpoint("fold.others")
        follower = self._follower
        follower.keep_nonces = set(nonces)
        try:
            await follower.catch_up()
            if follower.keep_nonces - follower.kept.keys():
                raise Doubt("the entries just appended are not in the log")
            return [follower.kept[nonce] for nonce in nonces]
        finally:
            follower.keep_nonces, follower.kept = set(), {}

    def _call(
        self,
        incarnation: str,
        entries: Sequence[tuple[bytes, str]],
        control: Control | None,
        epoch: int | None,
        log_bytes_max: int,
    ) -> Append:
        self._batch_number += 1
        position = self._follower.loaded.position
        return Append(
            incarnation=incarnation,
            epoch=max(position.epoch, 1) if epoch is None else epoch,
            producer=self._producer,
            batch_number=self._batch_number,
            after=position,
            after_nonce=self._follower.nonce,
            entries=entries,
            log_bytes_max=log_bytes_max,
            control=control,
        )

    async def _settle(self, append: Append) -> Appended:
        """Call until it is known whether the entries are in the log, or it is given up.

        From the second silence on Redis is away, so that nobody else begins to wait for this.
        """
        deadline = time.monotonic() + REPEAT_SECONDS
        sent = False
        while True:
            try:
                appended = await self._log.append(append)
            except (AppendUnknown, RedisAway) as error:
                if isinstance(error, RedisAway) and not sent:
                    raise
                if time.monotonic() > deadline:
                    raise AppendUnknown(str(error)) from error
                if sent:
                    self._redis.is_away(error)
                sent = True
            else:
                self._redis.answers()
                return appended
            await asyncio.sleep(REPEAT_PAUSE_SECONDS)
            failpoint("append.repeated")
