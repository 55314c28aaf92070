"""The reference fold: a log's entries to the digest, bit for bit, without a line of ftrl_core.

Plain Python and numpy.float32 scalars, one example and one feature at a time, in the documented
order (docstrings of ftrl_core/kernels.py, numbers.py, table.py and Model.digest). float32 roots
are taken in float64 and rounded, which is exact (53 >= 2 * 24 + 2 bits). Feed it the payloads of a
log in order, and compare `digest()` with the service's.

Folded: create, names, skip, and entries of examples, by one learning rate or a mixture, with every
way to take numbers. A configure, restore or delete entry, or another option of a model, is a
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
PAGE_SLOTS = 4096
# Arguments at these values are not part of the digest; `FOLDED` are those that may differ.
NEUTRAL = {
    "learning_rate_power": -0.5,
    "initial_accumulator_value": 0.0,
    "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0,
    "l2_shrinkage_regularization_strength": 0.0,
    "beta": 0.0,
    "clipvalue": None,
    "clipnorm": None,
    "global_clipnorm": None,
    "bias_learning_rate": None,
    "scale": "none",
    "hash_seed": 0,
    "bias_regularized": False,
    "numbers": "raw",
    "mixture_share": 0.0,
    "admission": None,
    "sampling_rate": 1.0,
    "sampling_correction": "weight",
    "rates_from": "gradients",
    "fold_version": 1,
}
FOLDED = {
    "initial_accumulator_value", "l1_regularization_strength", "l2_regularization_strength", "beta",
    "hash_seed", "bias_regularized", "bias_learning_rate", "numbers", "mixture_share", "scale",
}  # fmt: skip
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


def log(x: float) -> float:
    """Natural logarithm: exponent times ln 2 in two parts, then atanh's series to s^23."""
    m, e = math.frexp(x)
    m, e = 2.0 * m, e - 1
    if m > 2.0 * 0.7071067811865476:
        m, e = m / 2.0, e + 1
    s = (m - 1.0) / (m + 1.0)
    p = 1.0 / 23.0
    for odd in range(21, 1, -2):
        p = 1.0 / odd + s * s * p
    p = s * s * p
    return e * 6.93147180369123816490e-01 + (2.0 * (s + s * p) + e * 1.90821492927058770002e-10)


def compressed(x: np.float32) -> np.float32:
    """sign(x) log(1 + |x|)."""
    return F32(math.copysign(log(1.0 + abs(float(x))), x))


def bin_hash(name_hash: int, x: np.float32) -> int:
    """The hash of a number's bin: murmur3's finaliser over the name and the float's upper bits."""
    place = BITS.unpack(FLOAT.pack(0.0 if x == 0 else x))[0] >> 22
    h = name_hash ^ (place * 0x9E3779B1 & MASK_32)
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & MASK_32
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & MASK_32
    return int(h ^ (h >> 16))


def folded_features(numbers: str, features: list[Any]) -> list[tuple[int, np.float32, str]]:
    """(hash, value, view) of each feature after `numbers`, in the order of the fold."""
    result = []
    for name, hashed, value in features:
        x = F32(value)
        if numbers == "raw" or name != hashed:
            result.append((hashed, x, "every lane"))
            continue
        if numbers == "auto":
            result.append((hashed, compressed(x), "linear lanes"))
        result.append((bin_hash(name, x), F32(1.0), "bin lanes"))
    return result


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


class Lane:
    """One learning rate's coordinates: z and n of each touched slot in float32, the bias in
    float64."""

    def __init__(self, rate: float, config: Mapping[str, Any], blind_to: str) -> None:
        self._blind_to, self._unit = blind_to, config["scale"] == "unit"
        optimizer = config["optimizer"]
        threshold = rate * optimizer["l1_regularization_strength"]
        lambda2 = rate * (2.0 * optimizer["l2_regularization_strength"])
        n0: float = optimizer["initial_accumulator_value"]
        beta: float = optimizer["beta"]
        regularised = config["bias_regularized"]
        own = rate if config["bias_learning_rate"] is None else config["bias_learning_rate"]
        self._bias_arguments = (
            own, beta, n0,
            own * optimizer["l1_regularization_strength"] if regularised else 0.0,
            own * (2.0 * optimizer["l2_regularization_strength"]) if regularised else 0.0,
        )  # fmt: skip
        self._alpha, self._n0, self._beta = F32(rate), F32(n0), F32(beta)
        self._threshold, self._lambda2 = F32(threshold), F32(lambda2)
        self.cells: dict[int, tuple[np.float32, np.float32]] = {}
        self.bias = (0.0, 0.0)

    def _seen(self, features: list[tuple[int, np.float32, str]]) -> list[np.float32]:
        """x of each feature: 0 where this lane does not see it; all divided by their length."""
        squares = {"every lane": 0.0, "bin lanes": 0.0, "linear lanes": 0.0}
        for _, value, view in features:
            squares[view] += float(value) * float(value)
        squares[self._blind_to] = 0.0
        square = squares["every lane"] + (squares["bin lanes"] + squares["linear lanes"])
        factor = F32(1.0 / math.sqrt(square) if self._unit and square > 0 else 1.0)
        return [value * (ZERO if view == self._blind_to else factor) for _, value, view in features]

    def learn(
        self, slots: list[int], features: list[tuple[int, np.float32, str]],
        dithers: list[np.float32], label: int, weight: float,
    ) -> float:  # fmt: skip
        """Learn one example; this lane's own probability before."""
        values = self._seen(features)
        weights = [self.weight(slot) for slot in slots]
        bias = self._bias_weight()
        p = 1.0 / (1.0 + exp(-self._logit(weights, values, bias)))
        residual = (p - label) * weight
        narrow = F32(residual)
        for slot, value, w, u in zip(slots, values, weights, dithers, strict=True):
            self._update(slot, narrow * value, w, u)
        self._update_bias(residual, bias)
        return p

    def predict(self, slots: list[int], features: list[tuple[int, np.float32, str]]) -> float:
        """This lane's own probability; changes nothing."""
        weights = [self.weight(slot) for slot in slots]
        logit = self._logit(weights, self._seen(features), self._bias_weight())
        return 1.0 / (1.0 + exp(-logit))

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
        flat = {**config, **config["optimizer"]}
        for name, neutral in NEUTRAL.items():
            if name not in FOLDED and flat.get(name, neutral) != neutral:
                raise ValueError(f"the reference fold does not do {name}")
        given = config["optimizer"]["learning_rate"]
        rates: list[float] = given if isinstance(given, list) else [given]
        self._share: float = config["mixture_share"]
        self._mask = (1 << config["table_bits"]) - 1
        blind = ["linear lanes", "bin lanes"] if config["numbers"] == "auto" else ["", ""]
        if len(rates) == 1:
            blind = [""]
        self.lanes = [Lane(r, config, blind[i % 2]) for i, r in enumerate(rates)]
        self.posterior = [1.0 / len(self.lanes)] * len(self.lanes)
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

    def learn(self, row: Row) -> float:
        """Learn one example that is no duplicate; the probability given before learning it."""
        features = folded_features(self.config["numbers"], row.features)
        slots = [hashed & self._mask for hashed, _, _ in features]
        seed = example_seed(self.config["hash_seed"], self.examples)
        dithers = [dither(seed, slot, j) for j, slot in enumerate(slots)]
        weight = float(F32(row.weight))
        ps = [lane.learn(slots, features, dithers, row.label, weight) for lane in self.lanes]
        self.examples += 1
        p = self.posterior[0] * ps[0]
        for pi, q in zip(self.posterior[1:], ps[1:], strict=True):
            p += pi * q
        if len(ps) > 1 and weight > 0.0:
            self._update_posterior([q if row.label else 1.0 - q for q in ps], weight)
        return p

    def predict(self, features: list[tuple[int, int, float]]) -> float:
        """The probability that is served for these features now; changes nothing."""
        folded = folded_features(self.config["numbers"], features)
        slots = [hashed & self._mask for hashed, _, _ in folded]
        with np.errstate(all="ignore"):
            ps = [lane.predict(slots, folded) for lane in self.lanes]
        p = self.posterior[0] * ps[0]
        for pi, q in zip(self.posterior[1:], ps[1:], strict=True):
            p += pi * q
        return p

    def _update_posterior(self, likelihoods: list[float], weight: float) -> None:
        """Bayes to the power of the weight, relative to the best lane; then fixed share."""
        best = max(likelihoods)
        for i, q in enumerate(likelihoods):
            relative = q / best
            if weight != 1.0:
                relative = exp(max(weight * log(relative), -700.0))
            self.posterior[i] *= relative
        total = 0.0
        for pi in self.posterior:
            total += pi
        share, count = self._share, len(self.posterior)
        self.posterior = [(1.0 - share) * (pi / total) + share / count for pi in self.posterior]

    @property
    def bias(self) -> tuple[float, ...]:
        """z of every lane's bias, then n of every lane's."""
        biases = [lane.bias for lane in self.lanes]
        return tuple(z for z, _ in biases) + tuple(n for _, n in biases)

    def weight(self, slot: int, lane: int = 0) -> np.float32:
        """w of a slot in a lane."""
        return self.lanes[lane].weight(slot)

    def pages(self) -> dict[int, bytearray]:
        """Touched pages by index."""
        lanes = len(self.lanes)
        slots = min(self._mask + 1, PAGE_SLOTS // (1 << (lanes - 1).bit_length()))
        pages: dict[int, bytearray] = {}
        for slot in self.lanes[0].cells:
            page = pages.setdefault(slot // slots, bytearray(8 * lanes * slots))
            cells = [lane.cells[slot] for lane in self.lanes]
            record = [z for z, _ in cells] + [n for _, n in cells]
            struct.pack_into(f"<{2 * lanes}f", page, 8 * lanes * (slot % slots), *record)
        return {index: page for index, page in pages.items() if any(page)}

    def digest(self) -> str:
        """What Model.digest and /stats must say."""
        whole = {**self.config, **self.config["optimizer"]}
        for name in ("optimizer", "deduplication_window"):
            del whole[name]
        told = {n: v for n, v in whole.items() if n not in NEUTRAL or v != NEUTRAL[n]}
        text = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
        pages = sorted(self.pages().items())
        h = hashlib.blake2b(text, digest_size=16)
        h.update(struct.pack(f"<{len(self.bias)}d", *self.bias))
        if len(self.lanes) > 1:
            h.update(struct.pack(f"<{len(self.lanes)}d", *self.posterior))
        h.update(b"".join(index.to_bytes(8, "little") for index, _ in pages))
        sums = [xxhash.xxh64_intdigest(bytes(page)) or 1 for _, page in pages]
        h.update(b"".join(checksum.to_bytes(8, "little") for checksum in sums))
        return h.hexdigest()
