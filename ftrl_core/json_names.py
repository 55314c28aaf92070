"""Names of one stream stand in the same places of each example: what was read once is recognised.

    previous row   {"site": "a9", "ad": "b"}     place 0: from 1 on 8 bytes up to the value, hash
    this row       {"site": "c1", "ad": "b"}     the same 8 bytes here? then it is the same name

Comparing bytes takes a few cycles; finding the quote and hashing make whatever comes next wait, for
the hash of a name seeds that of its value. A name that stands elsewhere is read as any other, and
remembered in its place. Escapes and limits need no thought: equal bytes were read before. There may
be more space before the value than there was.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.bits import load_u64
from ftrl_core.jit import kernel
from ftrl_core.json_bits import inlined

Bytes = npt.NDArray[np.uint8]
KnownNames = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint32]]

PLACES = 256  # names of one example that are remembered; more are read each time


@kernel
def no_names() -> KnownNames:
    """For each place where its name stood last, its bytes up to the value (0: none), its hash."""
    return np.empty(PLACES, np.int64), np.zeros(PLACES, np.int64), np.empty(PLACES, np.uint32)


@inlined
def known_bytes(buf: Bytes, pos: int, end: int, known: KnownNames, place: int) -> int:
    """How many bytes from pos on are the name of this place and what follows up to the value.

    0 where it is another one. `buf` can be read seven bytes beyond `end`.
    """
    size = known[1][place] if place < PLACES else 0
    if size == 0 or pos + size > end:
        return 0
    there = known[0][place]
    i = 0
    while i + 8 <= size:
        if load_u64(buf, pos + i) != load_u64(buf, there + i):
            return 0
        i += 8
    rest = np.uint64(8 * (size - i))
    differs = load_u64(buf, pos + i) ^ load_u64(buf, there + i)
    if differs & ((np.uint64(1) << rest) - np.uint64(1)):
        return 0
    return int(size)


@inlined
def remember(known: KnownNames, place: int, pos: int, size: int, name: np.uint32) -> None:
    """That the name of this place began at pos, its value `size` bytes later."""
    if place < PLACES:
        known[0][place] = pos
        known[1][place] = size
        known[2][place] = name
