"""Feature admission: which features get a coefficient (McMahan et al. 2013, section 4.1).

About half of the distinct features of a click log occur once. A feature whose slot is untouched is
not learned at once but admitted

    poisson   each time with a probability: on average at the (1 / probability)-th sighting
    bloom     after `count` sightings, counted in two counting Bloom filters that roll

and from then on learned for good. A feature that is not admitted contributes nothing. The dice are
the dither's kind of hash, and the filters are fold state, so all replicas admit alike.

    counters  uint8[2, 2^bits]   the active filter and the one before it
    cursor    int64[2]           which filter is active; distinct features counted in it

A sighting raises the least of its HASHES counters (conservative update) in the active filter, from
the greater of both filters' counts. When the active one has seen 2^bits / ROLL features the other
is emptied and becomes active: so at any time the last 2^bits / ROLL distinct features at least are
remembered, and a filter is never more than half full (a false positive, about one in 40 then, only
admits early). The state of a model without Bloom admission is empty.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.batch import I64, U8
from ftrl_core.config import ModelConfig
from ftrl_core.jit import kernel

HASHES = 4
ROLL = 8
COUNTER_MAX = 255
SEGMENT_BYTES = 1 << 18


@kernel
def places(hashed: int, seed: int) -> np.uint64:
    """Two 32-bit hashes of a feature: the first place, and the (odd) step to the next ones."""
    x = np.uint64(hashed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint64((x ^ (x >> np.uint64(31))) | np.uint64(1 << 32))


@kernel
def place_of(both: np.uint64, i: int, size: int) -> int:
    """The i-th counter of a feature in a filter of `size` counters, a power of two."""
    step = both >> np.uint64(32)
    return int((both + np.uint64(i) * step) & np.uint64(size - 1))


@kernel
def least_counter(counters: U8, first: int, both: np.uint64, size: int) -> int:
    """How often a filter (that begins at `first`) has seen a feature, at most."""
    least = COUNTER_MAX
    for i in range(HASHES):
        least = min(least, int(counters[first + place_of(both, i, size)]))
    return least


@kernel
def sighted(counters: U8, cursor: I64, hashed: int, seed: int) -> int:
    """Count a sighting, in place; returns how often the feature had been seen before it."""
    size = counters.size // 2
    active, before = int(cursor[0]) * size, (1 - int(cursor[0])) * size
    both = places(hashed, seed)
    seen = least_counter(counters, active, both, size)
    if seen == 0:
        cursor[1] += 1
    seen = max(seen, least_counter(counters, before, both, size))
    for i in range(HASHES):
        at = active + place_of(both, i, size)
        counters[at] = max(int(counters[at]), min(seen + 1, COUNTER_MAX))
    if cursor[1] * ROLL >= size:
        counters[before : before + size] = 0
        cursor[0], cursor[1] = 1 - cursor[0], 0
    return seen


class Admission:
    """The fold state of Bloom admission; `counters` and `cursor` change in the learn kernel."""

    def __init__(self, config: ModelConfig) -> None:
        wanted = config.admission
        bits = wanted.bits if wanted is not None and wanted.kind == "bloom" else None
        self.counters: U8 = np.zeros(0 if bits is None else 2 << bits, np.uint8)
        self.cursor: I64 = np.zeros(2, np.int64)

    @property
    def segment_count(self) -> int:
        """How many segments a checkpoint of this state has; 0 when there is no state."""
        return -(-self.counters.size // SEGMENT_BYTES)

    def segments(self) -> list[bytes]:
        """The state in pieces, the cursor before the first; a piece of zeros is empty."""
        pieces = []
        for first in range(0, self.counters.size, SEGMENT_BYTES):
            piece = self.counters[first : first + SEGMENT_BYTES].tobytes()
            head = self.cursor.tobytes() if first == 0 else b""
            pieces.append(head + piece if head.strip(b"\0") or piece.strip(b"\0") else b"")
        return pieces

    def load(self, pieces: list[bytes]) -> None:
        """Take what `segments` gave; ValueError when it does not fit."""
        for i, piece in enumerate(pieces):
            if not piece:
                continue
            if i == 0:
                self.cursor[:] = np.frombuffer(piece[:16], np.int64)
                piece = piece[16:]
            self.counters[i * SEGMENT_BYTES : (i + 1) * SEGMENT_BYTES] = np.frombuffer(
                piece, np.uint8
            )
        if not 0 <= self.cursor[0] <= 1:
            raise ValueError("admission cursor")
