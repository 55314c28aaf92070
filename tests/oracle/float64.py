"""FTRL-Proximal in float64, floats and dicts: the oracle for figures, exact up to rounding.

Written from McMahan et al. 2013 (Algorithm 1) and the promised interface alone, and apart from
ftrl_core on purpose: nothing is imported from it, z is the paper's (not multiplied by the learning
rate), n holds its initial value, sigma is the plain difference of roots. What the two agree on is
therefore neither's private mistake.

    w = 0 if |z| <= l1, else -(z - sign(z) l1) / ((beta + sqrt n) / alpha + lambda2)
    lambda2 = 2 * l2_regularization_strength: Keras counts l2 twice

The bias is a coordinate of its own and not regularised. Hashing is part of the contract (the slot
of a feature decides what it collides with), so it is here too, in plain Python.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Feature = tuple[int, int, float]  # name hash, feature hash, value
Viewed = tuple[int, float, str]  # feature hash, value, and of which view of a number, if of one
MASK_32 = 0xFFFFFFFF
LOGIT_MAX = 15.0


def rotate_left(x: int, r: int) -> int:
    """32-bit x rotated left."""
    return ((x << r) | (x >> (32 - r))) & MASK_32


def murmur3_32(data: bytes, seed: int) -> int:
    """MurmurHash3 x86-32, from its public description."""
    h = seed
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * 0xCC9E2D51 & MASK_32
        h ^= rotate_left(k, 15) * 0x1B873593 & MASK_32
        h = (rotate_left(h, 13) * 5 + 0xE6546B64) & MASK_32
    if len(data) > whole:
        k = int.from_bytes(data[whole:], "little") * 0xCC9E2D51 & MASK_32
        h ^= rotate_left(k, 15) * 0x1B873593 & MASK_32
    h ^= len(data)
    h = (h ^ (h >> 16)) * 0x85EBCA6B & MASK_32
    h = (h ^ (h >> 13)) * 0xC2B2AE35 & MASK_32
    return h ^ (h >> 16)


@dataclass
class Hasher:
    """Features of the JSON shape to hashes, remembered because a log repeats them."""

    hash_seed: int = 0
    _names: dict[str, int] = field(default_factory=dict)
    _values: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)

    def name(self, name: str) -> int:
        """Hash of a name."""
        if name not in self._names:
            self._names[name] = murmur3_32(name.encode(), self.hash_seed)
        return self._names[name]

    def category(self, name: str, value: str) -> tuple[int, int]:
        """Hashes of a name and of its categorical value."""
        key = (name, value)
        if key not in self._values:
            seed = self.name(name)
            self._values[key] = seed, murmur3_32(value.encode(), seed)
        return self._values[key]

    def features(self, given: Mapping[str, object]) -> list[Feature]:
        """Canonical features of one example: sorted, equal ones merged, values summed."""
        merged: dict[tuple[int, int], float] = {}
        for name, value in given.items():
            for item in value if isinstance(value, list) else [value]:
                if item is None or item is False:
                    continue
                if isinstance(item, str):
                    key, x = self.category(name, item), 1.0
                else:
                    assert isinstance(item, int | float)
                    key, x = (self.name(name),) * 2, float(item)
                merged[key] = merged.get(key, 0.0) + x
        return [(*key, x) for key, x in sorted(merged.items())]


@dataclass
class Ftrl:
    """Sequential FTRL-Proximal over a hashed table; the arguments are Keras'."""

    learning_rate: float
    beta: float
    initial_accumulator_value: float
    l1_regularization_strength: float
    l2_regularization_strength: float
    table_bits: int
    bias_learning_rate: float | None = None
    blind_to: str = "nothing"  # bins or linear: which view of a number this learner does not see
    unit_scale: bool = False
    z: dict[int, float] = field(default_factory=dict)
    n: dict[int, float] = field(default_factory=dict)

    def weight(self, slot: int, regularised: bool = True) -> float:
        """w of a coordinate; slot -1 is the bias."""
        z = self.z.get(slot, 0.0)
        l1 = self.l1_regularization_strength if regularised else 0.0
        lambda2 = 2.0 * self.l2_regularization_strength if regularised else 0.0
        if abs(z) <= l1:
            return 0.0
        n = self.n.get(slot, self.initial_accumulator_value)
        rate = (self.beta + math.sqrt(n)) / self._rate(slot)
        return -(z - math.copysign(l1, z)) / (rate + lambda2)

    def _rate(self, slot: int) -> float:
        if slot == -1 and self.bias_learning_rate is not None:
            return self.bias_learning_rate
        return self.learning_rate

    def _update(self, slot: int, w: float, g: float) -> None:
        n = self.n.get(slot, self.initial_accumulator_value)
        sigma = (math.sqrt(n + g * g) - math.sqrt(n)) / self._rate(slot)
        self.z[slot] = self.z.get(slot, 0.0) + g - sigma * w
        self.n[slot] = n + g * g

    def coordinates(self, features: Iterable[Viewed]) -> list[tuple[int, float]]:
        """(slot, x) of what this learner sees."""
        mask = (1 << self.table_bits) - 1
        seen = [(hashed & mask, x) for hashed, x, view in features if view != self.blind_to]
        length = math.sqrt(math.fsum(x * x for _, x in seen))
        if not self.unit_scale or length == 0.0:
            return seen
        return [(slot, x / length) for slot, x in seen]

    def learn(self, features: Iterable[Viewed], label: int, weight: float = 1.0) -> float:
        """Learn one example; the probability that was given before learning it."""
        coordinates = self.coordinates(features)
        weights = [self.weight(slot) for slot, _ in coordinates]
        bias = self.weight(-1, regularised=False)
        total = bias + math.fsum(w * x for w, (_, x) in zip(weights, coordinates, strict=True))
        p = 1.0 / (1.0 + math.exp(-min(max(total, -LOGIT_MAX), LOGIT_MAX)))
        residual = (p - label) * weight
        for w, (slot, x) in zip(weights, coordinates, strict=True):
            self._update(slot, w, residual * x)
        self._update(-1, bias, residual)
        return p


def numbers_of(mode: str, features: Iterable[Feature]) -> list[Viewed]:
    """Features with their numbers as a model's option `numbers` has them: raw, log_bins or auto.

    A number's bin is its sign, exponent and one more bit as a float32; the hash of the bin is
    murmur3's finaliser, as the contract says. Its linear part is sign(x) log(1 + |x|).
    """
    result = []
    for name, hashed, x in features:
        if mode == "raw" or name != hashed:
            result.append((hashed, x, "every lane"))
            continue
        if mode == "auto":
            result.append((hashed, math.copysign(math.log1p(abs(x)), x), "linear"))
        pattern = int.from_bytes(struct.pack("<f", x or 0.0), "little") >> 22
        h = name ^ (pattern * 0x9E3779B1 & MASK_32)
        h = (h ^ (h >> 16)) * 0x85EBCA6B & MASK_32
        h = (h ^ (h >> 13)) * 0xC2B2AE35 & MASK_32
        result.append((h ^ (h >> 16), 1.0, "bins"))
    return result


@dataclass
class Mixture:
    """Learners side by side under Bayesian weights with fixed share; `numbers` as the option."""

    learners: list[Ftrl]
    share: float
    numbers: str
    posterior: list[float] = field(default_factory=list)

    def learn(self, features: Iterable[Feature], label: int, weight: float = 1.0) -> float:
        """Learn one example; the mixture's probability before learning it."""
        count = len(self.learners)
        self.posterior = self.posterior or [1.0 / count] * count
        seen = numbers_of(self.numbers, features)
        ps = [learner.learn(seen, label, weight) for learner in self.learners]
        p = math.fsum(pi * q for pi, q in zip(self.posterior, ps, strict=True))
        likelihoods = [(q if label else 1.0 - q) ** weight for q in ps]
        evidence = math.fsum(pi * q for pi, q in zip(self.posterior, likelihoods, strict=True))
        self.posterior = [
            (1.0 - self.share) * pi * q / evidence + self.share / count
            for pi, q in zip(self.posterior, likelihoods, strict=True)
        ]
        return p


@dataclass
class Progressive:
    """Progressive validation: sums over examples scored before they are learned."""

    weight: float = 0.0
    clicks: float = 0.0
    predicted: float = 0.0
    loss: float = 0.0
    base_loss: float = 0.0

    def score(self, p: float, label: int, weight: float = 1.0) -> None:
        """Count one example; the base rate is that of the examples before it."""
        base = (self.clicks + 0.5) / (self.weight + 1.0)
        self.loss -= weight * math.log(p if label else 1.0 - p)
        self.base_loss -= weight * math.log(base if label else 1.0 - base)
        self.weight += weight
        self.clicks += weight * label
        self.predicted += weight * p

    def figures(self) -> dict[str, float]:
        """log_loss, base_rate_log_loss, normalized_entropy (He et al. 2014), calibration."""
        rate = self.clicks / self.weight
        entropy = -rate * math.log(rate) - (1.0 - rate) * math.log(1.0 - rate)
        return {
            "log_loss": self.loss / self.weight,
            "base_rate_log_loss": self.base_loss / self.weight,
            "normalized_entropy": self.loss / self.weight / entropy,
            "calibration": self.predicted / self.clicks,
        }
