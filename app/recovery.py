"""From Redis to a model: the newest checkpoint that can be read, or the log from its beginning.

    newest manifest ── a page, or the log after ──► take the manifests again, keep what both name
          │            it, is gone meanwhile
          │ a checksum differs
          ▼
    previous manifest (its log is still there: trimming stops at it), a longer replay
          │ none can be read          one of an unknown version: UnknownVersion, and no fall-back
          ▼
    the log from 1-1, if nothing of it was trimmed; otherwise the model cannot be loaded

Verifying is the core's (ftrl_core.loader compares every checksum and the digest); this file only
fetches. What is found damaged is marked, so that a replica that has it in memory writes it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.checkpoint_store import CheckpointStore, DamagedItem, KeptManifest
from app.errors import AppError, LogError
from app.event_log import EventLog, Head, LogEntry
from app.failpoints import failpoint
from app.folding import Outdated
from ftrl_core.checkpoint import Manifest
from ftrl_core.config import ModelConfig
from ftrl_core.entry import ControlEntry, decode
from ftrl_core.errors import BadCheckpoint, BadEntry, UnknownVersion
from ftrl_core.loader import Loader
from ftrl_core.model import Model
from ftrl_core.position import START, Position

log = logging.getLogger(__name__)
CHUNK = 32  # pages fetched and verified at a time
RETARGETS_MAX = 64
FIRST = Position(1, 1)


class Unloadable(AppError):
    """No checkpoint can be read and the log before it is gone: an operator must restore."""


NOT_LOADED = (LogError, Unloadable, BadCheckpoint, BadEntry)  # this time; tried again


class _Missing(Exception):
    """A page or segment is not there (any more); or, without an item, the manifest is not kept."""

    def __init__(self, item: DamagedItem | None = None) -> None:
        super().__init__(item)
        self.item = item


@dataclass(slots=True)
class Loaded:
    """A model, the nonce of the entry at its position, and the first entries after it."""

    model: Model
    nonce: str
    tail: list[LogEntry]


async def load(event_log: EventLog, store: CheckpointStore, head: Head) -> Loaded:
    """The model of the newest readable checkpoint.

    Raises Unloadable, UnknownVersion and what the stores raise. A checkpoint of an unknown version
    is not damaged: nothing older stands in for it.
    """
    failpoint("recovery.begun")
    for kept in await store.kept():
        try:
            return await _touched(await _load_manifest(event_log, store, kept))
        except UnknownVersion:
            raise
        except BadCheckpoint as error:
            log.error("checkpoint %s is not used: %s", kept.generation, error)
    if head.trimmed_seq:
        raise Unloadable(
            f"no checkpoint can be read, and the log was trimmed up to {head.trimmed_seq}"
        )
    return await _touched(await _from_the_beginning(event_log, head))


async def load_restore(store: CheckpointStore, generation: str) -> Model:
    """The model that a restore entry names; BadCheckpoint when it is not there in full."""
    content = await store.read_manifest(generation)
    failpoint("restore.loading")
    if content is None:
        raise BadCheckpoint(f"the manifest of restore {generation} is missing")
    loader = Loader(Manifest.decode(content))
    try:
        await _fill(store, loader)
    except _Missing as error:
        raise BadCheckpoint(f"a page of restore {generation} is missing") from error
    model = await asyncio.to_thread(loader.finish)
    failpoint("restore.loaded")
    await asyncio.to_thread(model.table.touch_memory)
    return model


async def _touched(loaded: Loaded) -> Loaded:
    await asyncio.to_thread(loaded.model.table.touch_memory)
    return loaded


async def _from_the_beginning(event_log: EventLog, head: Head) -> Loaded:
    entries = await event_log.read(START, max_entries=1)
    try:
        first = decode(entries[0].payload) if entries else None
        if not isinstance(first, ControlEntry) or first.op != "create":
            raise Unloadable("the log does not begin with a create entry")
        if entries[0].position != FIRST:
            raise Unloadable(f"the log begins at {entries[0].position}")
        model = Model(ModelConfig.stored(first.fields["config"]))
    except UnknownVersion as error:
        raise Outdated(str(error), entries[0].position, entries[0].nonce) from error
    return Loaded(model, head.incarnation, [])


async def is_passed(
    outdated: Outdated, event_log: EventLog, store: CheckpointStore, head: Head
) -> bool:
    """Whether loading again may get past what an unknown version wrote: the newest checkpoint is
    known and lies past it (a restore did that), or the entry is not in the log any more."""
    newest = await store.newest()
    try:
        manifest = Manifest.decode(newest.manifest) if newest is not None else None
    except UnknownVersion:
        return False
    except BadCheckpoint:
        manifest = None
    position = outdated.position
    if position is None or (manifest is not None and manifest.position.seq >= position.seq):
        return True
    there = await event_log.read(Position(position.epoch, position.seq - 1), max_entries=1)
    return head.seq < position.seq or bool(there and there[0].nonce != outdated.nonce)


async def _load_manifest(event_log: EventLog, store: CheckpointStore, kept: KeptManifest) -> Loaded:
    loader = Loader(Manifest.decode(kept.manifest))
    failpoint("recovery.manifest")
    for _ in range(RETARGETS_MAX):
        try:
            await _fill(store, loader)
            tail = await _tail(event_log, loader.manifest.position)
            failpoint("recovery.tail")
        except _Missing as missing:
            newest = await store.newest()
            if newest is None or newest.generation == kept.generation:
                if missing.item is not None:
                    await store.mark_damaged(missing.item)
                raise BadCheckpoint("a page, or the log after it, is missing") from missing
            kept = newest
            loader.retarget(Manifest.decode(kept.manifest))
            continue
        model = await asyncio.to_thread(loader.finish)
        return Loaded(model, loader.manifest.nonce, tail)
    raise BadCheckpoint("checkpoints are committed faster than they can be loaded")


async def _tail(event_log: EventLog, position: Position) -> list[LogEntry]:
    """What the log holds after the manifest, read before it can be trimmed too."""
    entries = await event_log.read(position)
    if entries and entries[0].position.seq > position.seq + 1:
        raise _Missing
    if not entries and (await event_log.head()).seq > position.seq:
        raise _Missing
    return entries


async def _fill(store: CheckpointStore, loader: Loader) -> None:
    await _fetch(store, loader, is_page=False)
    failpoint("recovery.segments")
    await _fetch(store, loader, is_page=True)
    failpoint("recovery.pages")


async def _fetch(store: CheckpointStore, loader: Loader, *, is_page: bool) -> None:
    names = loader.missing_pages() if is_page else loader.missing_segments()
    read = store.read_pages if is_page else store.read_segments
    put = loader.put_page if is_page else loader.put_segment
    chunks = [names[first : first + CHUNK] for first in range(0, len(names), CHUNK)]
    before: Sequence[tuple[str, int]] = []
    contents: list[bytes | None] = []
    for chunk in [*chunks, []]:
        # Redis sends this chunk while the one before is compared and copied.
        putting = _put(store, put, before, contents, is_page=is_page)
        contents, _ = await asyncio.gather(read(chunk), putting)
        before = chunk


async def _put(
    store: CheckpointStore,
    put: Callable[[int, bytes], None],
    names: Sequence[tuple[str, int]],
    contents: Sequence[bytes | None],
    *,
    is_page: bool,
) -> None:
    """Put what was read into the loader, in a thread; mark what is damaged."""
    done = 0

    def put_all() -> None:
        nonlocal done
        for (generation, index), content in zip(names, contents, strict=True):
            if content is None:
                raise _Missing(DamagedItem(generation, is_page, index))
            put(index, content)
            done += 1

    try:
        await asyncio.to_thread(put_all)
    except BadCheckpoint:
        generation, index = names[done]
        await store.mark_damaged(DamagedItem(generation, is_page, index))
        raise
