"""Deleting what no kept manifest names: the last step of a checkpoint, and of a deleted model.

    committed, no longer kept   its manifest is read once more, for it names the pages that may now
                                be nobody's; those go, then the manifest: the generation is retired
    retired, dead, or pinned    with no page named by a kept manifest: every index it can have
    and passed by both kept     written is deleted, then its row: it is buried

The order makes a crash harmless: a manifest is deleted only after the pages that it alone named,
a row only after its generation's last page. What a damaged old manifest named cannot be told; its
pages wait until their whole generations are buried. A damaged kept manifest stops everything, for
it may name anything.

Two processes may drop at once: lua/drop.lua deletes only while the manifests kept are those the
caller decided by, and a key deleted twice is deleted once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.checkpoint_store import NO_GENERATION, CheckpointStore
from app.errors import CheckpointRefused, ModelGone
from app.failpoints import failpoint
from app.lua_scripts import Script
from ftrl_core.errors import BadCheckpoint

KEYS_IN_CALL = 32  # of 32 KiB each: freeing 512 in one call took 4 to 8 ms


class NamedPages(Protocol):
    """The part of a manifest that says which generation each page and segment is of."""

    @property
    def generations(self) -> Sequence[str]: ...

    @property
    def page_generation(self) -> NDArray[np.int32]:
        """i32[page_count], an index into generations, -1 for an untouched page."""

    @property
    def segment_generation(self) -> NDArray[np.int32]:
        """i32[segment_count], an index into generations."""


Decode = Callable[[bytes], NamedPages]


@dataclass(frozen=True, slots=True)
class _Row:
    """A generation's row, as lua/common.lua draws it."""

    generation: str
    state: str
    pages: int
    page_end: int
    segments: int
    segment_end: int
    pin: int


@dataclass(frozen=True, slots=True)
class _Named:
    """A manifest's arrays over numbers that mean the same generation in every manifest."""

    pages: NDArray[np.int64]  # number of a generation, -1 for none
    segments: NDArray[np.int64]


class _Numbers:
    """Numbers for generation names, so that manifests can be compared as arrays."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._number_of: dict[str, int] = {}

    def named(self, manifest: NamedPages) -> _Named:
        """The manifest's arrays in these numbers; its -1 picks the last element, -1."""
        numbers = np.array([*map(self._number, manifest.generations), -1], dtype=np.int64)
        return _Named(numbers[manifest.page_generation], numbers[manifest.segment_generation])

    def _number(self, name: str) -> int:
        if name not in self._number_of:
            self._number_of[name] = len(self.names)
            self.names.append(name)
        return self._number_of[name]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one round decides by."""

    newest: str
    previous: str
    previous_seq: int
    rows: dict[str, _Row]

    @property
    def kept(self) -> set[str]:
        return {self.newest, self.previous}


class CheckpointGarbage:
    """Drops unnamed pages of one model. Cheap to make; holds no state."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._drop = Script("drop")

    async def drop_unnamed(self, decode: Decode) -> int:
        """Delete what neither kept manifest names; how many pages and segments that was.

        `decode` is Manifest.decode. Raises BadCheckpoint when a kept manifest cannot be decoded,
        and what the store raises; when another checkpoint is committed meanwhile it stops early,
        the next round does the rest.
        """
        try:
            return await self._drop_round(decode)
        except CheckpointRefused as refusal:
            if refusal.reason in {"stale_drop", "in_use"}:
                return 0
            raise

    async def drop_all(self) -> int:
        """Delete every generation of a model whose `delete` entry is in the log.

        CheckpointRefused("in_use") when it is not deleted. Done already is done.
        """
        deleted = 0
        try:
            snapshot = await self._snapshot()
            for row in snapshot.rows.values():
                deleted += await self._bury(snapshot, row)
        except ModelGone:
            pass
        return deleted

    async def _drop_round(self, decode: Decode) -> int:
        snapshot = await self._snapshot()
        numbers = _Numbers()
        kept = [numbers.named(decode(item)) for item in await self._kept(snapshot)]
        in_use = {numbers.names[number] for named in kept for number in _distinct(named)}
        deleted = 0
        for row in snapshot.rows.values():
            if row.state == "committed" and row.generation not in snapshot.kept:
                old = await self._old_manifest(row, numbers, decode)
                deleted += await self._retire(snapshot, row, _only(old, kept, numbers.names))
        for row in snapshot.rows.values():
            if row.generation not in in_use and _may_be_buried(snapshot, row):
                deleted += await self._bury(snapshot, row)
        return deleted

    async def _kept(self, snapshot: _Snapshot) -> list[bytes]:
        """Bytes of the manifests kept, which must be those of the snapshot and all there."""
        kept = await self._store.kept()
        if {item.generation for item in kept} == snapshot.kept - {NO_GENERATION}:
            return [item.manifest for item in kept]
        if set(await self._store.kept_generations()) != snapshot.kept - {NO_GENERATION}:
            raise CheckpointRefused("stale_drop")
        raise BadCheckpoint("a kept manifest is missing")

    async def _retire(
        self, snapshot: _Snapshot, row: _Row, unnamed: dict[str, list[tuple[bool, int]]]
    ) -> int:
        """Delete what only this old manifest named, then the manifest."""
        deleted = 0
        for generation, items in unnamed.items():
            if generation in snapshot.rows:
                deleted += await self._call(snapshot, generation, items, "pages")
        await self._call(snapshot, row.generation, [], "retire")
        return deleted

    async def _old_manifest(self, row: _Row, numbers: _Numbers, decode: Decode) -> _Named:
        """What the manifest named; nothing when it is lost or damaged."""
        manifest = await self._store.read_manifest(row.generation)
        try:
            if manifest is not None:
                return numbers.named(decode(manifest))
        except BadCheckpoint:
            pass
        nothing = np.empty(0, dtype=np.int64)
        return _Named(nothing, nothing)

    async def _bury(self, snapshot: _Snapshot, row: _Row) -> int:
        """Delete every index the generation can have written, then its row."""
        pages = range(row.page_end if row.pages else 0)
        segments = range(row.segment_end if row.segments else 0)
        keys = [(True, index) for index in pages] + [(False, index) for index in segments]
        return await self._call(snapshot, row.generation, keys, "bury")

    async def _call(
        self, snapshot: _Snapshot, generation: str, items: Sequence[tuple[bool, int]], what: str
    ) -> int:
        """drop.lua over `items` (pages before segments) in chunks; `what` at the last one."""
        deleted = 0
        chunks = [items[i : i + KEYS_IN_CALL] for i in range(0, len(items), KEYS_IN_CALL)] or [[]]
        for number, chunk in enumerate(chunks, start=1):
            step = what if number == len(chunks) else "pages"
            failpoint(f"drop.{step}")
            reply = await self._drop.call(
                self._store.connections,
                self._keys(generation, chunk),
                (
                    self._store.incarnation,
                    generation,
                    snapshot.newest,
                    snapshot.previous,
                    sum(is_page for is_page, _ in chunk),
                    step,
                ),
            )
            deleted += int(reply[0])
        return deleted

    def _keys(self, generation: str, chunk: Sequence[tuple[bool, int]]) -> list[str]:
        keys = self._store.keys
        return [keys.meta, keys.generations, keys.manifest(generation)] + [
            (keys.page if is_page else keys.state)(generation, index) for is_page, index in chunk
        ]

    async def _snapshot(self) -> _Snapshot:
        store = self._store
        newest, previous, previous_seq = await store.connections.read_command(
            "HMGET", store.keys.meta, "manifest", "previous", "previous_seq"
        )
        if newest is None:
            raise ModelGone("the model does not exist")
        reply = await store.connections.read_command("HGETALL", store.keys.generations)
        rows = [_row(name, line) for name, line in zip(reply[::2], reply[1::2], strict=True)]
        return _Snapshot(
            newest.decode(),
            previous.decode(),
            int(previous_seq),
            {row.generation: row for row in rows},
        )


def _distinct(named: _Named) -> list[int]:
    """Numbers of the generations named."""
    numbers = np.unique(np.concatenate([named.pages, named.segments]))
    return [int(number) for number in numbers if number >= 0]


def _only(
    old: _Named, kept: Sequence[_Named], names: Sequence[str]
) -> dict[str, list[tuple[bool, int]]]:
    """By generation: (is page, index) of what `old` names and no kept manifest does."""
    items: dict[str, list[tuple[bool, int]]] = defaultdict(list)
    sides = [
        (True, old.pages, [manifest.pages for manifest in kept]),
        (False, old.segments, [manifest.segments for manifest in kept]),
    ]
    for is_page, numbers, others in sides:
        unnamed = numbers >= 0
        for other in others:
            common = min(len(numbers), len(other))
            unnamed[:common] &= numbers[:common] != other[:common]
        for index in np.flatnonzero(unnamed).tolist():
            items[names[numbers[index]]].append((is_page, index))
    return items


def _may_be_buried(snapshot: _Snapshot, row: _Row) -> bool:
    if row.generation in snapshot.kept:
        return False
    if row.state == "pinned":
        return snapshot.previous_seq >= row.pin
    return row.state in {"committed", "retired", "dead"}


def _row(name: Any, line: Any) -> _Row:
    words = bytes(line).decode().split()
    pages, page_end, segments, segment_end, pin = (int(word) for word in words[5:10])
    return _Row(bytes(name).decode(), words[0], pages, page_end, segments, segment_end, pin)
