"""Every option of a model in float64: what the general kernel is compared with.

Written from Keras' documentation of Ftrl and of clipping, and from McMahan et al. 2013, sections
4.1, 4.5 and 4.6; plain floats and dicts, nothing of ftrl_core. z is the paper's times the learning
rate, as TensorFlow's multiply_linear_by_lr has it: a falling rate forgets nothing. Random decisions
(Poisson admission) are not here: they are a hash of the service's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

BIAS = -1


@dataclass
class Options:
    """Arguments under Keras' names; rate is a function of the number of examples folded."""

    rate: Callable[[int], float]
    power: float = -0.5
    n0: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    shrinkage: float = 0.0
    beta: float = 1.0
    clipvalue: float | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = None
    bias_regularized: bool = False
    logit_offset: float = 0.0
    counts: bool = False
    admit_after: int = 0  # sightings before a slot is learned


def clip_norms(o: Options, slots: dict[int, float], bias: float) -> tuple[dict[int, float], float]:
    """Keras' order: by value, then by norm of each variable, then by the global norm."""
    if o.clipvalue is not None:
        slots = {i: min(max(g, -o.clipvalue), o.clipvalue) for i, g in slots.items()}
        bias = min(max(bias, -o.clipvalue), o.clipvalue)
    norm = math.hypot(*slots.values()) if slots else 0.0
    if o.clipnorm is not None:
        if norm > o.clipnorm:
            slots = {i: g * o.clipnorm / norm for i, g in slots.items()}
        bias = min(max(bias, -o.clipnorm), o.clipnorm)
    if o.global_clipnorm is not None and math.hypot(norm, bias) > o.global_clipnorm:
        factor = o.global_clipnorm / math.hypot(norm, bias)
        slots, bias = {i: g * factor for i, g in slots.items()}, bias * factor
    return slots, bias


@dataclass
class Learner:
    """Sequential FTRL with every option over slots; features of an example share no slot."""

    options: Options
    examples: int = 0
    z: dict[int, float] = field(default_factory=dict)
    n: dict[int, float] = field(default_factory=dict)
    clicks: Counter[int] = field(default_factory=Counter)
    others: Counter[int] = field(default_factory=Counter)
    sightings: Counter[int] = field(default_factory=Counter)

    def _root(self, n: float) -> float:
        if self.options.power == 0.0:
            return 1.0
        return float((self.options.n0 + n) ** -self.options.power) if self.options.n0 + n else 0.0

    def _n(self, i: int) -> float:
        if not self.options.counts or i == BIAS:
            return self.n.get(i, 0.0)
        p, m = float(self.clicks[i]), float(self.others[i])
        return p * m / (p + m) if p + m else 0.0

    def weight(self, i: int) -> float:
        """w of a slot, or of the bias, at the present rate."""
        o, rate = self.options, self.options.rate(self.examples)
        regularised = i != BIAS or o.bias_regularized
        l1, lambda2 = (o.l1, 2.0 * o.l2) if regularised else (0.0, 0.0)
        z = self.z.get(i, 0.0) / rate
        if abs(z) <= l1:
            return 0.0
        return -(z - math.copysign(l1, z)) / ((o.beta + self._root(self._n(i))) / rate + lambda2)

    def learn(self, features: Iterable[tuple[int, float]], label: int, weight: float) -> float:
        """Learn one example; the probability that would have been served before."""
        o, features = self.options, list(features)
        w = {i: self.weight(i) for i in [BIAS, *(i for i, _ in features)]}
        logit = w[BIAS] + math.fsum(w[i] * x for i, x in features)
        residual = (1.0 / (1.0 + math.exp(-logit - o.logit_offset)) - label) * weight
        g, bias = clip_norms(o, {i: residual * x for i, x in features}, residual)
        for i, x in features:
            if i not in self.z:
                self.sightings[i] += 1
                if self.sightings[i] <= o.admit_after:
                    continue
            self._update(i, g[i], w[i], label, (weight * x) ** 2, o.shrinkage)
        shrinkage = o.shrinkage if o.bias_regularized else 0.0
        self._update(BIAS, bias, w[BIAS], label, 0.0, shrinkage)
        self.examples += 1
        return 1.0 / (1.0 + math.exp(-logit))

    def _update(
        self, i: int, g: float, w: float, label: int, amount: float, shrinkage: float
    ) -> None:
        rate, before = self.options.rate(self.examples), self._root(self._n(i))
        z = self.z.get(i, 0.0) + rate * (g + 2.0 * shrinkage * w)
        if self.options.counts and i != BIAS:
            (self.clicks if label else self.others)[i] += amount  # type: ignore[assignment]
        else:
            self.n[i] = self.n.get(i, 0.0) + g * g
        self.z[i] = z - (self._root(self._n(i)) - before) * w
