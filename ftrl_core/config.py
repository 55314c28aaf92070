"""The configuration of a model: validated once, here, and trusted everywhere else.

The optimizer's arguments have the names and meanings of Keras' `Ftrl` (l2 counts twice: the paper's
lambda2 is 2 * l2_regularization_strength). A configuration may be given in part; what is left out
takes the service's defaults below, is resolved when the model is made, and is then kept in the
model's log for ever, so an upgrade that changes a default changes no model.

What changes the fold's arithmetic is separate from what does not (`arithmetic`): the digest of a
model covers the first and ignores the second.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ftrl_core.errors import BadConfig

FOLD_VERSION = 1
TABLE_BITS_MAX = 30
DEDUPLICATION_WINDOW_MAX = 1 << 26
_RATE_MAX = 1e6
_NEUTRAL = {
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


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Arguments of the optimizer; the defaults are the service's, chosen by `scripts/tune`.

    Raises BadConfig (a ValueError) that names the argument and the value.
    """

    learning_rate: float = 0.1
    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.0
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0
    l2_shrinkage_regularization_strength: float = 0.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            object.__setattr__(self, name, _finite(name, getattr(self, name)))
        _require(0 < self.learning_rate <= _RATE_MAX, "learning_rate", self.learning_rate)
        for name in (f.name for f in fields(self)[2:]):
            _require(0 <= getattr(self, name) <= _RATE_MAX, name, getattr(self, name))
        if self.learning_rate_power != -0.5:
            raise BadConfig(
                f"learning_rate_power={self.learning_rate_power!r}: only -0.5 is folded"
            )
        if self.l2_shrinkage_regularization_strength != 0.0:
            value = self.l2_shrinkage_regularization_strength
            raise BadConfig(f"l2_shrinkage_regularization_strength={value!r}: only 0 is folded")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that a model's fold depends on besides its log."""

    optimizer: Hyperparameters = field(default_factory=Hyperparameters)
    table_bits: int = 22  # the table has 2^table_bits slots
    hash_seed: int = 0  # seeds every hash of the model, below 2^32
    deduplication_window: int = 1 << 20  # ids remembered, by position
    bias_regularized: bool = False  # whether l1 and l2 act on the bias too
    fold_version: int = FOLD_VERSION  # which arithmetic; a replica refuses one it does not know

    def __post_init__(self) -> None:
        _require_int("table_bits", self.table_bits, 1, TABLE_BITS_MAX)
        _require_int("hash_seed", self.hash_seed, 0, 2**32 - 1)
        _require_int("deduplication_window", self.deduplication_window, 0, DEDUPLICATION_WINDOW_MAX)
        _require_int("fold_version", self.fold_version, FOLD_VERSION, FOLD_VERSION)
        if not isinstance(self.bias_regularized, bool):
            raise BadConfig(
                f"bias_regularized must be true or false, not {_show(self.bias_regularized)}"
            )

    @property
    def lanes(self) -> int:
        """How many learning rates the model learns with at once."""
        return 1

    @staticmethod
    def from_dict(given: Mapping[str, Any]) -> ModelConfig:
        """The configuration with what is left out at its default; BadConfig names what is wrong."""
        known = _known("configuration", given, ModelConfig)
        optimizer = known.pop("optimizer", {})
        if not isinstance(optimizer, Mapping):
            raise BadConfig("optimizer must be an object of Keras' argument names")
        arguments = _known("optimizer", optimizer, Hyperparameters)
        return ModelConfig(optimizer=Hyperparameters(**arguments), **known)

    def to_dict(self) -> dict[str, Any]:
        """The whole configuration, JSON-able; `from_dict` gives back an equal one."""
        return asdict(self)

    def arithmetic(self) -> bytes:
        """Canonical bytes of what changes the fold's arithmetic; part of the digest.

        What is at its neutral value is left out, so an argument that a later version adds, off by
        default, changes no digest.
        """
        whole = self.to_dict()
        whole.update(whole.pop("optimizer"))
        del whole["deduplication_window"]
        told = {name: value for name, value in whole.items() if value != _NEUTRAL.get(name)}
        return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def _known(what: str, given: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    for name in given:
        if name not in names:
            raise BadConfig(
                f"{what} has no argument of that name; it has {', '.join(sorted(names))}"
            )
    return dict(given)


def _show(value: object) -> str:
    """A value in a message: short, and never a long echo of what a client sent."""
    return repr(value) if isinstance(value, int | float | bool) else type(value).__name__


def _finite(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadConfig(f"{name} must be a number, not {_show(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadConfig(f"{name} must be finite, not {number!r}")
    return number + 0.0  # -0.0 becomes 0.0, so that equal configurations have equal bytes


def _require(holds: bool, name: str, value: float) -> None:
    if not holds:
        bound = "above 0" if name == "learning_rate" else "at least 0"
        raise BadConfig(f"{name} must be {bound} and at most {_RATE_MAX:g}, not {value!r}")


def _require_int(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadConfig(f"{name} must be an integer from {low} to {high}, not {_show(value)}")
