"""One replica's memory of a model, and the rules by which entries of the log change it.

`Follower` holds the model, the nonce of its position, and what was decided about unreadable
entries. It reads what the log holds after the model's position, checks density and chain, and
folds. It raises `Doubt` when memory may be wrong: the replica then drops it and loads again.

    entry does not follow, or its seq is lower        Doubt
    its epoch is not the one before; or not the next  as an unreadable payload
      one: create, restore and skip begin an epoch
    payload unreadable, first time                    Doubt (perhaps memory or wire is at fault)
    payload unreadable again after a reload           Stuck: stay before it, until it is skipped
    pages that a restore names, damaged or missing    the same two steps: Doubt, then Stuck
    entry, or what it names, of an unknown version    Outdated: another version has folded on
    skip of a position that this memory has folded    Doubt, and pass over it next time
    the same, though a checkpoint holds it            as an unreadable payload
    restore                                           load the pages it names, then switch
    delete, or meta that says so                      Deleted
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from app.authors import Authors
from app.errors import AppError
from app.event_log import EventLog, Head, LogEntry
from app.failpoints import failpoint
from ftrl_core.entry import ControlEntry, Entry, decode
from ftrl_core.errors import BadCheckpoint, BadEntry, UnknownVersion
from ftrl_core.model import Applied, Model
from ftrl_core.position import Position

LoadRestore = Callable[[str], Awaitable[Model]]
Compare = Callable[[Model, int, int], Awaitable[None]]  # model, last and next append time
YIELD_BYTES = 1 << 16  # payload folded before other tasks get their turn


class Doubt(AppError):
    """The state in memory may be wrong: drop it, load again."""


class Stuck(AppError):
    """The next entry cannot be read, and a reload did not help."""

    def __init__(self, position: Position, nonce: str, detail: str) -> None:
        super().__init__(f"the entry at {position} cannot be read: {detail}")
        self.position = position
        self.nonce = nonce
        self.looked = position  # no skip entry up to here


class Outdated(AppError):
    """The model goes on under a version that this process does not know.

    position and nonce are those of the entry that says so; None and "" for a checkpoint.
    """

    def __init__(self, detail: str, position: Position | None = None, nonce: str = "") -> None:
        super().__init__(f"a later version of Clickfold is needed: {detail}")
        self.position = position
        self.nonce = nonce


class Deleted(AppError):
    """The model's delete entry was folded."""


class Follower:
    """The model at a position of its log; changed by its owner's task only."""

    def __init__(self, event_log: EventLog, load_restore: LoadRestore, compare: Compare) -> None:
        self._log = event_log
        self._compare = compare
        self._load_restore = load_restore
        self.model: Model | None = None
        self.authors = Authors()
        self.nonce = ""
        self.last_time_ms = 0
        self.bytes_since_cut = 0
        self.head_seq = 0  # of the log, when it was last looked at
        self._unreadable: set[int] = set()  # seqs that could not be read once
        self._skipped: set[int] = set()  # seqs that a skip entry names
        self._passed_over: set[int] = set()  # of these, the ones this memory did not fold
        self._keep_skipped = False
        self._tail: list[LogEntry] = []
        self.kept: dict[str, tuple[Position, Applied]] = {}  # by nonce, for a waiting writer
        self.keep_nonces: set[str] = set()

    def adopt(self, model: Model, nonce: str, tail: list[LogEntry]) -> None:
        """Begin with a loaded model; tail is what was read of the log after it already."""
        self.model, self.nonce, self._tail = model, nonce, tail
        self.authors = Authors(model.position)
        failpoint("recovery.loaded")
        self._passed_over = set()
        self.last_time_ms = 0  # not known of a checkpoint's position

    def drop(self) -> None:
        """Forget the model; also what is skipped, unless a skip was the reason: the log that said
        so may be lost, and what is skipped in the one that is left will be found again."""
        self.model = None
        if not self._keep_skipped:
            self._skipped = set()
        self._keep_skipped = False

    @property
    def loaded(self) -> Model:
        """The model, which the caller knows to be there."""
        assert self.model is not None
        return self.model

    def compare(self, head: Head, incarnation: str) -> bool:
        """Whether there is something to read; Doubt when the log is not the one folded, Deleted
        whether or not the entry that says so can be reached."""
        position, self.head_seq = self.loaded.position, head.seq
        if head.incarnation != incarnation:
            raise Doubt("the model was made again")
        if head.deleted:
            raise Deleted("the model was deleted")
        if head.seq < position.seq or head.epoch < position.epoch:
            raise Doubt(f"the log ends at {head.position}, before {position}")
        if head.seq == position.seq and head.nonce != self.nonce:
            raise Doubt(f"the log holds another entry at {position}")
        return head.seq > position.seq

    def check_reached(self, head: Head) -> None:
        """Doubt when reading on did not get to what was the head: a trimmed log shows no gap."""
        if self.loaded.position.seq < head.seq:
            raise Doubt(f"the log holds nothing between {self.loaded.position} and {head.position}")

    async def catch_up(self) -> None:
        """Fold everything the log holds; raises Doubt, Stuck, Deleted, RedisAway."""
        entries, self._tail = self._tail, []
        entries = entries or await self._log.read(self.loaded.position)
        while entries:
            # Redis sends what comes next while this is folded: half the time of a replay.
            following = asyncio.create_task(self._log.read(entries[-1].position))
            try:
                await self._fold_all(entries)
            finally:
                await asyncio.wait([following])  # a read that failed must not end a fold half-way
            entries = following.result()
        failpoint("fold.caught_up")

    async def _fold_all(self, entries: Sequence[LogEntry]) -> None:
        since_yield = 0
        for entry in entries:
            await self._fold_read(entry)
            since_yield += len(entry.payload)
            if since_yield > YIELD_BYTES:
                since_yield = 0
                await asyncio.sleep(0)

    async def _fold_read(self, entry: LogEntry) -> None:
        position, seq = self.loaded.position, entry.position.seq
        if not entry.follows(position, self.nonce):
            raise Doubt(f"the entry at {entry.position} does not follow {position}")
        await self.before(entry.time_ms)
        if seq not in self._skipped:
            try:
                decoded = decode(entry.payload)
                if entry.position.epoch - position.epoch != _begins_epoch(decoded):
                    raise BadEntry("it is of another epoch")
                await self._fold(entry, decoded)
            except UnknownVersion as error:
                detail = f"the entry at {entry.position}: {error}"
                raise Outdated(detail, entry.position, entry.nonce) from error
            except (BadEntry, BadCheckpoint) as error:
                await self._unreadable_entry(entry, error)
        if seq in self._skipped:
            self._passed_over.add(seq)
            self.loaded.pass_over(entry.position)
        self._moved(entry)

    async def before(self, time_ms: int) -> None:
        """What is to be done between the last entry and one of this append time."""
        await self._compare(self.loaded, self.last_time_ms, time_ms)

    async def _unreadable_entry(self, entry: LogEntry, error: BadEntry | BadCheckpoint) -> None:
        """Return when it is skipped further on; raise otherwise."""
        position = entry.position
        stuck = Stuck(position, entry.nonce, str(error))
        if await self.look_ahead(stuck) and position.seq in self._skipped:
            return
        if position.seq in self._unreadable:
            raise stuck from error
        self._unreadable.add(position.seq)
        raise Doubt(f"the entry at {position} cannot be read: {error}") from error

    def _moved(self, entry: LogEntry) -> None:
        self.nonce = entry.nonce
        self.last_time_ms = entry.time_ms
        self.bytes_since_cut += len(entry.payload)

    async def _fold(self, entry: LogEntry, decoded: Entry) -> None:
        if isinstance(decoded, ControlEntry):
            await self._fold_control(entry, decoded)
            return
        applied = self.loaded.apply(entry.position, decoded, entry.time_ms)
        if applied is not None:
            self.authors.count(applied)
        failpoint("fold.read")
        if entry.nonce in self.keep_nonces and applied is not None:
            self.kept[entry.nonce] = (entry.position, applied)

    async def _fold_control(self, entry: LogEntry, decoded: ControlEntry) -> None:
        failpoint("fold.control")
        match decoded.op:
            case "delete":
                raise Deleted("the model was deleted")
            case "restore":
                model = await self._load_restore(decoded.fields["generation"])
                model.restored(entry.position)
                self.model = model
                failpoint("restore.switched")
            case "skip":
                seq = int(decoded.fields["seq"])
                if seq not in self._passed_over and seq < entry.position.seq:
                    if seq in self._skipped:  # already loaded again for it
                        raise BadEntry(f"entry {seq} is skipped, and part of the checkpoint")
                    self._skipped.add(seq)
                    self._keep_skipped = True
                    raise Doubt(f"entry {seq} was folded, and is skipped at {entry.position}")
                self.loaded.apply(entry.position, decoded, entry.time_ms)
            case "configure":
                await asyncio.to_thread(self.loaded.prepare, decoded, entry.position.seq)
                failpoint("configure.prepared")
                self.loaded.apply(entry.position, decoded, entry.time_ms)
            case _:
                self.loaded.apply(entry.position, decoded, entry.time_ms)
                failpoint("names.folded")

    def fold_own(self, entry: LogEntry, decoded: Entry) -> Applied:
        """Fold an entry of examples that this process has just appended at the next position."""
        applied = self.loaded.apply(entry.position, decoded, entry.time_ms)
        assert applied is not None
        self.authors.count(applied)
        self._moved(entry)
        return applied

    async def check_checkpoint(self, stuck: Stuck, head: Head) -> None:
        """Doubt where a checkpoint lies past what cannot be read: load that. Not when a skip lies
        ahead too, for the checkpoint may be damaged, and the log is the way round it."""
        if head.manifest_seq >= stuck.position.seq and not await self.look_ahead(stuck):
            raise Doubt(f"a checkpoint lies past {stuck.position}, which cannot be read")

    async def look_ahead(self, stuck: Stuck) -> bool:
        """Whether to read on: the unreadable entry is skipped, or another one stands there now."""
        there = await self._log.read(self.loaded.position, max_entries=1)
        if not there or there[0].nonce != stuck.nonce:
            return True
        while entries := await self._log.read(stuck.looked):
            for entry in entries:
                if _skips(entry) == stuck.position.seq:
                    self._skipped.add(stuck.position.seq)
                    return True
            stuck.looked = entries[-1].position
        return False


def _begins_epoch(entry: Entry) -> bool:
    """Whether the entry is of the epoch after that of the one before it, and not of the same."""
    return isinstance(entry, ControlEntry) and entry.op in ("create", "restore", "skip")


def _skips(entry: LogEntry) -> int | None:
    """The seq that this entry skips, None for any other entry."""
    if len(entry.payload) > 4096:
        return None  # a batch: not worth decoding
    try:
        decoded = decode(entry.payload)
    except BadEntry:
        return None
    if isinstance(decoded, ControlEntry) and decoded.op == "skip":
        return int(decoded.fields["seq"])
    return None
