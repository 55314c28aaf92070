"""`Ftrl`: FTRL-Proximal on NumPy arrays, with the signature of `tf.keras.optimizers.legacy.Ftrl`.

Arguments, defaults and arithmetic are Keras' (docs/optimizer.md has the table of modes, and where
the documentation, the paper and the kernels differ). Stricter: NaN, a learning rate of 0 or less
and a negative beta are refused, and a gradient is checked whole before anything changes.

A variable is known by its memory, so a view of the same elements is the same variable. It gets two
arrays of its shape and dtype at its first gradient: the accumulator n and the linear term z.
The optimizer keeps a reference to it.

    from ftrl_core import Ftrl, IndexedSlices
    optimizer = Ftrl(learning_rate=0.1, l1_regularization_strength=0.01)
    optimizer.apply_gradients([(gradient, weights), (IndexedSlices(rows, indices), table)])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ftrl_core import gradients, schedules
from ftrl_core import optimizer_kernels as kernels
from ftrl_core.arguments import finite, label, not_negative, positive, refuse
from ftrl_core.errors import BadConfig
from ftrl_core.gradients import Rows
from ftrl_core.optimizer_kernels import F64, Floats
from ftrl_core.schedules import STEP_MAX, Schedule, rate_at

MOST = {np.dtype(np.float32): 1e38, np.dtype(np.float64): 1e300}
_CLIPS = ("clipvalue", "clipnorm", "global_clipnorm")
_KEYWORDS = (*_CLIPS, "batch_mode")


@dataclass(frozen=True, slots=True)
class _Slots:
    """State of one variable: the variable, n and z, both of its shape and dtype."""

    variable: npt.NDArray[Any]
    accumulator: Floats
    linear: Floats


class Ftrl:
    """FTRL-Proximal with per-coordinate learning rates (McMahan et al. 2013), as Keras has it.

    learning_rate is a number above 0 or a schedule of `ftrl_core.schedules`, called with
    `iterations`. Keywords: clipvalue, clipnorm or global_clipnorm (above 0, None is off), and
    batch_mode: "sequential" (each slice of a row is a step of its own), "batch_sum" (TensorFlow),
    "batch_mean" (divided by the number of examples) or "batch_coordinate_mean" (each row divided by
    how often it occurs). Raises ValueError naming the argument and the value, TypeError for an
    argument that does not exist.
    """

    def __init__(
        self,
        learning_rate: Schedule | float = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        name: str = "Ftrl",
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.learning_rate = learning_rate
        self._power = finite("learning_rate_power", learning_rate_power)
        if self._power > 0.0:
            raise refuse("learning_rate_power", learning_rate_power, "must be at most 0")
        self._n0 = not_negative("initial_accumulator_value", initial_accumulator_value)
        self._l1 = not_negative("l1_regularization_strength", l1_regularization_strength)
        self._l2 = not_negative("l2_regularization_strength", l2_regularization_strength)
        self._shrinkage = not_negative(
            "l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength
        )
        self._beta = not_negative("beta", beta)
        self._name = label("name", name)
        self._set_keywords(kwargs)
        self._iterations = 0
        self._slots: list[_Slots] = []  # of variables, first seen first
        self._waiting: list[tuple[Floats, Floats]] = []  # set before their variables were seen

    @classmethod
    def paper(
        cls,
        alpha: Schedule | float,
        beta: float = 1.0,
        lambda1: float = 0.0,
        lambda2: float = 0.0,
        **kwargs: Any,
    ) -> Self:
        """Algorithm 1 of the paper under its own names: n starts at 0, and lambda2 is 2 * l2."""
        if not isinstance(alpha, Schedule):
            positive("alpha", alpha)
        return cls(
            learning_rate=alpha,
            initial_accumulator_value=0.0,
            beta=not_negative("beta", beta),
            l1_regularization_strength=not_negative("lambda1", lambda1),
            l2_regularization_strength=not_negative("lambda2", lambda2) / 2.0,
            **kwargs,
        )

    def _set_keywords(self, given: Mapping[str, Any]) -> None:
        for name in given:
            if name not in _KEYWORDS:
                raise TypeError(
                    f"Ftrl has no argument {name!r}; its keywords are {', '.join(_KEYWORDS)}"
                )
        self._clips = {
            name: None if given.get(name) is None else positive(name, given[name])
            for name in _CLIPS
        }
        if self._clips["clipnorm"] is not None and self._clips["global_clipnorm"] is not None:
            both = f"clipnorm={given['clipnorm']} and global_clipnorm={given['global_clipnorm']}"
            raise BadConfig(f"at most one norm can be clipped; received {both}")
        self._batch_mode = given.get("batch_mode", gradients.SEQUENTIAL)
        if self._batch_mode not in gradients.BATCH_MODES:
            modes = ", ".join(gradients.BATCH_MODES)
            shown = str(self._batch_mode)[:64]
            raise BadConfig(f"batch_mode must be one of {modes}; received batch_mode={shown!r}")

    @property
    def learning_rate(self) -> Schedule | float:
        """The number or the schedule; it may be set, and then holds from the next step on."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, given: Schedule | float) -> None:
        self._rate = schedules.parameters(given)
        self._learning_rate = given if isinstance(given, Schedule) else float(given)

    @property
    def name(self) -> str:
        """The name given, "Ftrl" by default."""
        return self._name

    @property
    def iterations(self) -> int:
        """Calls of `apply_gradients` that changed something; schedules are called with it."""
        return self._iterations

    def get_config(self) -> dict[str, Any]:
        """The arguments under their names, JSON-able; a schedule as schedules.serialize has it."""
        rate = self._learning_rate
        return {
            "name": self._name,
            "learning_rate": schedules.serialize(rate) if isinstance(rate, Schedule) else rate,
            "learning_rate_power": self._power,
            "initial_accumulator_value": self._n0,
            "l1_regularization_strength": self._l1,
            "l2_regularization_strength": self._l2,
            "l2_shrinkage_regularization_strength": self._shrinkage,
            "beta": self._beta,
            **{name: value for name, value in self._clips.items() if value is not None},
            "batch_mode": self._batch_mode,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """An optimizer with the arguments of `get_config`, without state; errors as for Ftrl()."""
        arguments = dict(config)
        if isinstance(arguments.get("learning_rate"), Mapping):
            arguments["learning_rate"] = schedules.deserialize(arguments["learning_rate"])
        return cls(**arguments)

    def apply_gradients(
        self, grads_and_vars: Iterable[tuple[Any, Any]], *, examples: int | None = None
    ) -> None:
        """One step for every (gradient, variable), in place, and one more iteration.

        A variable is a writeable float32 or float64 array. A gradient is an array of its shape,
        IndexedSlices, or None (skipped; ValueError if all are). `examples` is how many examples
        the gradients are sums of, for the mean modes; without it, each slice is one. ValueError for
        a bad gradient, before anything is changed. No pairs at all are no step.
        """
        pairs = list(grads_and_vars)
        if not pairs:
            return
        given = [(g, gradients.check_variable(v)) for g, v in pairs if g is not None]
        if not given:
            raise ValueError("no variable has a gradient; received None for all of them")
        if examples is not None and (not isinstance(examples, Integral) or examples < 1):
            raise refuse("examples", examples, "must be an integer above 0")
        batch = [gradients.rows_of(g, v) for g, v in given]
        batch = [gradients.averaged(rows, self._batch_mode, examples) for rows in batch]
        batch = gradients.clipped(batch, **self._clips)
        batch = [gradients.summed(rows, self._batch_mode) for rows in batch]
        slots = self._slots_of([v for _, v in given])
        for rows, slot in zip(batch, slots, strict=True):
            self._step(rows, slot)
        self._iterations += 1

    def _step(self, rows: Rows, slot: _Slots) -> None:
        w = gradients.as_rows(slot.variable, rows.dense)
        n = gradients.as_rows(slot.accumulator, rows.dense)
        z = gradients.as_rows(slot.linear, rows.dense)
        k = self._constants(slot.variable.dtype)
        kernels.apply_rows(w, z, n, rows.gradients, rows.indices, k)
        if not np.may_share_memory(w, slot.variable):
            slot.variable[...] = w.reshape(slot.variable.shape)

    def _constants(self, dtype: np.dtype[Any]) -> F64:
        rate = float(rate_at(self._rate, self._iterations))
        k = np.zeros(6)
        k[kernels.RATE] = rate
        k[kernels.EXPONENT] = -self._power
        k[kernels.L1] = self._l1
        k[kernels.DIVISOR] = 2.0 * self._l2 + self._beta / rate
        k[kernels.SHRINKAGE] = 2.0 * self._shrinkage
        k[kernels.MOST] = MOST[dtype]
        return k

    def _slots_of(self, variables: Sequence[npt.NDArray[Any]]) -> list[_Slots]:
        """The slots of variables, new ones made; ValueError if a waiting state does not fit."""
        slots, waiting = list(self._slots), list(self._waiting)
        known = {_key(slot.variable): slot for slot in slots}
        for variable in variables:
            if _key(variable) not in known:
                slots.append(self._new_slots(variable, waiting))
                known[_key(variable)] = slots[-1]
        self._slots, self._waiting = slots, waiting
        return [known[_key(variable)] for variable in variables]

    def _new_slots(
        self, variable: npt.NDArray[Any], waiting: list[tuple[Floats, Floats]]
    ) -> _Slots:
        if waiting:
            n, z = waiting.pop(0)
            _check_slot("accumulator", n, variable)
            _check_slot("linear", z, variable)
            return _Slots(variable, n.astype(variable.dtype), z.astype(variable.dtype))
        n0 = min(self._n0, MOST[variable.dtype])
        shape, dtype = variable.shape, variable.dtype
        return _Slots(variable, np.full(shape, n0, dtype), np.zeros(shape, dtype))

    def get_weights(self) -> list[npt.NDArray[Any]]:
        """Copies: iterations (int64), then accumulator and linear of each variable, first seen
        first: the order of Keras' legacy optimizer.
        """
        pairs = [(slot.accumulator, slot.linear) for slot in self._slots] + self._waiting
        return [np.array(self._iterations), *(array.copy() for pair in pairs for array in pair)]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take over the state of `get_weights`; ValueError, and no change, if it does not fit.

        An optimizer that has seen no variable gives the state to variables as they first appear.
        """
        given = [np.asarray(array) for array in weights]
        if len(given) % 2 == 0 or (self._slots and len(given) != 1 + 2 * len(self._slots)):
            wanted = 1 + 2 * len(self._slots) if self._slots else "an odd number of"
            raise ValueError(f"weights must be {wanted} arrays; received {len(given)}")
        iterations = _iterations(given[0])
        pairs = list(zip(given[1::2], given[2::2], strict=True))
        for n, z in pairs:
            _check_state(n, z)
        for (n, z), slot in zip(pairs, self._slots, strict=False):
            _check_slot("accumulator", n, slot.variable)
            _check_slot("linear", z, slot.variable)
        for (n, z), slot in zip(pairs, self._slots, strict=False):
            slot.accumulator[...] = n
            slot.linear[...] = z
        self._waiting = [] if self._slots else [(n.copy(), z.copy()) for n, z in pairs]
        self._iterations = iterations


def _key(variable: npt.NDArray[Any]) -> tuple[Any, ...]:
    """Its memory: equal for two views of the same elements in the same order."""
    address = variable.__array_interface__["data"][0]
    return address, variable.shape, variable.strides, variable.dtype


def _iterations(array: npt.NDArray[Any]) -> int:
    if array.dtype.kind not in "iu" or array.shape != () or not 0 <= array <= STEP_MAX:
        raise ValueError("the first of weights must be iterations, an integer of at least 0")
    return int(array)


def _check_state(n: npt.NDArray[Any], z: npt.NDArray[Any]) -> None:
    for name, array in (("accumulator", n), ("linear", z)):
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(f"{name} must be float32 or float64, not {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
    if (n < 0.0).any():
        raise ValueError(f"accumulator must be at least 0; received {n.min()}")


def _check_slot(name: str, array: Floats, variable: npt.NDArray[Any]) -> None:
    if array.shape != variable.shape:
        raise ValueError(
            f"{name} must have the variable's shape {variable.shape}, not {array.shape}"
        )
    if not (np.abs(array.astype(np.float64)) <= MOST[variable.dtype]).all():
        raise ValueError(f"{name} must be at most {MOST[variable.dtype]:g} for {variable.dtype}")
