"""Learning-rate schedules under Keras' names, arguments, defaults and formulas.

A schedule is a frozen value. Calling it gives the rate at a step; `parameters` gives the flat array
with which the kernel `rate_at` computes the same number, to the bit, inside a fold. Serialised, it
is `{"class_name": ..., "config": {...}}`, as `keras.optimizers.schedules` has it.

Stricter than Keras where a mistake would otherwise surface much later: NaN, infinities and rates
that could become negative are refused when the schedule is made. A rate that decays to nothing
(end_learning_rate=0, alpha=0, Keras' defaults among them) is allowed, and clamped from below at
RATE_MIN = 1e-12; RATE_MAX = 1e6 clamps a growing one. Steps are counted from 0; where Keras
computes in float32, this is float64.

There is no base class: what the five share is functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from itertools import pairwise
from numbers import Integral
from typing import Any, Self, TypeVar

import numpy as np

from ftrl_core import numbers
from ftrl_core.arguments import flag, label, not_negative, positive, refuse
from ftrl_core.errors import BadConfig
from ftrl_core.rate_kernels import (
    CONSTANT,
    COSINE,
    EXPONENTIAL,
    F64,
    INVERSE_TIME,
    PIECEWISE,
    POLYNOMIAL,
    RATE_MAX,
    RATE_MIN,
    rate_at,
)

__all__ = [
    "BOUNDARIES_MAX",
    "RATE_MAX",
    "RATE_MIN",
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "Schedule",
    "deserialize",
    "parameters",
    "rate_at",
    "serialize",
]

BOUNDARIES_MAX = 64
STEP_MAX = 2**63 - 1
T = TypeVar("T")
_DECAY_RATE_MIN = 1e-300  # the least number whose logarithm numbers.log takes, rounded up


@dataclass(frozen=True, slots=True)
class ExponentialDecay:
    """initial * decay_rate^(step / decay_steps); a staircase takes whole periods only."""

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str | None = "ExponentialDecay"

    def __post_init__(self) -> None:
        _set(self, "initial_learning_rate", positive, RATE_MAX)
        _set(self, "decay_steps", positive)
        _set(self, "decay_rate", positive, RATE_MAX)
        if self.decay_rate < _DECAY_RATE_MIN:
            raise refuse("decay_rate", self.decay_rate, f"must be at least {_DECAY_RATE_MIN:g}")
        flag("staircase", self.staircase)
        _check_name(self.name)

    def __call__(self, step: int) -> float:
        """The rate at a step >= 0, clamped to [RATE_MIN, RATE_MAX]."""
        return _rate(self, step)

    def get_config(self) -> dict[str, Any]:
        """The arguments by name, JSON-able."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The schedule of `get_config`; BadConfig (a ValueError) names what is wrong."""
        return _make(cls, config)


@dataclass(frozen=True, slots=True)
class InverseTimeDecay:
    """initial / (1 + decay_rate * step / decay_steps); a staircase takes whole periods only."""

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False
    name: str | None = "InverseTimeDecay"

    def __post_init__(self) -> None:
        _set(self, "initial_learning_rate", positive, RATE_MAX)
        _set(self, "decay_steps", positive)
        _set(self, "decay_rate", not_negative, RATE_MAX)
        flag("staircase", self.staircase)
        _check_name(self.name)

    def __call__(self, step: int) -> float:
        """The rate at a step >= 0, clamped to [RATE_MIN, RATE_MAX]."""
        return _rate(self, step)

    def get_config(self) -> dict[str, Any]:
        """The arguments by name, JSON-able."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The schedule of `get_config`; BadConfig (a ValueError) names what is wrong."""
        return _make(cls, config)


@dataclass(frozen=True, slots=True)
class PolynomialDecay:
    """(initial - end) * (1 - step / decay_steps)^power + end, then end for ever.

    With cycle, decay_steps is stretched to its first multiple that is not below step.
    """

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str | None = "PolynomialDecay"

    def __post_init__(self) -> None:
        _set(self, "initial_learning_rate", positive, RATE_MAX)
        _set(self, "decay_steps", positive)
        _set(self, "end_learning_rate", not_negative, RATE_MAX)
        _set(self, "power", not_negative, RATE_MAX)
        flag("cycle", self.cycle)
        _check_name(self.name)

    def __call__(self, step: int) -> float:
        """The rate at a step >= 0, clamped to [RATE_MIN, RATE_MAX]."""
        return _rate(self, step)

    def get_config(self) -> dict[str, Any]:
        """The arguments by name, JSON-able."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The schedule of `get_config`; BadConfig (a ValueError) names what is wrong."""
        return _make(cls, config)


@dataclass(frozen=True, slots=True)
class CosineDecay:
    """((1 - alpha) * (1 + cos(pi * step / decay_steps)) / 2 + alpha) times where the decay starts.

    It starts at initial_learning_rate, or, with a warmup_target, at that target after warmup_steps
    steps on the straight line from initial_learning_rate, which may then be 0.
    """

    initial_learning_rate: float
    decay_steps: float
    alpha: float = 0.0
    name: str | None = "CosineDecay"
    warmup_target: float | None = None
    warmup_steps: float = 0.0

    def __post_init__(self) -> None:
        warms_up = self.warmup_target is not None
        _set(self, "initial_learning_rate", not_negative if warms_up else positive, RATE_MAX)
        _set(self, "decay_steps", positive)
        _set(self, "alpha", not_negative, RATE_MAX)
        _check_name(self.name)
        if warms_up:
            _set(self, "warmup_target", positive, RATE_MAX)
        _set(self, "warmup_steps", not_negative)
        if self.warmup_steps > 0.0 and not warms_up:
            raise refuse("warmup_steps", self.warmup_steps, "needs a warmup_target")

    def __call__(self, step: int) -> float:
        """The rate at a step >= 0, clamped to [RATE_MIN, RATE_MAX]."""
        return _rate(self, step)

    def get_config(self) -> dict[str, Any]:
        """The arguments by name, JSON-able."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The schedule of `get_config`; BadConfig (a ValueError) names what is wrong."""
        return _make(cls, config)


@dataclass(frozen=True, slots=True)
class PiecewiseConstantDecay:
    """values[i] while step <= boundaries[i], the last value beyond the last boundary."""

    boundaries: Sequence[float]
    values: Sequence[float]
    name: str | None = "PiecewiseConstant"

    def __post_init__(self) -> None:
        boundaries = tuple(not_negative("boundaries", b) for b in _list(self, "boundaries"))
        values = tuple(positive("values", v, RATE_MAX) for v in _list(self, "values"))
        for before, after in pairwise(boundaries):
            if before >= after:
                raise refuse("boundaries", after, "must increase")
        if len(values) != len(boundaries) + 1:
            raise BadConfig(
                f"values must be one more than boundaries; received {len(values)} values"
                f" and {len(boundaries)} boundaries"
            )
        object.__setattr__(self, "boundaries", boundaries)
        object.__setattr__(self, "values", values)
        _check_name(self.name)

    def __call__(self, step: int) -> float:
        """The rate at a step >= 0, clamped to [RATE_MIN, RATE_MAX]."""
        return _rate(self, step)

    def get_config(self) -> dict[str, Any]:
        """The arguments by name, JSON-able."""
        return {
            "boundaries": list(self.boundaries),
            "values": list(self.values),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The schedule of `get_config`; BadConfig (a ValueError) names what is wrong."""
        return _make(cls, config)


Schedule = (
    ExponentialDecay | InverseTimeDecay | PolynomialDecay | CosineDecay | PiecewiseConstantDecay
)
SCHEDULES: tuple[type[Schedule], ...] = (
    ExponentialDecay,
    InverseTimeDecay,
    PolynomialDecay,
    CosineDecay,
    PiecewiseConstantDecay,
)


def serialize(schedule: Schedule) -> dict[str, Any]:
    """{"class_name": ..., "config": {...}}, JSON-able; `deserialize` gives back an equal one."""
    return {"class_name": type(schedule).__name__, "config": schedule.get_config()}


def deserialize(mapping: Mapping[str, Any]) -> Schedule:
    """The schedule of `serialize`; BadConfig (a ValueError) names the argument and the value."""
    if not isinstance(mapping, Mapping):
        raise refuse("learning_rate", mapping, "must be a number or a schedule")
    if set(mapping) != {"class_name", "config"}:
        raise BadConfig("a schedule has exactly class_name and config")
    name, config = mapping["class_name"], mapping["config"]
    for kind in SCHEDULES:
        if kind.__name__ == name:
            return kind.from_config(config)
    known = ", ".join(kind.__name__ for kind in SCHEDULES)
    raise BadConfig(f"class_name={str(name)[:64]!r} is not a schedule; there are {known}")


def parameters(x: Schedule | float) -> F64:
    """A schedule or a constant rate above 0 as the array of `rate_at` (layout in rate_kernels)."""
    match x:
        case ExponentialDecay():
            decay = numbers.log(x.decay_rate)
            places = (x.initial_learning_rate, x.decay_steps, decay, x.staircase)
            return _flat(EXPONENTIAL, *places)
        case InverseTimeDecay():
            places = (x.initial_learning_rate, x.decay_steps, x.decay_rate, x.staircase)
            return _flat(INVERSE_TIME, *places)
        case PolynomialDecay():
            ends = (x.initial_learning_rate, x.decay_steps, x.end_learning_rate)
            return _flat(POLYNOMIAL, *ends, x.power, x.cycle)
        case CosineDecay():
            start = x.initial_learning_rate if x.warmup_target is None else x.warmup_target
            ends = (x.initial_learning_rate, x.decay_steps, x.alpha)
            return _flat(COSINE, *ends, x.warmup_steps, start)
        case PiecewiseConstantDecay():
            return _flat(PIECEWISE, len(x.boundaries), *x.boundaries, *x.values)
    return _flat(CONSTANT, positive("learning_rate", x))


def _flat(*places: float) -> F64:
    return np.array(places, dtype=np.float64)


def _rate(schedule: Schedule, step: int) -> float:
    if isinstance(step, bool) or not isinstance(step, Integral) or not 0 <= step <= STEP_MAX:
        raise refuse("step", step, "must be an integer from 0 to 2^63 - 1")
    return float(rate_at(parameters(schedule), int(step)))


def _make(kind: type[T], config: Mapping[str, Any]) -> T:
    if not isinstance(config, Mapping):
        raise refuse("config", config, "must be an object")
    arguments = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    known = ", ".join(arguments)
    for name in config:
        if name not in arguments:
            raise BadConfig(f"{str(name)[:64]!r} is no argument of {kind.__name__}({known})")
    for name, argument in arguments.items():
        if argument.default is MISSING and name not in config:
            raise BadConfig(f"{name} is missing: {kind.__name__}({known})")
    return kind(**config)


def _set(schedule: Any, name: str, check: Any, *bounds: float) -> None:
    object.__setattr__(schedule, name, check(name, getattr(schedule, name), *bounds))


def _check_name(name: str | None) -> None:
    if name is not None:
        label("name", name)


def _list(schedule: PiecewiseConstantDecay, name: str) -> Sequence[Any]:
    given = getattr(schedule, name)
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise refuse(name, given, "must be a list")
    most = BOUNDARIES_MAX + (name == "values")
    if not 1 <= len(given) <= most:
        raise BadConfig(f"{name} must have 1 to {most} items; received {len(given)}")
    return given
