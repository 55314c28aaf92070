"""The arguments of the optimizer, with the names and meanings of Keras' `Ftrl`.

l2 counts twice, as in TensorFlow: the paper's lambda2 is 2 * l2_regularization_strength. There are
three kinds of learning rate: a number, a schedule over the examples folded, and a list, of which
each item is a lane of a mixture (mixture.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ftrl_core import arguments
from ftrl_core.errors import BadConfig
from ftrl_core.schedules import Schedule, deserialize, serialize

RATE_MAX = 1e6
LANES_MAX = 8
POWER_MIN = -2.0
LearningRate = float | Schedule | tuple[float, ...]
_CLIPS = ("clipvalue", "clipnorm", "global_clipnorm")
_NOT_NEGATIVE = (
    "initial_accumulator_value",
    "l1_regularization_strength",
    "l2_regularization_strength",
    "l2_shrinkage_regularization_strength",
    "beta",
)


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Arguments of the optimizer; the defaults are those of the paper.

    learning_rate is a number above 0, a schedule or its `{"class_name", "config"}`, or 1 to 8
    numbers. Raises BadConfig (a ValueError) that names the argument and the value.
    """

    learning_rate: LearningRate
    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.0
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0
    l2_shrinkage_regularization_strength: float = 0.0
    beta: float = 1.0
    clipvalue: float | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = None

    def __post_init__(self) -> None:
        self._set("learning_rate", _learning_rate(self.learning_rate))
        power = arguments.between("learning_rate_power", self.learning_rate_power, POWER_MIN, 0.0)
        self._set("learning_rate_power", power)
        for name in _NOT_NEGATIVE:
            self._set(name, arguments.between(name, getattr(self, name), 0.0, RATE_MAX))
        for name in _CLIPS:
            if getattr(self, name) is not None:
                self._set(name, arguments.positive(name, getattr(self, name), 1e30))
        if self.clipnorm is not None and self.global_clipnorm is not None:
            raise BadConfig("clipnorm and global_clipnorm cannot both be given")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each lane; a schedule's at its first step."""
        if isinstance(self.learning_rate, tuple):
            return self.learning_rate
        if isinstance(self.learning_rate, float):
            return (self.learning_rate,)
        return (self.learning_rate(0),)

    @property
    def schedule(self) -> Schedule | None:
        """The schedule of the learning rate, None where it is constant."""
        return None if isinstance(self.learning_rate, float | tuple) else self.learning_rate

    def to_dict(self) -> dict[str, Any]:
        """All arguments, JSON-able."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        if isinstance(self.learning_rate, tuple):
            told["learning_rate"] = list(self.learning_rate)
        elif self.schedule is not None:
            told["learning_rate"] = serialize(self.schedule)
        return told


def _learning_rate(given: object) -> LearningRate:
    if isinstance(given, list | tuple):
        return _rates(list(given))
    if isinstance(given, Mapping):
        return deserialize(given)
    if isinstance(given, Schedule):
        return given
    return arguments.positive("learning_rate", given, RATE_MAX)


def _rates(given: list[object]) -> LearningRate:
    if not 1 <= len(given) <= LANES_MAX:
        raise BadConfig(f"learning_rate must be 1 to {LANES_MAX} numbers, not {len(given)}")
    rates = tuple(arguments.positive("learning_rate", rate, RATE_MAX) for rate in given)
    return rates if len(rates) > 1 else rates[0]
