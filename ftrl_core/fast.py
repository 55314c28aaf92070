"""The fast kernel: one example at a time through small flat arrays, eight numbers at once.

The records of an example lie anywhere in the table, so they are gathered into flat arrays (feature
by feature, lane by lane), all arithmetic runs over eight numbers at once, whatever the number of
lanes, and the records are scattered back:

    slots    s0         s1         s2 ...        a number of which the lanes have two views has two:
    others   -1         t1         -1 ...        its logarithm's (odd lanes), its bin's (even lanes)
    zs       z z z z    z z z z    z z z z ...   `width` lanes a feature; ns, ws, xs, us alike
    sums     place 0 | place 1 | ... | place 7   of `width` lanes each

Arrays are padded to whole vectors with x = 0, which adds nothing to any sum.

Two features of an example may share a slot. Then the second starts from what the first left, and
what was computed from the gathered (z, n) is not it. So scattering compares the record as it is now
with what was gathered: the update is a function of nothing else that could have changed, so where
they are equal the result stands, and where not it is computed again.

Four lanes without numbers of two views, which is most batches, are done in `plain`, in two passes
instead of five.

Records are asked for AHEAD rows before they are used, so memory is not waited for. Power -1/2, no
shrinkage, clipping, schedule or admission; every bit as `kernels` says.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.batch import F32, I64, U8, U32
from ftrl_core.constants import ALPHA, BETA, F64, LAMBDA2, N0, SHARE, THRESHOLD
from ftrl_core.dither import dither, example_seed
from ftrl_core.jit import inner_kernel, kernel
from ftrl_core.kernels import (
    ACCUMULATORS,
    BIN_LANES,
    LINEAR_LANES,
    VIEWS,
    ZERO,
    Lanes,
    Vector,
    bias_weight,
    clamped_logit,
    joined,
    longest_row,
    stepped,
    update_bias,
    view_factors,
    weight,
)
from ftrl_core.mixture import logit_of, mixed, update_posterior
from ftrl_core.numbers import sigmoid
from ftrl_core.plain import EIGHT, WIDE, is_plain, learn_plain, score_plain
from ftrl_core.vector import (
    all_n,
    all_z,
    alternate,
    first_records,
    last_records,
    load,
    prefetch,
    same,
    spread,
    store,
)

AHEAD = 2  # rows between asking for a record and using it
NONE = np.uint32(0xFFFFFFFF)  # no slot: a table has at most 2^30


@kernel
def tiled(k: F64) -> F32:
    """The constants in float32, each eight numbers wide: constant c of lane l at every
    8 c + i with i mod lanes = l."""
    lanes = k.shape[1]
    wide = np.empty(k.shape[0] * WIDE, np.float32)
    for c in range(k.shape[0]):
        for i in range(WIDE):
            wide[c * WIDE + i] = np.float32(k[c, i % lanes])
    return wide


@inner_kernel
def prefetch_row(table: F32, width: int, hashes: U32, row_offsets: I64, row: int) -> None:
    """Have the slot records of a row brought near, if there is such a row."""
    if row + 1 >= row_offsets.size:
        return
    mask = np.uint32(table.size // (2 * width) - 1)
    for i in range(np.uint64(row_offsets[row]), np.uint64(row_offsets[row + 1])):
        prefetch(table, 2 * width * np.int64(hashes[i] & mask))


@inner_kernel
def padded(size: int) -> int:
    """The size in whole vectors."""
    return (size + WIDE - 1) & -WIDE


@inner_kernel
def record(lanes: Lanes, table: F32, slot: np.uint32, other: np.uint32) -> Vector:
    """z of every lane and n of every lane: of a slot, or of both views of a number."""
    width, both = len(lanes), lanes + lanes
    cells = load(both, table, 2 * width * np.int64(slot))
    if width > 1 and other != NONE:
        cells = alternate(load(both, table, 2 * width * np.int64(other)), cells)
    return cells


@inner_kernel
def set_record(lanes: Lanes, table: F32, slot: np.uint32, other: np.uint32, cells: Vector) -> None:
    """Write a record back, of a number each lane to its own view; the two slots may be one."""
    width, both = len(lanes), lanes + lanes
    at = 2 * width * np.int64(slot)
    if width > 1 and other != NONE:
        store(table, at, alternate(load(both, table, at), cells))
        at = 2 * width * np.int64(other)
        cells = alternate(cells, load(both, table, at))
    store(table, at, cells)


@inner_kernel
def gather_row(
    lanes: Lanes, table: F32, hashes: U32, values: F32, views: U8, start: int, count: int,
    factors: F32, slots: U32, others: U32, places: U32, records: F32, xs: F32,
) -> int:  # fmt: skip
    """The records and values of the features start:start + count; how many there are, with the
    two views of a number as one."""
    width = len(lanes)
    mask = np.uint32(table.size // (2 * width) - 1)
    if width == 1:
        first = np.uint64(start)  # an index that may be negative is looked at each time
        for j in range(np.uint64(count)):
            slots[j] = hashes[first + j] & mask
        for j in range(np.uint64(count)):
            xs[j] = values[first + j] * factors[views[first + j]]
        for j in range(count):
            store(records, 2 * j, record(lanes, table, slots[j], NONE))
        for j in range(count, padded(count)):
            xs[j] = ZERO
        return count
    units, j = 0, 0
    while j < count:
        i = start + j
        slot, other = np.uint32(hashes[i] & mask), NONE
        x = spread(lanes, values[i]) * load(lanes, factors, width * np.int64(views[i]))
        places[units] = j
        if width > 1 and views[i] == LINEAR_LANES:
            j += 1
            other = np.uint32(hashes[i + 1] & mask)
            factor = load(lanes, factors, width * BIN_LANES)
            x = alternate(spread(lanes, values[i + 1]) * factor, x)
        slots[units], others[units] = slot, other
        store(records, 2 * width * units, record(lanes, table, slot, other))
        store(xs, width * units, x)
        units += 1
        j += 1
    for e in range(units * width, padded(units * width)):
        xs[e] = ZERO
    return units


@inner_kernel
def weigh_row(lanes: Lanes, records: F32, size: int, k: F32, ws: F32) -> None:
    """w of the first `size` coordinates into ws."""
    n0, beta = load(EIGHT, k, N0 * WIDE), load(EIGHT, k, BETA * WIDE)
    threshold, lambda2 = load(EIGHT, k, THRESHOLD * WIDE), load(EIGHT, k, LAMBDA2 * WIDE)
    for e in range(0, size, WIDE):
        a, b = load(EIGHT, records, 2 * e), load(EIGHT, records, 2 * e + WIDE)
        z, n = all_z(lanes, a, b), all_n(lanes, a, b)
        store(ws, e, weight(EIGHT, z, n, n0, beta, threshold, lambda2))


@inner_kernel
def sum_row(
    lanes: Lanes, units: int, others: U32, places: U32, xs: F32, ws: F32, sums: F32
) -> None:
    """The eight partial sums of x w of every lane."""
    width = len(lanes)
    if width == 1:
        total = spread(EIGHT, ZERO)
        for e in range(0, units, WIDE):
            total = total + load(EIGHT, xs, e) * load(EIGHT, ws, e)
        store(sums, 0, total)
        return
    for e in range(0, WIDE * width, WIDE):
        store(sums, e, spread(EIGHT, ZERO))
    for i in range(units):
        xw = load(lanes, xs, i * width) * load(lanes, ws, i * width)
        at = np.int64(places[i] & np.uint32(7)) * width
        if others[i] != NONE:
            after = np.int64((places[i] + np.uint32(1)) & np.uint32(7)) * width
            store(sums, after, load(lanes, sums, after) + alternate(xw, spread(lanes, ZERO)))
            xw = alternate(spread(lanes, ZERO), xw)
        store(sums, at, load(lanes, sums, at) + xw)


@inner_kernel
def learn_lanes(
    bias: F64, k: F64, sums: F32, label: int, weight_of_row: np.float32, ps: F64, residuals: F32
) -> float:
    """Each lane's probability into ps and residual into residuals (eight wide), its bias updated;
    the logit of the last."""
    width, logit = ps.size, 0.0
    for lane in range(width):
        b = bias_weight(bias, k, lane)
        logit = clamped_logit(joined(sums, width, lane), b)
        ps[lane] = sigmoid(logit)
        residual = (ps[lane] - np.float64(label)) * np.float64(weight_of_row)
        for i in range(lane, WIDE, width):
            residuals[i] = np.float32(residual)
        update_bias(bias, residual, b, k, lane)
    return logit


@inner_kernel
def score_row(
    lanes: Lanes, table: F32, constants: F64, k: F32, row_offsets: I64, row: int, hashes: U32,
    values: F32, views: U8, plain: bool, factors: F32, slots: U32, others: U32, places: U32,
    records: F32, roots: F32, xs: F32, ws: F32, sums: F32,
) -> int:  # fmt: skip
    """Gather a row's records, and from them the weights and the partial sums of every lane; how
    many records there are for each lane. The arrays from factors on are filled."""
    start = row_offsets[row]
    count = row_offsets[row + 1] - start
    view_factors(constants, values, views, start, count, factors)
    if plain:
        score_plain(
            lanes, table, k, hashes, values, start, count, factors, slots, records, roots, xs, ws,
            sums,
        )  # fmt: skip
        return int(count)
    units = gather_row(
        lanes, table, hashes, values, views, start, count, factors, slots, others, places,
        records, xs,
    )  # fmt: skip
    weigh_row(lanes, records, units * len(lanes), k, ws)
    sum_row(lanes, units, others, places, xs, ws, sums)
    return units


@inner_kernel
def dither_row(
    lanes: Lanes, units: int, slots: U32, others: U32, places: U32, noise: np.uint32, us: F32
) -> None:
    """The dither of every coordinate into us."""
    width = len(lanes)
    if width == 1:
        for i in range(units):
            us[i] = dither(noise, slots[i], i)
        return
    for i in range(units):
        place = int(places[i])
        u = spread(lanes, dither(noise, slots[i], place))
        if others[i] != NONE:
            u = alternate(spread(lanes, dither(noise, others[i], place + 1)), u)
        store(us, i * width, u)


@inner_kernel
def step_row(
    lanes: Lanes, records: F32, size: int, xs: F32, ws: F32, us: F32, residuals: F32, k: F32,
    stepped_records: F32,
) -> None:  # fmt: skip
    """The records of the first `size` coordinates after their update."""
    n0, alpha = load(EIGHT, k, N0 * WIDE), load(EIGHT, k, ALPHA * WIDE)
    residual = load(EIGHT, residuals, 0)
    for e in range(0, size, WIDE):
        a, b = load(EIGHT, records, 2 * e), load(EIGHT, records, 2 * e + WIDE)
        g, w, u = residual * load(EIGHT, xs, e), load(EIGHT, ws, e), load(EIGHT, us, e)
        z, n = stepped(EIGHT, all_z(lanes, a, b), all_n(lanes, a, b), g, w, u, n0, alpha)
        store(stepped_records, 2 * e, first_records(lanes, z, n))
        store(stepped_records, 2 * e + WIDE, last_records(lanes, z, n))


@inner_kernel
def step_again(
    lanes: Lanes, table: F32, slot: np.uint32, other: np.uint32, e: int, xs: F32, ws: F32, us: F32,
    residuals: F32, k: F32, scratch: F32,
) -> Vector:  # fmt: skip
    """The record of one feature after its update, from what is in the table now."""
    width = len(lanes)
    store(scratch, 0, record(lanes, table, slot, other))
    z, n = stepped(
        lanes, load(lanes, scratch, 0), load(lanes, scratch, width),
        load(lanes, residuals, 0) * load(lanes, xs, e), load(lanes, ws, e), load(lanes, us, e),
        load(lanes, k, N0 * WIDE), load(lanes, k, ALPHA * WIDE),
    )  # fmt: skip
    store(scratch, 0, z)
    store(scratch, width, n)
    return load(lanes + lanes, scratch, 0)


@inner_kernel
def scatter_row(
    lanes: Lanes, table: F32, units: int, slots: U32, others: U32, records: F32,
    stepped_records: F32, xs: F32, ws: F32, us: F32, residuals: F32, k: F32, scratch: F32,
    page_seqs: I64, page_shift: int, seq: int,
) -> None:  # fmt: skip
    """Write the updated records to the table, in canonical order."""
    width, both, shift = len(lanes), lanes + lanes, np.uint64(page_shift)
    for i in range(units):
        slot, other = slots[i], others[i] if width > 1 else NONE
        cells = load(both, stepped_records, 2 * width * i)
        before = record(lanes, table, slot, other)
        if not same(before, load(both, records, 2 * width * i)):
            cells = step_again(
                lanes, table, slot, other, i * width, xs, ws, us, residuals, k, scratch
            )
        set_record(lanes, table, slot, other, cells)
        page_seqs[np.uint64(slot) >> shift] = seq
        if width > 1 and other != NONE:
            page_seqs[np.uint64(other) >> shift] = seq


@kernel
def predict_batch(
    lanes: Lanes, table: F32, bias: F64, posterior: F64, constants: F64,
    row_offsets: I64, hashes: U32, values: F32, views: U8, out: F64,
) -> None:  # fmt: skip
    """Probabilities of all rows into out (float64[rows]); changes nothing else."""
    width, k = len(lanes), tiled(constants)
    longest = longest_row(row_offsets)
    size = padded(longest * width)
    records = np.zeros(2 * size, np.float32)
    ws, xs = np.zeros(size, np.float32), np.zeros(size, np.float32)
    slots, others = np.empty(longest + 1, np.uint32), np.empty(longest, np.uint32)
    places, sums = np.empty(longest, np.uint32), np.empty(ACCUMULATORS * width, np.float32)
    roots, plain = np.empty(size, np.float32), is_plain(lanes, views, hashes.size)
    ps, bs, factors = np.empty(width), np.empty(width), np.empty(VIEWS * width, np.float32)
    for lane in range(width):
        bs[lane] = bias_weight(bias, constants, lane)
    for r in range(row_offsets.size - 1):
        prefetch_row(table, width, hashes, row_offsets, r + AHEAD)
        score_row(
            lanes, table, constants, k, row_offsets, r, hashes, values, views, plain, factors,
            slots, others, places, records, roots, xs, ws, sums,
        )  # fmt: skip
        for lane in range(width):
            ps[lane] = sigmoid(clamped_logit(joined(sums, width, lane), bs[lane]))
        out[r] = mixed(posterior, ps)


@kernel
def learn_batch(
    lanes: Lanes, table: F32, bias: F64, posterior: F64, constants: F64, seed: int, examples: int,
    row_offsets: I64, hashes: U32, values: F32, views: U8, labels: U8, weights: F32, skip: U8,
    page_seqs: I64, page_shift: int, seq: int, logits: F64, out: F64,
) -> int:  # fmt: skip
    """Fold the rows in order; table, bias, posterior, page_seqs, logits, out change in place.

    values float32[nnz] and views uint8[nnz] are what `numeric_features.expanded` gives. Rows with
    skip[r] != 0 change nothing and get NaN in out and logits (float64[rows]: the probability made
    before learning, its logit). page_seqs[slot >> page_shift] becomes seq for each touched slot.
    `examples` were folded before; returns how many now.
    """
    width, k = len(lanes), tiled(constants)
    longest = longest_row(row_offsets)
    size = padded(longest * width)
    records, after = np.zeros(2 * size, np.float32), np.empty(2 * size, np.float32)
    ws, xs, us = np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)
    slots, others = np.empty(longest + 1, np.uint32), np.empty(longest, np.uint32)
    places, sums = np.empty(longest, np.uint32), np.empty(ACCUMULATORS * width, np.float32)
    roots, plain = np.empty(size, np.float32), is_plain(lanes, views, hashes.size)
    residuals, ps = np.empty(WIDE, np.float32), np.empty(width)
    scratch, factors = np.empty(2 * width, np.float32), np.empty(VIEWS * width, np.float32)
    for r in range(labels.size):
        if skip[r]:
            out[r] = logits[r] = np.nan
            continue
        units = score_row(
            lanes, table, constants, k, row_offsets, r, hashes, values, views, plain, factors,
            slots, others, places, records, roots, xs, ws, sums,
        )  # fmt: skip
        logits[r] = learn_lanes(bias, constants, sums, labels[r], weights[r], ps, residuals)
        prefetch_row(table, width, hashes, row_offsets, r + AHEAD)  # while exp is waited for
        out[r] = mixed(posterior, ps)
        if width > 1:
            logits[r] = logit_of(out[r])
            update_posterior(posterior, ps, labels[r], np.float64(weights[r]), constants[SHARE, 0])
        noise, examples = example_seed(seed, examples), examples + 1
        if plain:
            learn_plain(
                lanes, table, k, units, slots, records, roots, xs, ws, us, residuals, noise,
                page_seqs, page_shift, seq,
            )  # fmt: skip
            continue
        dither_row(lanes, units, slots, others, places, noise, us)
        step_row(lanes, records, units * width, xs, ws, us, residuals, k, after)
        scatter_row(
            lanes, table, units, slots, others, records, after, xs, ws, us, residuals, k, scratch,
            page_seqs, page_shift, seq,
        )  # fmt: skip
    return examples
