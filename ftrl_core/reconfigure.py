"""Changing a live model's hyper-parameters or table size without a jump of its predictions.

A smaller or larger l1 or l2 acts at once through the closed form of the weight. A new learning
rate or beta would rescale every weight, so z is derived again such that each weight stays what it
was (state synthesis: for w != 0, z = -(w * divisor) - sign(w) * threshold; a weight of zero keeps
the paper's z, which is the table's divided by the learning rate). A larger table copies each slot
to all slots that its features may now hash to, so no prediction changes, and the copies part ways
as they learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core import kernels as k
from ftrl_core.config import ModelConfig
from ftrl_core.constants import fold_constants
from ftrl_core.errors import BadConfig
from ftrl_core.kernels import F64
from ftrl_core.table import WeightTable

CHANGEABLE = (
    "learning_rate",
    "beta",
    "l1_regularization_strength",
    "l2_regularization_strength",
)


CHUNK_CELLS = 1 << 17


def changed_config(config: ModelConfig, changes: Mapping[str, Any]) -> ModelConfig:
    """The configuration with changes {"optimizer": {...}, "table_bits": ...}; BadConfig if one of
    them cannot be made live."""
    whole = config.to_dict()
    for name, value in changes.items():
        if name == "optimizer" and isinstance(value, Mapping):
            for argument in value:
                if argument not in CHANGEABLE:
                    raise BadConfig(f"only {', '.join(CHANGEABLE)} can be changed live")
            whole["optimizer"].update(value)
        elif name == "table_bits":
            whole[name] = value
        else:
            raise BadConfig("only optimizer and table_bits can be changed live")
    after = ModelConfig.from_dict(whole)
    if after.table_bits < config.table_bits:
        raise BadConfig(f"table_bits can grow, not shrink, from {config.table_bits}")
    return after


@dataclass(slots=True)
class Reconfigured:
    """What a model has after a change; table and bias are new where their numbers are."""

    config: ModelConfig
    table: WeightTable
    bias: F64


def reconfigured(
    config: ModelConfig, changes: Mapping[str, Any], table: WeightTable, bias: F64, seq: int
) -> Reconfigured | None:
    """The state after the change at seq; nothing given is changed, so that predictions may go on
    meanwhile. None when the change cannot be made: it was right where it was checked, but another
    one came first."""
    try:
        after = changed_config(config, changes)
    except BadConfig:
        return None
    old, new = config.optimizer, after.optimizer
    if (old.learning_rate, old.beta) != (new.learning_rate, new.beta):
        table, bias = table.copy(seq), bias.copy()
        _keep_weights(config, after, table, bias)
    return Reconfigured(after, grown(table, after.table_bits, seq), bias)


def _keep_weights(before: ModelConfig, after: ModelConfig, table: WeightTable, bias: F64) -> None:
    """Derive z again, in place, for a new learning rate or beta; some slots at a time, since the
    arithmetic is in float64 and takes several arrays."""
    old, new = before.optimizer, after.optimizer
    between = replace(old, learning_rate=new.learning_rate, beta=new.beta)
    was, becomes = fold_constants(before), fold_constants(replace(before, optimizer=between))
    for first in range(0, table.cells.size, CHUNK_CELLS):
        cells = table.cells[first : first + CHUNK_CELLS]
        _derive(cells[0::2], cells[1::2], was, becomes, k.THRESHOLD, k.LAMBDA2)
    _derive(bias[0::2], bias[1::2], was, becomes, k.BIAS_THRESHOLD, k.BIAS_LAMBDA2)


def _derive(
    z: npt.NDArray[Any],
    n: npt.NDArray[Any],
    was: F64,
    becomes: F64,
    threshold_place: int,
    lambda2_place: int,
) -> None:
    threshold, root = was[threshold_place], np.sqrt(was[k.N0] + n.astype(np.float64))
    shrunk = z - np.clip(z, -threshold, threshold)
    divisor = was[k.BETA] + root + was[lambda2_place]
    w = np.divide(-shrunk, divisor, out=np.zeros(z.shape), where=divisor > 0)
    derived = -w * (becomes[k.BETA] + root + becomes[lambda2_place])
    derived -= np.sign(w) * becomes[threshold_place]
    z[:] = np.where(w != 0, derived, z / was[k.ALPHA] * becomes[k.ALPHA]) + 0.0


def grown(table: WeightTable, table_bits: int, seq: int) -> WeightTable:
    """The table with 2^table_bits slots, each old slot copied; the same table if it has them."""
    if table.cells.size == 2 * table.lanes << table_bits:
        return table
    larger = WeightTable(table_bits, table.lanes)
    for first in range(0, larger.cells.size, table.cells.size):
        larger.cells[first : first + table.cells.size] = table.cells
    larger.page_seqs[:] = seq
    return larger
