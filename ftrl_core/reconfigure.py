"""Changing a live model's hyper-parameters or table size without a jump of its predictions.

A smaller or larger l1 or l2 acts at once through the closed form of the weight. A new learning
rate, power or beta would rescale every weight, so z is derived again such that each weight stays
what it was (state synthesis: for w != 0, z = -(w * divisor) - sign(w) * threshold; a weight of zero
keeps the paper's z, which is the table's divided by the learning rate). A larger table copies each
slot to all slots that its features may now hash to, so no prediction changes, and the copies part
ways as they learn.

One number given to a mixture becomes the rate of every lane; a list given to a model with one rate
starts every lane from its state. Another number of lanes is refused: lanes that have learned apart
cannot be joined without a jump.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ftrl_core import arguments
from ftrl_core.batch import F32
from ftrl_core.coefficients import Coefficients
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
from ftrl_core.coordinate import general_root, sum_of_squares
from ftrl_core.errors import BadConfig, UnknownVersion
from ftrl_core.general import scheduled
from ftrl_core.jit import kernel
from ftrl_core.mixture import start_posterior
from ftrl_core.table import WeightTable

CHANGEABLE = (
    "learning_rate",
    "learning_rate_power",
    "beta",
    "l1_regularization_strength",
    "l2_regularization_strength",
)
LIVE = {"optimizer", "table_bits", "slices"}


def merged_config(config: ModelConfig, changes: Mapping[str, Any]) -> ModelConfig:
    """The configuration with changes of any kind; BadConfig if no model could have it."""
    whole = {**config.to_dict(), **changes}
    optimizer = changes.get("optimizer", {})
    if isinstance(optimizer, Mapping):
        optimizer = _for_lanes(optimizer, config.lanes)
        whole["optimizer"] = {**config.optimizer.to_dict(), **optimizer}
        if isinstance(optimizer.get("learning_rate"), list) and config.lanes == 1:
            whole["mixture_share"] = changes.get("mixture_share")
    return ModelConfig.from_dict(whole)


def changed_config(config: ModelConfig, changes: Mapping[str, Any]) -> ModelConfig:
    """The configuration with changes to some of LIVE; BadConfig if one of
    them cannot be made live."""
    after = merged_config(config, changes)
    if not changes.keys() <= LIVE:
        raise BadConfig("only optimizer, table_bits and slices can be changed live")
    if not changes.get("optimizer", {}).keys() <= set(CHANGEABLE):
        raise BadConfig(f"only {', '.join(CHANGEABLE)} can be changed live")
    if after.table_bits < config.table_bits:
        raise BadConfig(f"table_bits can grow, not shrink, from {config.table_bits}")
    if after.lanes != config.lanes and config.lanes != 1:
        raise BadConfig(f"learning_rate must stay {config.lanes} numbers, or be one for all")
    return after


def _for_lanes(optimizer: Mapping[str, Any], lanes: int) -> dict[str, Any]:
    """The changes with one number as the rate of every lane."""
    changes = dict(optimizer)
    if lanes > 1 and isinstance(changes.get("learning_rate"), int | float):
        rate = arguments.finite("learning_rate", changes["learning_rate"])
        changes["learning_rate"] = [rate] * lanes
    return changes


def reconfigured(
    before: Coefficients, changes: Mapping[str, Any], examples: int, seq: int
) -> Coefficients | None:
    """The state after the change at seq; nothing given is changed, so that predictions may go on
    meanwhile. None when the change cannot be made: it was right where it was checked, but another
    one came first. examples counts those folded so far: where a schedule is by now. UnknownVersion
    for a change that this version would have let nobody make."""
    optimizer = changes.get("optimizer", {})
    if not changes.keys() <= LIVE or not {*optimizer} <= {*CHANGEABLE}:
        raise UnknownVersion("a change of the configuration that this version does not know")
    try:
        config = changed_config(before.config, changes)
    except BadConfig:
        return None
    table, bias, posterior = before.table, before.bias, before.posterior
    if config.lanes > before.config.lanes:
        table, bias = widened(table, config.lanes, seq), np.repeat(bias, config.lanes)
        posterior = start_posterior(config.lanes)
    elif _step_sizes(config) != _step_sizes(before.config):
        table, bias = table.copy(seq), bias.copy()
    table = grown(table, config.table_bits, seq)
    after = Coefficients(config, table, bias, posterior, before.admission)
    if _step_sizes(config) != _step_sizes(before.config):
        _keep_weights(before, after, examples)
    return after


def _step_sizes(config: ModelConfig) -> tuple[object, ...]:
    """What z has to be derived again for."""
    o = config.optimizer
    return o.learning_rate, o.learning_rate_power, o.beta


def _keep_weights(before: Coefficients, after: Coefficients, examples: int) -> None:
    """Derive z of `after` again, in place, as of now: under the old l1 and l2 no weight changes."""
    old = before.config.optimizer
    between = replace(
        after.config.optimizer,
        l1_regularization_strength=old.l1_regularization_strength,
        l2_regularization_strength=old.l2_regularization_strength,
    )
    kept = replace(after.config, optimizer=between)
    becomes = Coefficients(kept, after.table, after.bias, after.posterior, after.admission)
    was = scheduled(before.constants, before.schedule, examples)
    now = scheduled(becomes.constants, becomes.schedule, examples)
    if was.shape != now.shape:
        was = np.repeat(was, now.shape[1], axis=1)
    derive_cells(after.table.cells, was, now)
    derive_bias(after.bias, was, now)


@kernel
def wide_root(total: float, power: float) -> float:
    """R(N) of coordinate.py in float64."""
    return float(np.sqrt(total) if power == -0.5 else general_root(total, power))


@kernel
def derived(
    z: float, total: float, was: F64, now: F64, lane: int,
    alpha_row: int, threshold_row: int, lambda2_row: int,
) -> float:  # fmt: skip
    """z under `now` that gives the weight which z gives under `was`; N0 is in neither total."""
    root = wide_root(was[N0, lane] + total, was[POWER, lane])
    divisor = was[BETA, lane] + root + was[lambda2_row, lane]
    threshold = was[threshold_row, lane]
    shrunk = z - min(max(z, -threshold), threshold)
    if shrunk == 0.0 or divisor <= 0.0:
        paper = z / was[alpha_row, lane] * now[alpha_row, lane]
        return float(min(max(paper, -1e19), 1e19) + 0.0)
    new_root = wide_root(now[N0, lane] + total, now[POWER, lane])
    size = abs(shrunk) / divisor * (now[BETA, lane] + new_root + now[lambda2_row, lane])
    size = min(size + now[threshold_row, lane], 1e19)
    return float(size if shrunk > 0.0 else -size)


@kernel
def derive_cells(cells: F32, was: F64, now: F64) -> None:
    """`derived` for every record, in place."""
    width = was.shape[1]
    for first in range(0, cells.size, 2 * width):
        for lane in range(width):
            z, n = cells[first + lane], cells[first + width + lane]
            if z == np.float32(0.0):
                continue
            total = np.float64(sum_of_squares(n, was[COUNTS, lane] != 0.0))
            wide = derived(np.float64(z), total, was, now, lane, ALPHA, THRESHOLD, LAMBDA2)
            cells[first + lane] = np.float32(wide)


@kernel
def derive_bias(bias: F64, was: F64, now: F64) -> None:
    """`derived` for the bias, in place."""
    width = was.shape[1]
    for lane in range(width):
        n = bias[width + lane]
        rows = BIAS_ALPHA, BIAS_THRESHOLD, BIAS_LAMBDA2
        bias[lane] = derived(bias[lane], n, was, now, lane, *rows)


def grown(table: WeightTable, table_bits: int, seq: int) -> WeightTable:
    """The table with 2^table_bits slots, each old slot copied; the same table if it has them."""
    if table.cells.size == 2 * table.lanes << table_bits:
        return table
    larger = WeightTable(table_bits, table.lanes)
    for first in range(0, larger.cells.size, table.cells.size):
        larger.cells[first : first + table.cells.size] = table.cells
    larger.page_seqs[:] = seq
    return larger


def widened(table: WeightTable, lanes: int, seq: int) -> WeightTable:
    """A table of which every lane is the one lane of this one."""
    wide = WeightTable((table.cells.size // 2).bit_length() - 1, lanes)
    wide.cells.reshape(-1, 2, lanes)[:] = table.cells.reshape(-1, 2, 1)
    wide.page_seqs[:] = seq
    return wide
