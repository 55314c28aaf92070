"""The formulas of `keras.optimizers.schedules` from a serialised schedule, with math.* alone.

Nothing of ftrl_core is imported. What is left of a decay is an exact fraction, powers and sines are
the C library's. The only thing added to Keras is the promised clamp of a rate to [1e-12, 1e6].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

RATE_MIN, RATE_MAX = 1e-12, 1e6


def rate(serialized: Mapping[str, Any], step: int) -> float:
    """The learning rate of {"class_name": ..., "config": {...}} at a step."""
    formula = {
        "ExponentialDecay": exponential,
        "InverseTimeDecay": inverse_time,
        "PolynomialDecay": polynomial,
        "CosineDecay": cosine,
        "PiecewiseConstantDecay": piecewise,
    }[serialized["class_name"]]
    return min(max(formula(serialized["config"], step), RATE_MIN), RATE_MAX)


def periods(c: Mapping[str, Any], step: int) -> float:
    """step / decay_steps, rounded down for a staircase."""
    exact = Fraction(step) / Fraction(c["decay_steps"])
    return float(math.floor(exact)) if c["staircase"] else float(exact)


def exponential(c: Mapping[str, Any], step: int) -> float:
    """initial * decay_rate^periods."""
    exponent = periods(c, step) * math.log(c["decay_rate"])
    initial: float = c["initial_learning_rate"]
    return initial * math.exp(min(max(exponent, -600.0), 600.0))


def inverse_time(c: Mapping[str, Any], step: int) -> float:
    """initial / (1 + decay_rate * periods)."""
    initial: float = c["initial_learning_rate"]
    return initial / (1.0 + float(c["decay_rate"]) * periods(c, step))


def polynomial(c: Mapping[str, Any], step: int) -> float:
    """(initial - end) * (1 - step / span)^power + end."""
    span = Fraction(c["decay_steps"])
    if c["cycle"]:
        span *= max(math.ceil(Fraction(step) / span), 1)
    left = 1 - min(Fraction(step) / span, Fraction(1))
    initial: float = c["initial_learning_rate"]
    end: float = c["end_learning_rate"]
    return (initial - end) * math.pow(float(left), c["power"]) + end


def cosine(c: Mapping[str, Any], step: int) -> float:
    """start * ((1 - alpha) (1 + cos(pi done)) / 2 + alpha), after a straight warm-up."""
    start: float = c["initial_learning_rate"]
    warmup: float = c["warmup_steps"]
    if c["warmup_target"] is not None:
        if step < warmup:
            done = float(Fraction(step) / Fraction(warmup))
            return float(c["warmup_target"] - start) * done + start
        start = c["warmup_target"]
    done_exactly = (Fraction(step) - Fraction(warmup)) / Fraction(c["decay_steps"])
    left = float(1 - min(done_exactly, Fraction(1)))
    # (1 + cos(pi c)) / 2 = sin(pi (1 - c) / 2)^2, which does not cancel at the end of the decay.
    alpha: float = c["alpha"]
    return start * ((1.0 - alpha) * math.sin(math.pi / 2 * left) ** 2 + alpha)


def piecewise(c: Mapping[str, Any], step: int) -> float:
    """values[i] for the number i of boundaries below the step."""
    value: float = c["values"][sum(step > b for b in c["boundaries"])]
    return value
