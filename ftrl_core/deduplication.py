"""Which examples were learned already: a window of the last W ids, by position.

Ids are 64-bit hashes: of event ids, and of idempotency keys (these with their bits mixed, so that a
key and an event id of one text do not meet). The ring remembers the last W in the order in which
they were folded:

    ids      uint64[W]   the id; slot count % W is the next
    bodies   uint64[W]   of an idempotency key the hash of its request's body, of an event id 0
    seconds  uint32[W]   append time of the entry, for the window's age

and an open-addressing index (uint32, linear probing, never more than half full, backward-shift
deletion) finds an id in one or two probes. The index is derived, so it is not part of a
checkpoint; whether an id is found does not depend on its layout.

Verdicts of rows: LEARN, DUPLICATE, or CONFLICT (the key came before with another body: nothing of
the request is learned). A request cut over several entries names its key in the first only; the
others continue it and take its verdict, which is state of the fold and part of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ftrl_core.batch import I64, U8, U32, U64, frozen
from ftrl_core.entry import CONTINUES, Requests
from ftrl_core.entry_kernels import U16
from ftrl_core.jit import kernel
from ftrl_core.placement import Secret, current_secret, home

LEARN, DUPLICATE, CONFLICT = 0, 1, 2
SEGMENT_IDS = 8192
ID_BYTES = 20  # id, body, seconds
_KEY_MIX = np.uint64(0x9E3779B97F4A7C15)


@kernel
def _find(key: np.uint64, ids: U64, index: U32, secret: Secret) -> int:
    """The ring slot of an id, or -1."""
    place = home(key, index.size, secret)
    while index[place]:
        slot = int(np.int64(index[place])) - 1
        if ids[slot] == key:
            return slot
        place = (place + 1) & (index.size - 1)
    return -1


@kernel
def _link(key: np.uint64, slot: int, index: U32, secret: Secret) -> None:
    place = home(key, index.size, secret)
    while index[place]:
        place = (place + 1) & (index.size - 1)
    index[place] = slot + 1


@kernel
def _unlink(key: np.uint64, ids: U64, index: U32, secret: Secret) -> None:
    """Remove an id that is there, moving later ones of its run back."""
    mask = index.size - 1
    hole = home(key, index.size, secret)
    while ids[np.int64(index[hole]) - 1] != key:
        hole = (hole + 1) & mask
    place = hole
    while True:
        place = (place + 1) & mask
        if not index[place]:
            break
        wanted = home(ids[np.int64(index[place]) - 1], index.size, secret)
        if ((place - wanted) & mask) >= ((place - hole) & mask):
            index[hole] = index[place]
            hole = place
    index[hole] = 0


@kernel
def _remember(
    key: np.uint64,
    body: np.uint64,
    second: int,
    seq: int,
    count: int,
    ids: U64,
    bodies: U64,
    seconds: U32,
    index: U32,
    segment_seqs: I64,
    secret: Secret,
) -> int:
    """Put an id that is not there into the ring, over the oldest; returns the new count."""
    slot = count % ids.size
    if count >= ids.size:
        _unlink(ids[slot], ids, index, secret)
    ids[slot], bodies[slot], seconds[slot] = key, body, second
    _link(key, slot, index, secret)
    segment_seqs[slot // SEGMENT_IDS] = seq
    return count + 1


@kernel
def _judge(
    keys: U64,
    request_bodies: U64,
    rows: U32,
    flags: U16,
    event_ids: U64,
    carried: int,
    second: int,
    seq: int,
    count: int,
    ids: U64,
    bodies: U64,
    seconds: U32,
    index: U32,
    segment_seqs: I64,
    out: U8,
    secret: Secret,
) -> tuple[int, int]:
    r = 0
    for q in range(keys.size):
        if not flags[q] & CONTINUES:
            carried = LEARN
            if keys[q] and ids.size:
                key = keys[q] * _KEY_MIX
                slot = _find(key, ids, index, secret)
                if slot >= 0:
                    carried = DUPLICATE if bodies[slot] == request_bodies[q] else CONFLICT
                else:
                    count = _remember(
                        key, request_bodies[q], second, seq, count,
                        ids, bodies, seconds, index, segment_seqs, secret,
                    )  # fmt: skip
        for _ in range(rows[q]):
            out[r] = carried
            event = event_ids[r]
            if carried == LEARN and event and ids.size:
                if _find(event, ids, index, secret) >= 0:
                    out[r] = DUPLICATE
                else:
                    count = _remember(
                        event, np.uint64(0), second, seq, count,
                        ids, bodies, seconds, index, segment_seqs, secret,
                    )  # fmt: skip
            r += 1
    return count, carried


@kernel
def _rebuild(ids: U64, used: int, index: U32, secret: Secret) -> None:
    for slot in range(used):
        _link(ids[slot], slot, index, secret)


class Deduplication:
    """The window of one model; `judge` is called by the fold only."""

    def __init__(self, window: int) -> None:
        self.window = window
        self._secret = current_secret()
        self.count = 0  # ids ever remembered
        self.carried = LEARN  # verdict of the last request, for one that continues
        self._ids: U64 = np.zeros(window, np.uint64)
        self._bodies: U64 = np.zeros(window, np.uint64)
        self._seconds: U32 = np.zeros(window, np.uint32)
        self._index: U32 = np.zeros(max(4, 1 << (2 * window - 1).bit_length()), np.uint32)
        self.segment_seqs: I64 = np.zeros(-(-window // SEGMENT_IDS), np.int64)
        self._checksums: U64 = np.zeros(self.segment_seqs.size, np.uint64)
        self._known_seqs: I64 = np.zeros(self.segment_seqs.size, np.int64)

    def judge(self, requests: Requests, event_ids: U64, time_ms: int, seq: int) -> U8:
        """uint8[rows] of verdicts, in order; remembers what is new."""
        out = np.empty(event_ids.size, np.uint8)
        self.count, self.carried = _judge(
            frozen(np.ascontiguousarray(requests["key"])),
            frozen(np.ascontiguousarray(requests["body"])),
            frozen(np.ascontiguousarray(requests["rows"])),
            frozen(np.ascontiguousarray(requests["flags"])),
            event_ids,
            self.carried,
            time_ms // 1000,
            seq,
            self.count,
            self._ids,
            self._bodies,
            self._seconds,
            self._index,
            self.segment_seqs,
            out,
            self._secret,
        )
        return out

    @property
    def used(self) -> int:
        """How many ids are remembered."""
        return min(self.count, self.window)

    def oldest_second(self) -> int | None:
        """Append time of the oldest id remembered, in seconds; None when there is none."""
        if not self.used:
            return None
        return int(self._seconds[self.count % self.window if self.count >= self.window else 0])

    def segment(self, k: int) -> bytes:
        """Bytes of segment k, at its used length: ids, bodies, seconds."""
        first, last = k * SEGMENT_IDS, min((k + 1) * SEGMENT_IDS, self.used)
        arrays = (self._ids, self._bodies, self._seconds)
        return b"".join(array[first:last].tobytes() for array in arrays)

    def checksums(self, checksum: Callable[[bytes], int]) -> U64:
        """uint64[segments]: each segment's checksum, kept until it changes. Do not change it."""
        for k in np.flatnonzero(self.segment_seqs != self._known_seqs).tolist():
            self._checksums[k] = checksum(self.segment(k))
            self._known_seqs[k] = self.segment_seqs[k]
        return self._checksums

    def load(self, count: int, carried: int, segments: list[bytes], seq: int) -> None:
        """Take over a state; ValueError when the sizes disagree."""
        self.count, self.carried = count, carried
        for k, content in enumerate(segments):
            first = k * SEGMENT_IDS
            used = max(0, min(SEGMENT_IDS, self.used - first))
            if len(content) != used * ID_BYTES:
                raise ValueError("a segment of remembered ids has another size")
            if used:
                self.segment_seqs[k] = seq
            self._ids[first : first + used] = np.frombuffer(content, np.uint64, used)
            self._bodies[first : first + used] = np.frombuffer(content, np.uint64, used, 8 * used)
            self._seconds[first : first + used] = np.frombuffer(content, np.uint32, used, 16 * used)
        _rebuild(self._ids, self.used, self._index, self._secret)
