"""q2.13: weights in 16 bits, for serving only (McMahan et al. 2013, section 4.2).

    int16   sign, 2 bits of integer, 13 of fraction: value / 2^13, from -4 to 4 - 2^-13
    w_r     floor(2^13 w + R) / 2^13,  R uniform in [0, 1)

Rounding up with the probability of the remainder makes the sum of many weights right on average,
where rounding to nearest would lose all weights below 2^-14 alike. R is a hash of (seed, slot), so
one model and seed give one file. What is beyond the range is cut to it. Slots whose weight becomes
0 are not stored, and no state is: such a copy predicts, and learns no more.

    format    text      "clickfold q2.13 1"
    config    text      the model's configuration as JSON
    lane      int       the lane of a mixture these weights are of
    slots     uint32[k] ascending
    weights   int16[k]
    bias      float64

One lane is kept, and predicts as that lane does: scale and views of numbers are applied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core import arguments
from ftrl_core.batch import F32, I64, U8, U32, ExampleBatch
from ftrl_core.config import ModelConfig
from ftrl_core.constants import F64, fold_constants
from ftrl_core.coordinate import bias_weight, weight
from ftrl_core.dither import dither
from ftrl_core.errors import BadConfig, BadWeights
from ftrl_core.jit import kernel
from ftrl_core.kernels import LOGIT_MAX, VIEWS, view_factors
from ftrl_core.model import Model
from ftrl_core.numbers import sigmoid
from ftrl_core.numeric_features import expanded
from ftrl_core.synthesis import constants_now, lane_of

I16 = npt.NDArray[np.int16]

FORMAT = "clickfold q2.13 1"
ONE = 8192.0  # 2^13
LEAST, MOST = -32768.0, 32767.0
_ARRAYS = ("format", "config", "lane", "slots", "weights", "bias")


@kernel
def rounded(w: float, seed: np.uint32, slot: int) -> np.int16:
    """floor(2^13 w + R), within int16; R is a hash of seed and slot."""
    up = np.float64(dither(seed, slot, 0))
    return np.int16(min(max(np.floor(ONE * w + up), LEAST), MOST))


@kernel
def round_slots(cells: F32, slots: I64, k: F64, lane: int, seed: np.uint32, out: I16) -> None:
    """A lane's weights of the slots, rounded, into out (int16[slots])."""
    width = k.shape[1]
    for i in range(slots.size):
        at = 2 * width * slots[i] + lane
        w = weight(cells[at], cells[at + width], k, lane)
        out[i] = rounded(np.float64(w), seed, slots[i])


@kernel
def score_rows(
    k: F64, lane: int, row_offsets: I64, weights: F64, values: F32, views: U8, bias: float, out: F64
) -> None:
    """Probabilities of the rows into out (float64[rows]); weights float64[nnz] are those of the
    features in their places."""
    factors = np.empty(VIEWS * k.shape[1], np.float32)
    for r in range(row_offsets.size - 1):
        start, end = row_offsets[r], row_offsets[r + 1]
        view_factors(k, values, views, start, end - start, factors)
        total = bias
        for j in range(start, end):
            x = values[j] * factors[np.int64(views[j]) * k.shape[1] + lane]
            total += np.float64(x) * weights[j]
        out[r] = sigmoid(min(max(total, -LOGIT_MAX), LOGIT_MAX))


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedModel:
    """One lane of a model in q2.13; see the file's head for the fields."""

    config: ModelConfig
    lane: int
    slots: U32
    weights: I16
    bias: float

    @staticmethod
    def from_model(model: Model, lane: int | None = None, seed: int = 0) -> QuantizedModel:
        """The rounded copy of a lane, by default the one with the greatest posterior.

        Raises BadConfig for a lane that does not exist, or a seed beyond 32 bits.
        """
        lane = lane_of(model, lane)
        arguments.integer("seed", seed, 0, 2**32 - 1)
        k = constants_now(model)
        table = model.table
        records = table.cells.reshape(-1, 2, table.lanes)[:, :, lane]
        slots = np.flatnonzero(records.any(axis=1))
        weights = np.empty(slots.size, np.int16)
        round_slots(table.cells, slots, k, lane, np.uint32(seed), weights)
        kept = weights != 0
        bias = bias_weight(model.bias, k, lane)
        return QuantizedModel(
            model.config, lane, slots[kept].astype(np.uint32), weights[kept], float(bias)
        )

    def predict(self, batch: ExampleBatch) -> F64:
        """float64[rows]: the probability of a click for each row."""
        offsets, hashes, values, views = expanded(self.config.numbers, batch)
        wanted = hashes & np.uint32((1 << self.config.table_bits) - 1)
        weights = np.zeros(wanted.size)
        if self.slots.size:
            at = np.minimum(np.searchsorted(self.slots, wanted), self.slots.size - 1)
            weights = np.where(self.slots[at] == wanted, self.weights[at] / ONE, 0.0)
        out = np.empty(batch.rows)
        k = fold_constants(self.config)
        score_rows(k, self.lane, offsets, weights, values, views, self.bias, out)
        return out

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of the file, for np.savez."""
        return {
            "format": np.array(FORMAT),
            "config": np.array(json.dumps(self.config.to_dict(), sort_keys=True)),
            "lane": np.array(self.lane),
            "slots": self.slots,
            "weights": self.weights,
            "bias": np.array(self.bias),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> QuantizedModel:
        """The model of these arrays, such as np.load(file, allow_pickle=False); BadWeights says
        what is wrong with them."""
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise BadWeights(f"there is no array {missing[0]!r}")
        told = arrays["format"]
        if told.dtype.kind != "U" or told.shape != () or str(told) != FORMAT:
            raise BadWeights(f"the format is not {FORMAT!r}")
        config, lane = _config(arrays["config"]), arrays["lane"]
        if lane.dtype.kind not in "iu" or lane.shape != () or not 0 <= lane < config.lanes:
            raise BadWeights("lane is not one of the configuration's")
        slots, weights, bias = arrays["slots"], arrays["weights"], arrays["bias"]
        _check(slots, weights, bias, 1 << config.table_bits)
        return QuantizedModel(config, int(lane), slots, weights, float(bias))


def _config(text: npt.NDArray[Any]) -> ModelConfig:
    try:
        return ModelConfig.from_dict(json.loads(str(text)))
    except BadConfig as error:
        raise BadWeights(f"the configuration is not known: {error}") from error
    except (ValueError, RecursionError) as error:
        raise BadWeights("the configuration is not JSON") from error


def _check(
    slots: npt.NDArray[Any], weights: npt.NDArray[Any], bias: npt.NDArray[Any], size: int
) -> None:
    if slots.dtype != np.uint32 or weights.dtype != np.int16 or slots.ndim != 1:
        raise BadWeights("slots must be uint32[k] and weights int16[k]")
    if weights.shape != slots.shape:
        raise BadWeights("there are not as many weights as slots")
    wide = slots.astype(np.int64)
    if (np.diff(wide) <= 0).any() or (wide.size and wide[-1] >= size):
        raise BadWeights(f"slots must ascend, and be below {size}")
    if bias.dtype != np.float64 or bias.shape != () or not np.isfinite(bias):
        raise BadWeights("bias must be one finite float64")
