"""Raw JSON text of features to predictions: all of a request to predict in one call.

    buf   {"ad":"a9","price":3.5}{"ad":"a7"}........   as `json_scan` reads it
    out   p of each row, or a refusal of them all

Scanning, canonical order, numbers and scores are the kernels that learning uses, called one after
the other without Python in between, which took four times as long as they do for one example. What
`json_scan` is not sure of is not scored here: the caller reads it the slow way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ftrl_core import fast
from ftrl_core.batch import F32, I64
from ftrl_core.constants import F64
from ftrl_core.jit import brief_kernel
from ftrl_core.json_scan import Bounds, Bytes, bounds_of, canonical_rows, spare_of
from ftrl_core.json_string import SPARE_BYTES
from ftrl_core.kernels import Lanes
from ftrl_core.limits import Limits
from ftrl_core.numeric_features import expanded_rows


@brief_kernel
def score_rows(
    lanes: Lanes, table: F32, bias: F64, posterior: F64, constants: F64, replaces: bool, auto: bool,
    out: F64, buf: Bytes, row_starts: I64, hash_seed: int, bounds: Bounds, row_max: int,
    total_max: int, spare: Bytes,
) -> bool:  # fmt: skip
    """Probabilities of all rows into out (float64[rows]); False where a row is not settled surely.

    Arguments from buf on are those of `json_scan`, replaces and auto those of `numeric_features`,
    the others those of `fast.predict_batch`.
    """
    offsets, names, hashes, values, _, slow = canonical_rows(
        buf, row_starts, hash_seed, bounds, row_max, total_max, spare
    )
    if slow != 0:
        return False
    offsets, hashes, values, views = expanded_rows(replaces, auto, offsets, names, hashes, values)
    fast.predict_batch(
        lanes, table, bias, posterior, constants, offsets, hashes, values, views, out
    )
    return True


class FeatureTexts:
    """Room for the texts of `features` objects, used again and again: for one thread only."""

    def __init__(self, limits: Limits, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = bytearray(bytes_max + SPARE_BYTES)
        self._buf = np.frombuffer(self._bytes, np.uint8)
        self._limits = bounds_of(limits), limits.features, limits.request_features, spare_of(limits)

    def arguments(self, texts: Sequence[bytes], hash_seed: int) -> tuple[Any, ...] | None:
        """What `score_rows` is given from buf on; None where the texts have too many bytes.

        Each text is well-formed JSON in valid UTF-8.
        """
        starts = [0, *accumulate(map(len, texts))]
        if starts[-1] > self._bytes_max:
            return None
        for start, text in zip(starts, texts, strict=False):
            self._bytes[start : start + len(text)] = text
        return self._buf, np.array(starts, np.int64), hash_seed, *self._limits
