"""Four lanes over a batch whose features have one record each: what most batches are.

Without a number of which the lanes have two views (see `fast`), feature j of a row adds to partial
sum j mod 8 in every lane, and the record of a slot is one vector of eight numbers. So two features
are eight coordinates: their records are read, weighed and summed in one pass before the residuals
are known, and stepped and written in another after:

    records  z z z z n n n n | z z z z n n n n | ...     2 vectors for two features
    xs, ws, us, roots  f f f f g g g g | h h h h ...     1 vector for two features f, g
    sums     places 0 1 | places 2 3 | 4 5 | 6 7         4 vectors

The same bits as the kernels in `fast`, which also take the rest of cases: an odd feature is joined
by one with x = 0, which adds nothing to any sum and is not written. As there, a record that another
feature of the row has changed meanwhile is stepped again from what it is now.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.batch import F32, I64, U8, U32
from ftrl_core.constants import ALPHA, BETA, LAMBDA2, N0, THRESHOLD
from ftrl_core.dither import dither
from ftrl_core.jit import inner_kernel
from ftrl_core.kernels import EVERY_LANE, ZERO, Lanes, Vector, stepped_from, weight_from
from ftrl_core.vector import (
    all_n,
    all_z,
    first_records,
    last_records,
    load,
    root,
    same,
    spread,
    store,
)

EIGHT = (ZERO,) * 8
WIDE = 8
PLACES = 7  # a mask: place 8 is place 0


@inner_kernel
def is_plain(lanes: Lanes, views: U8, size: int) -> bool:
    """Whether the first `size` features are seen by all of four lanes."""
    other = 0
    for i in range(size):
        other |= views[i] ^ np.uint8(EVERY_LANE)
    return len(lanes) == 4 and other == 0


@inner_kernel
def score_plain(
    lanes: Lanes, table: F32, k: F32, hashes: U32, values: F32, start: int, count: int,
    factors: F32, slots: U32, records: F32, roots: F32, xs: F32, ws: F32, sums: F32,
) -> None:  # fmt: skip
    """The weights and partial sums of the features start:start + count; the arrays from slots on
    are filled, for an even number of features: slots has room for one more than count."""
    width = len(lanes)
    mask = np.uint32(table.size // (2 * width) - 1)
    n0, beta = load(EIGHT, k, N0 * WIDE), load(EIGHT, k, BETA * WIDE)
    threshold, lambda2 = load(EIGHT, k, THRESHOLD * WIDE), load(EIGHT, k, LAMBDA2 * WIDE)
    factor = load(lanes, factors, 0)
    first = np.uint64(start)  # an index that may be negative is looked at each time
    for j in range(np.uint64(count)):
        slots[j] = hashes[first + j] & mask
    for j in range(np.uint64(count)):
        store(xs, width * np.int64(j), spread(lanes, values[first + j]) * factor)
    if count & 1:
        slots[count] = np.uint32(0)
        store(xs, width * count, spread(lanes, ZERO))
    for e in range(0, WIDE * width, WIDE):
        store(sums, e, spread(EIGHT, ZERO))
    for j in range(0, count, 2):
        e = width * j
        a = load(EIGHT, table, 2 * width * np.int64(slots[j]))
        b = load(EIGHT, table, 2 * width * np.int64(slots[j + 1]))
        store(records, 2 * e, a)
        store(records, 2 * e + WIDE, b)
        root_n = root(n0 + all_n(lanes, a, b))
        w = weight_from(EIGHT, all_z(lanes, a, b), root_n, beta, threshold, lambda2)
        store(roots, e, root_n)
        store(ws, e, w)
        place = width * (j & PLACES)
        store(sums, place, load(EIGHT, sums, place) + load(EIGHT, xs, e) * w)


@inner_kernel
def learn_plain(
    lanes: Lanes, table: F32, k: F32, count: int, slots: U32, records: F32, roots: F32, xs: F32,
    ws: F32, us: F32, residuals: F32, noise: np.uint32, page_seqs: I64, page_shift: int, seq: int,
) -> None:  # fmt: skip
    """Step and write the records of a row that `score_plain` has scored, in canonical order."""
    width = len(lanes)
    n0, alpha = load(EIGHT, k, N0 * WIDE), load(EIGHT, k, ALPHA * WIDE)
    residual = load(EIGHT, residuals, 0)
    for j in range(count):
        store(us, width * j, spread(lanes, dither(noise, slots[j], j)))
    for j in range(0, count, 2):
        e = width * j
        a, b = load(EIGHT, records, 2 * e), load(EIGHT, records, 2 * e + WIDE)
        z, n = stepped_from(
            EIGHT, all_z(lanes, a, b), all_n(lanes, a, b), load(EIGHT, roots, e),
            residual * load(EIGHT, xs, e), load(EIGHT, ws, e), load(EIGHT, us, e), n0, alpha,
        )  # fmt: skip
        write_plain(
            lanes, table, slots[j], e, a, first_records(lanes, z, n), xs, ws, us, residuals, k,
            page_seqs, page_shift, seq,
        )  # fmt: skip
        if j + 1 < count:
            write_plain(
                lanes, table, slots[j + 1], e + width, b, last_records(lanes, z, n), xs, ws, us,
                residuals, k, page_seqs, page_shift, seq,
            )  # fmt: skip


@inner_kernel
def write_plain(
    lanes: Lanes, table: F32, slot: np.uint32, e: int, before: Vector, after: Vector, xs: F32,
    ws: F32, us: F32, residuals: F32, k: F32, page_seqs: I64, page_shift: int, seq: int,
) -> None:  # fmt: skip
    """Write the record of coordinates e:e + width, which was `before` when `after` was computed."""
    width = len(lanes)
    at = 2 * width * np.int64(slot)
    if same(load(EIGHT, table, at), before):
        store(table, at, after)
    else:
        n0, n = load(lanes, k, N0 * WIDE), load(lanes, table, at + width)
        z, n = stepped_from(
            lanes, load(lanes, table, at), n, root(n0 + n),
            load(lanes, residuals, 0) * load(lanes, xs, e), load(lanes, ws, e), load(lanes, us, e),
            n0, load(lanes, k, ALPHA * WIDE),
        )  # fmt: skip
        store(table, at, z)
        store(table, at + width, n)
    page_seqs[np.uint64(slot) >> np.uint64(page_shift)] = seq
