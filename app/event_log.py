"""The log of one model: a Redis Stream under dense explicit ids, the only truth there is.

Only this file knows XADD, XRANGE and the fields of an entry; appending is lua/append.lua, which
says what is checked in which order. Entries form a chain:

    id 1-41: n=c1.. p=9e..        n  nonce of the entry, drawn by who appends it
    id 1-42: n=07.. p=c1..        p  nonce of the entry before it
                                  t  append time in milliseconds, never going back
                                  c  log bytes up to and with this entry, since the model was made
                                  b  payload (ftrl_core.entry)

A trimmed stream shows no gap by itself and max-deleted-entry-id does not move, so a reader trusts
nothing but density (seq = mine + 1) and the chain (p = my nonce); `LogEntry.follows` is both. The
nonce before the first entry is the incarnation, so that an entry of another model never follows.
The nonce is drawn by the caller because Lua's random numbers repeat after a restart.

A call whose outcome is unknown is repeated as the very same `Append` object: same producer, batch
number, position and nonces. Only then is it certain that it is appended once (see append.lua on
producers that were evicted). A batch given up is followed by a higher number, and can then never
be appended late. A number is used up by an append, or by giving one up; a refused call leaves its
number to the next, since a process must begin with 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from app.errors import ForeignKey, LogError, ModelGone, RedisAway, RedisRefused
from app.lua_scripts import Script
from app.redis_connections import Argument, RedisConnections
from app.redis_keys import ModelKeys
from ftrl_core.position import Position

NONCE_CHARS = 16  # hexadecimal digits of 64 random bits
READ_ENTRIES_FIRST = 16  # entries asked for before their size is known
STATES = ("live", "deleted")


@dataclass(frozen=True, slots=True)
class RestoreControl:
    """Begins an epoch at the state that a registered generation holds, and pins it."""

    generation: str
    page_count: int
    segment_count: int
    configuration: str = ""


@dataclass(frozen=True, slots=True)
class SkipControl:
    """Begins an epoch in which the entry at `seq` is passed over."""

    seq: int


@dataclass(frozen=True, slots=True)
class DeleteControl:
    """The model's last entry."""


@dataclass(frozen=True, slots=True)
class ConfigureControl:
    """Replaces the configuration text kept in meta."""

    configuration: str


Control = RestoreControl | SkipControl | DeleteControl | ConfigureControl


@dataclass(frozen=True, slots=True)
class Append:
    """One call of append.lua; keep the object to repeat the call."""

    incarnation: str
    epoch: int
    producer: str
    batch_number: int  # from 1, grows with every new call of this producer
    after: Position  # of the caller; START before the first entry
    after_nonce: str  # the incarnation before the first entry
    entries: Sequence[tuple[bytes, str]]  # (payload, nonce)
    log_bytes_max: int  # 0: no cap (control entries must go through when the log is full)
    control: Control | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """Where the entries are. `again`: they were there already, this was a repeated call."""

    first: Position
    last: Position
    previous: Position
    previous_nonce: str
    time_ms: list[int] = field(default_factory=list)  # one for each entry
    again: bool = False


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry as stored; what somebody else wrote has empty fields and follows nothing."""

    position: Position
    nonce: str
    previous_nonce: str
    time_ms: int
    payload: bytes

    def follows(self, position: Position, nonce: str) -> bool:
        """Whether this is the entry right after `position`, whose nonce is `nonce`."""
        return self.position.seq == position.seq + 1 and self.previous_nonce == nonce


class PublishedHead(NamedTuple):
    """What an append publishes."""

    position: Position
    nonce: str


@dataclass(frozen=True, slots=True)
class Head:
    """Meta, as far as readers care."""

    incarnation: str
    deleted: bool
    epoch: int
    seq: int
    nonce: str
    time_ms: int
    log_bytes: int
    trimmed_seq: int
    manifest: str | None  # generation of the newest manifest
    manifest_seq: int  # 0 without one
    configuration: str
    created_ms: int
    agreement: str = ""  # see lua/digest.lua

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.seq)


class EventLog:
    """Append to, read and follow the log of one model."""

    def __init__(self, connections: RedisConnections, keys: ModelKeys) -> None:
        self._connections = connections
        self._keys = keys
        self._append = Script("append")
        self._append_control = Script("append", when_full=True)
        self._probe = Script("probe")

    async def append(self, append: Append) -> Appended:
        """Append all entries or none, as durably as promised.

        Raises RedisAway and ServerRefused (surely not appended), AppendUnknown (repeat the same
        call), ModelGone, WrongIncarnation, StaleBatch, ProducerUnknown, WrongEpoch, LogRegressed,
        LogFull, CheckpointRefused (restore), SkipRefused (skip), ForeignKey. Never cancel it.
        """
        keys = self._keys
        script = self._append if append.control is None else self._append_control
        reply = await script.call(
            self._connections,
            (keys.meta, keys.log, keys.producers, keys.generations),
            self._arguments(append),
            durably=True,
        )
        first, last, previous, previous_nonce, time_ms, again = (_text(word) for word in reply)
        return Appended(
            first=Position.parse(first),
            last=Position.parse(last),
            previous=Position.parse(previous),
            previous_nonce=previous_nonce,
            time_ms=[int(time_ms)] * len(append.entries),
            again=again == "again",
        )

    async def read(
        self, after: Position, max_entries: int = 1024, max_bytes: int = 8 << 20
    ) -> list[LogEntry]:
        """The entries after `after`, in order; empty at the head.

        At least one entry when there is one, whatever its size; otherwise about `max_bytes` of
        payload at most (XRANGE knows no byte limit, so the count is steered by the sizes seen).
        Raises RedisAway. The caller checks the chain: a gap is not an error here.
        """
        entries: list[LogEntry] = []
        bytes_read = 0
        count = min(READ_ENTRIES_FIRST, max_entries)
        while count > 0:
            raw = await self._connections.read_command(
                "XRANGE", self._keys.log, f"({after}", "+", "COUNT", count
            )
            entries.extend(_entry(item) for item in raw)
            bytes_read += sum(len(entry.payload) for entry in entries[-len(raw) :]) if raw else 0
            if len(raw) < count:
                break
            after = entries[-1].position
            mean_bytes = bytes_read // len(entries) + 1
            room = max(0, max_bytes - bytes_read) // mean_bytes
            count = min(max_entries - len(entries), room, 8 * count)
        return entries

    async def head(self) -> Head:
        """Meta of the model; ModelGone when there is none, RedisAway, ForeignKey."""
        reply = await self._connections.read_command("HGETALL", self._keys.meta)
        if not reply:
            raise ModelGone("the model does not exist")
        meta = {_text(reply[i]): _text(reply[i + 1]) for i in range(0, len(reply), 2)}
        try:
            return _head(meta)
        except (KeyError, ValueError) as error:
            raise ForeignKey(f"meta of the model is damaged: {error}") from error

    async def refusal(self) -> LogError | None:
        """What an append would be refused with now; None if it would not.

        Writes nothing. Raises RedisAway, AppendUnknown.
        """
        try:
            await self._probe.call(self._connections, (self._keys.meta, self._keys.log), ())
        except (RedisRefused, ForeignKey) as error:
            return error
        return None

    async def subscribe(self) -> AsyncGenerator[PublishedHead, None]:
        """The head as it is once the subscription stands, then every head as it is published.

        Ends with RedisAway when the connection breaks. A hint only: messages can be lost, so look
        at `head` once a second too. Close it (`aclosing`) or its connection stays.
        """
        pubsub = self._connections.blocking.pubsub()
        try:
            await pubsub.subscribe(self._keys.head)
            while True:
                message = await pubsub.get_message(timeout=None)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    head = await self.head()
                    yield PublishedHead(head.position, head.nonce)
                elif message["type"] == "message":
                    position, nonce = _text(message["data"]).split(" ")
                    yield PublishedHead(Position.parse(position), nonce)
        except (RedisError, OSError) as error:
            raise RedisAway(f"the subscription ended: {error}") from error
        finally:
            with contextlib.suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    def _arguments(self, append: Append) -> list[Argument]:
        control, configuration = _control_arguments(append.control)
        arguments: list[Argument] = [
            append.incarnation,
            append.epoch,
            append.producer,
            append.batch_number,
            str(append.after),
            append.after_nonce,
            append.log_bytes_max,
            self._keys.head,
            *control,
            configuration,
        ]
        for payload, nonce in append.entries:
            if len(nonce) != NONCE_CHARS:
                raise ValueError("a nonce is 16 hexadecimal digits")
            arguments += (nonce, payload)
        return arguments


def _control_arguments(control: Control | None) -> tuple[list[Argument], str]:
    """ARGV 9 to 12 of append.lua, and 13."""
    match control:
        case None:
            return ["", "", "", ""], ""
        case RestoreControl(generation, page_count, segment_count, configuration):
            return ["restore", generation, page_count, segment_count], configuration
        case SkipControl(seq):
            return ["skip", seq, "", ""], ""
        case DeleteControl():
            return ["delete", "", "", ""], ""
        case ConfigureControl(configuration):
            return ["configure", "", "", ""], configuration


def _head(meta: dict[str, str]) -> Head:
    return Head(
        incarnation=meta["incarnation"],
        deleted=STATES.index(meta["state"]) > 0,
        epoch=int(meta["epoch"]),
        seq=int(meta["seq"]),
        nonce=meta["nonce"],
        time_ms=int(meta["time"]),
        log_bytes=int(meta["bytes_total"]) - int(meta["bytes_trimmed"]),
        trimmed_seq=int(meta["trimmed_seq"]),
        manifest=None if meta["manifest"] == "-" else meta["manifest"],
        manifest_seq=int(meta["manifest_seq"]),
        configuration=meta["configuration"],
        created_ms=int(meta["created"]),
        agreement=meta.get("agreement", ""),
    )


def _entry(item: Any) -> LogEntry:
    """One element of an XRANGE reply: id and a flat list of fields and values."""
    position = Position(*(int(part) for part in _text(item[0]).split("-")))
    fields = dict(zip(item[1][::2], item[1][1::2], strict=True))
    time = fields.get(b"t", b"")
    return LogEntry(
        position=position,
        nonce=_text(fields.get(b"n", b"")),
        previous_nonce=_text(fields.get(b"p", b"")),
        time_ms=int(time) if time.isdigit() else 0,
        payload=fields.get(b"b", b""),
    )


def _text(word: bytes) -> str:
    return word.decode("utf-8", "replace")
