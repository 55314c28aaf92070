"""The reference fold: a log's entries to the digest, bit for bit, without a line of ftrl_core.

Plain Python and numpy.float32 scalars, one example and one feature at a time, in the documented
order (docstrings of ftrl_core/kernels.py, numbers.py, table.py and Model.digest). float32 roots
are taken in float64 and rounded, which is exact (53 >= 2 * 24 + 2 bits). Feed it the payloads of a
log in order, and compare `digest()` with the service's.

Folded: create, names, skip, and entries of examples. A configure, restore or delete entry is a
ValueError: the tests that use those compare models with models.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash

from tests.oracle.payload import Control, Row, read
from tests.oracle.window import DUPLICATE, LEARN, PlainWindow

F32 = np.float32
ZERO, ONE_E19, MINUS_1E19 = F32(0.0), F32(1e19), F32(-1e19)
N_MAX, DIVISOR_MIN, ROOT_MIN = F32(1e38), F32(1e-18), F32(1e-30)
MASK_32, MASK_64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
FLOAT, BITS = struct.Struct("<f"), struct.Struct("<I")
PAIR, BIAS = struct.Struct("<2f"), struct.Struct("<2d")
PAGE_SLOTS = 4096
# Arguments at these values are not part of the digest.
NEUTRAL = {
    "learning_rate_power": -0.5,
    "initial_accumulator_value": 0.0,
    "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0,
    "l2_shrinkage_regularization_strength": 0.0,
    "beta": 0.0,
    "hash_seed": 0,
    "bias_regularized": False,
    "fold_version": 1,
}
INVERSE_FACTORIALS = [1.0 / math.factorial(k) for k in range(14)]


def root(x: np.float32) -> np.float32:
    """Square root in float32, correctly rounded."""
    return F32(math.sqrt(x))


def exp(x: float) -> float:
    """e^x: k ln 2 taken off in two parts, then Taylor to the 13th power from the far end."""
    k = math.floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    p = INVERSE_FACTORIALS[13]
    for i in range(12, 1, -1):
        p = INVERSE_FACTORIALS[i] + r * p
    return (1.0 + (r + r * r * p)) * 2.0**k


def example_seed(seed: int, examples: int) -> int:
    """splitmix64's finaliser over the model's seed and the example's number; the low 32 bits."""
    x = (examples * 0x9E3779B97F4A7C15 + seed) & MASK_64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK_64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK_64
    return (x ^ (x >> 31)) & MASK_32


def dither(seed: int, slot: int, place: int) -> np.float32:
    """A number in [0, 1) of 24 bits: murmur3's finaliser, every step modulo 2^32."""
    h = ((seed ^ slot) + place * 0x9E3779B1) & MASK_32
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & MASK_32
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & MASK_32
    h ^= h >> 16
    return F32((h >> 8) * 2.0**-24)


def dithered_sum(n: np.float32, g2: np.float32, u: np.float32) -> np.float32:
    """n + g2, rounded up or down with the probability of the remainder."""
    s = n + g2
    b = s - n
    remainder = (n - (s - b)) + (g2 - b)
    if remainder != 0:
        bits = BITS.unpack(FLOAT.pack(s))[0] + (1 if remainder > 0 else -1)
        neighbour = F32(FLOAT.unpack(BITS.pack(bits))[0])
        if abs(remainder) > u * abs(neighbour - s):
            s = neighbour
    return min(s, N_MAX)


class ExactFold:
    """A model folded from payloads; `apply` in order, then `digest`."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.predictions: list[float] = []  # of the last entry, NaN where not learned
        self.verdicts: list[int] = []  # of the last entry
        self.examples = 0
        self.duplicates = 0
        if config is not None:
            self._begin(config)

    def _begin(self, config: Mapping[str, Any]) -> None:
        """Take a whole configuration, as a `create` entry holds it."""
        self.config = dict(config)
        optimizer = config["optimizer"]
        rate: float = optimizer["learning_rate"]
        threshold = rate * optimizer["l1_regularization_strength"]
        lambda2 = rate * 2.0 * optimizer["l2_regularization_strength"]
        n0: float = optimizer["initial_accumulator_value"]
        beta: float = optimizer["beta"]
        regularised = config["bias_regularized"]
        self._bias_arguments = (
            rate, beta, n0, threshold if regularised else 0.0, lambda2 if regularised else 0.0
        )  # fmt: skip
        self._alpha, self._n0, self._beta = F32(rate), F32(n0), F32(beta)
        self._threshold, self._lambda2 = F32(threshold), F32(lambda2)
        self._mask = (1 << config["table_bits"]) - 1
        self.cells: dict[int, tuple[np.float32, np.float32]] = {}
        self.bias = (0.0, 0.0)
        self.window = PlainWindow(config["deduplication_window"])

    def apply(self, payload: bytes) -> None:
        """Fold the next entry of the log."""
        entry = read(payload)
        if isinstance(entry, Control):
            if entry.op not in ("create", "names", "skip"):
                raise ValueError(f"the reference fold does not do {entry.op}")
            if entry.op == "create":
                self._begin(entry.fields["config"])
            return
        requests = [(q.key, q.body, q.rows, q.continues) for q in entry.requests]
        self.verdicts = self.window.judge(requests, [row.event_id for row in entry.rows])
        self.duplicates += self.verdicts.count(DUPLICATE)
        with np.errstate(all="ignore"):
            self.predictions = [
                self.learn(row) if verdict == LEARN else math.nan
                for row, verdict in zip(entry.rows, self.verdicts, strict=True)
            ]

    def weight(self, slot: int) -> np.float32:
        """w of a slot."""
        cell = self.cells.get(slot)
        if cell is None:
            return ZERO
        z, n = cell
        shrunk = z - min(max(z, -self._threshold), self._threshold)
        divisor = (self._beta + root(self._n0 + n)) + self._lambda2
        return ZERO - shrunk / max(divisor, DIVISOR_MIN)

    def _bias_weight(self) -> float:
        _, beta, n0, threshold, lambda2 = self._bias_arguments
        z, n = self.bias
        shrunk = z - min(max(z, -threshold), threshold)
        divisor = (beta + math.sqrt(n0 + n)) + lambda2
        return 0.0 - shrunk / max(divisor, 1e-18)

    def _logit(self, weights: list[np.float32], values: list[np.float32], bias: float) -> float:
        sums = [ZERO] * 8
        for j, w in enumerate(weights):
            sums[j & 7] = sums[j & 7] + values[j] * w
        even = (sums[0] + sums[4]) + (sums[2] + sums[6])
        odd = (sums[1] + sums[5]) + (sums[3] + sums[7])
        logit = bias + float(even + odd)
        return 0.0 if math.isnan(logit) else min(max(logit, -15.0), 15.0)

    def learn(self, row: Row) -> float:
        """Learn one example that is no duplicate; the probability given before learning it."""
        slots = [hashed & self._mask for _, hashed, _ in row.features]
        values = [F32(value) for _, _, value in row.features]
        weights = [self.weight(slot) for slot in slots]
        bias = self._bias_weight()
        p = 1.0 / (1.0 + exp(-self._logit(weights, values, bias)))
        residual = (p - row.label) * float(F32(row.weight))
        narrow, seed = F32(residual), example_seed(self.config["hash_seed"], self.examples)
        for j, slot in enumerate(slots):
            self._update(slot, narrow * values[j], weights[j], dither(seed, slot, j))
        self._update_bias(residual, bias)
        self.examples += 1
        return p

    def _update(self, slot: int, g: np.float32, w: np.float32, u: np.float32) -> None:
        z, n = self.cells.get(slot, (ZERO, ZERO))
        total = self._n0 + n
        g2 = g * g
        sigma = g2 / max(root(total + g2) + root(total), ROOT_MIN)
        z = z + (self._alpha * g - sigma * w)
        self.cells[slot] = min(max(z, MINUS_1E19), ONE_E19) + ZERO, dithered_sum(n, g2, u)

    def _update_bias(self, g: float, w: float) -> None:
        rate, _, n0, _, _ = self._bias_arguments
        z, n = self.bias
        total, g2 = n0 + n, g * g
        sigma = g2 / max(math.sqrt(total + g2) + math.sqrt(total), 1e-170)
        z = z + (rate * g - sigma * w)
        self.bias = min(max(z, -1e19), 1e19) + 0.0, n + g2

    def _pages(self) -> dict[int, bytearray]:
        """Touched pages by index."""
        slots = min(self._mask + 1, PAGE_SLOTS)
        pages: dict[int, bytearray] = {}
        for slot, cell in self.cells.items():
            page = pages.setdefault(slot // slots, bytearray(8 * slots))
            PAIR.pack_into(page, 8 * (slot % slots), *cell)
        return {index: page for index, page in pages.items() if any(page)}

    def digest(self) -> str:
        """What Model.digest and /stats must say."""
        whole = {**self.config, **self.config["optimizer"]}
        for name in ("optimizer", "deduplication_window"):
            del whole[name]
        told = {name: value for name, value in whole.items() if value != NEUTRAL.get(name)}
        text = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
        pages = sorted(self._pages().items())
        h = hashlib.blake2b(text, digest_size=16)
        h.update(BIAS.pack(*self.bias))
        h.update(b"".join(index.to_bytes(8, "little") for index, _ in pages))
        sums = [xxhash.xxh64_intdigest(bytes(page)) or 1 for _, page in pages]
        h.update(b"".join(checksum.to_bytes(8, "little") for checksum in sums))
        return h.hexdigest()
