"""A model made of weights alone, and the weights of a model: state synthesis.

FTRL-Proximal keeps (z, n) and computes w, so a weight without a state is forgotten by the first
gradient. But the closed form of w can be turned round: for w != 0 and any n

    z = -(w (beta + R(n0 + n) + alpha lambda2)) - sign(w) alpha l1        (z times alpha, as kept)

gives back w exactly, so a model can begin from the weights of another system, predict as that one
did, and learn on. n says how sure w is: it is the sum of squared gradients that it stands for, and
sets the step size alpha / (beta + sqrt n) of what comes next. In the paper's own scale z is
z / alpha. For w = 0 a z within the threshold alpha l1 is kept if the other system had one.

Every lane of a mixture begins from the same weights. A model with `numbers` other than raw, or
`scale` other than none, multiplies weights with something else than the values of an example, and
has no counterpart outside: it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ftrl_core import arguments
from ftrl_core.batch import F32, I64
from ftrl_core.config import ModelConfig
from ftrl_core.constants import (
    ALPHA,
    BETA,
    BIAS_ALPHA,
    BIAS_LAMBDA2,
    BIAS_THRESHOLD,
    COUNTS,
    F64,
    LAMBDA2,
    N0,
    POWER,
    THRESHOLD,
)
from ftrl_core.coordinate import bias_weight, sum_of_squares, weight
from ftrl_core.errors import BadConfig, BadWeights
from ftrl_core.general import scheduled
from ftrl_core.hashing import feature_hash, name_hash
from ftrl_core.interchange.weights import SUM_MAX, Feature, LinearWeights, shown
from ftrl_core.jit import kernel
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.reconfigure import wide_root

CONFIDENCE = 100.0  # the best uniform n on real logs, or near it (docs/interchange.md)
COLLISIONS = ("refuse", "mean")
IMPORTED = Position(1, 1)  # as if the weights were the first entry of a log
DIVISOR_LEAST = 1e-12  # below it a weight is not kept by any z of float32
Z_MAX = 1e19


@kernel
def synthetic_z(
    w: float, z: float, total: float, k: F64, lane: int,
    alpha_row: int, threshold_row: int, lambda2_row: int,
) -> float:  # fmt: skip
    """z (times alpha) that gives w at a growth of n by `total`; NaN where none does. The given z,
    the paper's, is kept within the threshold where w is 0."""
    threshold = k[threshold_row, lane]
    if w == 0.0:
        return float(min(max(z * k[alpha_row, lane], -threshold), threshold) + 0.0)
    divisor = k[BETA, lane] + wide_root(k[N0, lane] + total, k[POWER, lane]) + k[lambda2_row, lane]
    size = abs(w) * divisor + threshold
    if divisor < DIVISOR_LEAST or size > Z_MAX:
        return float(np.nan)
    return float(-size if w > 0.0 else size)


@kernel
def synthesise_cells(cells: F32, slots: I64, w: F64, n: F64, z: F64, k: F64) -> int:
    """Fill the records of the slots, in place; the first whose weight no z gives, or their number.

    w, n, z are float64[slots]; n is the whole sum, z the paper's.
    """
    width = k.shape[1]
    for i in range(slots.size):
        for lane in range(width):
            at = 2 * width * slots[i] + lane
            grown = np.float32(max(n[i] - k[N0, lane], 0.0))
            total = np.float64(grown)
            wide = synthetic_z(w[i], z[i], total, k, lane, ALPHA, THRESHOLD, LAMBDA2)
            if np.isnan(wide):
                return i
            cells[at], cells[at + width] = np.float32(wide), grown
    return slots.size


@kernel
def synthesise_bias(bias: F64, w: float, n: float, z: float, k: F64) -> bool:
    """Fill the bias of every lane, in place; whether there is a z that gives w."""
    width = k.shape[1]
    for lane in range(width):
        total = max(n - k[N0, lane], 0.0)
        rows = BIAS_ALPHA, BIAS_THRESHOLD, BIAS_LAMBDA2
        bias[lane] = synthetic_z(w, z, total, k, lane, *rows)
        bias[width + lane] = total
    return not np.isnan(bias).any()


@kernel
def read_cells(cells: F32, slots: I64, k: F64, lane: int, w: F64, n: F64, z: F64) -> None:
    """A lane's weights, whole sums and paper's z of the slots into w, n, z (float64[slots])."""
    width = k.shape[1]
    for i in range(slots.size):
        at = 2 * width * slots[i] + lane
        w[i] = weight(cells[at], cells[at + width], k, lane)
        growth = sum_of_squares(cells[at + width], k[COUNTS, lane] != 0.0)
        n[i] = k[N0, lane] + np.float64(growth)
        alpha = k[ALPHA, lane]
        z[i] = np.float64(cells[at]) / alpha if alpha > 0.0 else 0.0


def model_of(
    weights: LinearWeights,
    config: ModelConfig | Mapping[str, Any],
    confidence: float | None = None,
    collisions: str = "refuse",
) -> Model:
    """A model of this configuration that predicts as the weights do, and learns on from there.

    confidence  n of every weight; None takes the weights' own n, CONFIDENCE where they have none
    collisions  two features in one slot: `refuse`, or `mean`: their weights' mean by n, and the
                greatest n

    Raises BadConfig for a configuration or argument that does not allow it, BadWeights (naming the
    features) for a collision, or a weight that needs a larger z than there is.
    """
    if not isinstance(config, ModelConfig):
        config = ModelConfig.from_dict(config)
    arguments.choice("collisions", collisions, COLLISIONS)
    if confidence is not None:
        confidence = arguments.not_negative("confidence", confidence, SUM_MAX)
    refuse_views(config)
    if config.rates_from != "gradients":
        raise BadConfig("rates_from must be gradients: weights come with no counts of clicks")
    model = Model(config)
    k = model.coefficients.constants
    columns = _columns(weights, confidence)
    slots = slots_of(weights.features, config)
    slots, w, n, z, first = _joined(weights.features, slots, *columns, collisions, config)
    bad = synthesise_cells(model.table.cells, slots, w, n, z, k)
    bias_n = confidence if confidence is not None else weights.bias_n
    bias_n = CONFIDENCE if bias_n is None else float(bias_n)
    bias_z = float(weights.bias_z or 0.0)
    kept = synthesise_bias(model.bias, float(weights.bias), bias_n, bias_z, k)
    if bad < slots.size or not kept:
        what = shown(weights.features[first[bad]]) if bad < slots.size else "the bias"
        raise BadWeights(
            f"the weight of {what} needs a z that float32 does not hold: with beta 0 give a"
            " confidence above 0, and no weight or l1 beyond reason"
        )
    model.table.page_seqs[slots >> model.table.page_shift] = IMPORTED.seq
    model.names.add(dict.fromkeys(name for name, _ in weights.features))
    model.position, model.names_seq = IMPORTED, IMPORTED.seq
    return model


def refuse_views(config: ModelConfig) -> None:
    """Raise BadConfig for a model whose weights mean something else than a linear model's."""
    for name, neutral in (("numbers", "raw"), ("scale", "none")):
        if getattr(config, name) != neutral:
            raise BadConfig(
                f"{name} must be {neutral}: a linear model elsewhere multiplies weights with the"
                f" values themselves; received {name}={getattr(config, name)}"
            )


def _columns(weights: LinearWeights, confidence: float | None) -> tuple[F64, F64, F64]:
    """w, n, z as float64[features], with the n that is to be taken."""
    size = len(weights.features)
    n = np.full(size, CONFIDENCE if confidence is None else confidence)
    if confidence is None and weights.n is not None:
        n = weights.n
    return weights.w, n, np.zeros(size) if weights.z is None else weights.z


def slots_of(features: Sequence[Feature], config: ModelConfig) -> I64:
    """int64[features]: the slot of each."""
    seed, mask = config.hash_seed, (1 << config.table_bits) - 1
    names: dict[str, int] = {}
    slots = np.empty(len(features), np.int64)
    for i, (name, value) in enumerate(features):
        hashed = names.get(name)
        if hashed is None:
            hashed = names[name] = name_hash(name, seed)
        slots[i] = (hashed if value is None else feature_hash(value, hashed)) & mask
    return slots


def _joined(
    features: Sequence[Feature], slots: I64, w: F64, n: F64, z: F64, collisions: str,
    config: ModelConfig,
) -> tuple[I64, F64, F64, F64, I64]:  # fmt: skip
    """The slots, each once and in order, and their w, n, z; last the first feature of each."""
    own, first, place = np.unique(slots, return_index=True, return_inverse=True)
    if own.size < slots.size and collisions == "refuse":
        later = int(np.flatnonzero(first[place] != np.arange(slots.size))[0])
        raise BadWeights(
            f"features {shown(features[first[place[later]]])} and {shown(features[later])} share"
            f" slot {int(slots[later])} ({slots.size - own.size} such in all): raise table_bits"
            f" from {config.table_bits}, or ask for collisions=mean"
        )
    totals, counts = np.bincount(place, n, own.size), np.bincount(place, minlength=own.size)
    known = totals[place] > 0.0
    share = np.where(known, n / np.where(known, totals[place], 1.0), 1.0 / counts[place])
    joined_w, joined_z = np.zeros(own.size), np.zeros(own.size)
    np.add.at(joined_w, place, share * w)
    np.add.at(joined_z, place, share * z)
    greatest = np.zeros(own.size)
    np.maximum.at(greatest, place, n)
    return own, joined_w, greatest, joined_z, first.astype(np.int64)


def weights_of(model: Model, features: Iterable[Feature], lane: int | None = None) -> LinearWeights:
    """The weights that these features have in a lane of the model, by default the lane with the
    greatest posterior; z and n are the paper's. Features never learned are left out.

    Raises BadConfig for a lane that does not exist, and for a model whose weights mean something
    else outside (`refuse_views`).
    """
    refuse_views(model.config)
    lane = lane_of(model, lane)
    k = constants_now(model)
    table = model.table
    wanted = list(dict.fromkeys(features))
    slots = slots_of(wanted, model.config)
    records = table.cells.reshape(-1, 2, table.lanes)[slots, :, lane]
    learned = np.flatnonzero(records.any(axis=1))
    w, n, z = np.empty((3, learned.size))
    read_cells(table.cells, slots[learned], k, lane, w, n, z)
    bias_z, bias_n = model.bias[lane], model.bias[table.lanes + lane]
    alpha = k[BIAS_ALPHA, lane]
    return LinearWeights(
        [wanted[i] for i in learned],
        w,
        n,
        z,
        bias_weight(model.bias, k, lane),
        float(k[N0, lane] + bias_n),
        float(bias_z / alpha) if alpha > 0.0 else 0.0,
        (f"lane {lane}: learning rate {k[ALPHA, lane]:g}",),
    )


def lane_of(model: Model, lane: int | None) -> int:
    """The lane asked for; the one with the greatest posterior for None. Raises BadConfig."""
    if lane is None:
        return int(np.argmax(model.coefficients.posterior))
    return arguments.integer("lane", lane, 0, model.config.lanes - 1)


def constants_now(model: Model) -> F64:
    """The constants of the model's kernels where a schedule is by now."""
    state = model.coefficients
    now: F64 = scheduled(state.constants, state.schedule, model.examples)
    return now
