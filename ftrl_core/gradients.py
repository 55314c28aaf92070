"""What `Ftrl.apply_gradients` takes, checked whole, clipped, and brought to rows with gradients.

A gradient is an array of the variable's shape (dense: every coordinate takes a step, one without a
gradient too, as TensorFlow's dense kernel has it) or IndexedSlices (sparse: only the rows named are
touched). Both become a `Rows`: indices of rows and a float64 gradient for each, a dense gradient
being the one row of the variable made flat. What is left of a batch is then one kernel for all.

The order of work is Keras': divide by the batch (the mean modes), clip by value, clip by norm,
clip by global norm, and only then add up the slices of one row. Norms are therefore those of the
slices as given, duplicates apart, as `tf.clip_by_norm` takes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import I64
from ftrl_core.optimizer_kernels import F64, Floats

SEQUENTIAL, BATCH_SUM, BATCH_MEAN = "sequential", "batch_sum", "batch_mean"
BATCH_COORDINATE_MEAN = "batch_coordinate_mean"
BATCH_MODES = (SEQUENTIAL, BATCH_SUM, BATCH_MEAN, BATCH_COORDINATE_MEAN)


@dataclass(frozen=True, slots=True, eq=False)
class IndexedSlices:
    """A sparse gradient: values[i] is a gradient of row indices[i] of the variable.

    values: float32 or float64 [slices, *shape of a row]; indices: integers [slices], any order, and
    a row may occur more than once. ValueError names what does not fit.
    """

    values: npt.NDArray[Any]
    indices: npt.NDArray[Any]

    def __post_init__(self) -> None:
        values, indices = np.asarray(self.values), np.asarray(self.indices)
        if indices.ndim != 1:
            raise ValueError(f"indices must have 1 dimension, not {indices.ndim}")
        if indices.dtype.kind not in "iu" and indices.size:
            raise ValueError(f"indices must be integers, not {indices.dtype}")
        if values.ndim < 1 or len(values) != len(indices):
            raise ValueError(
                f"values must have one row for each of {len(indices)} indices,"
                f" not the shape {values.shape}"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "indices", indices)


@dataclass(frozen=True, slots=True)
class Rows:
    """Gradients of rows: gradients[i], float64, of row indices[i] of a variable made [rows, width].

    `dense` says that the variable is one row; the gradients are this object's own copy.
    """

    indices: I64
    gradients: F64
    dense: bool


def check_variable(variable: object) -> npt.NDArray[Any]:
    """The variable as a plain array that shares its memory; ValueError unless it can be updated."""
    if not isinstance(variable, np.ndarray):
        raise ValueError(f"a variable must be a NumPy array, not {type(variable).__name__}")
    if variable.dtype not in (np.float32, np.float64):
        raise ValueError(f"a variable must be float32 or float64, not {variable.dtype}")
    if not variable.flags.writeable:
        raise ValueError("a variable must be writeable; received a read-only array")
    return np.asarray(variable)


def rows_of(gradient: object, variable: npt.NDArray[Any]) -> Rows:
    """The gradient of a variable, checked and copied; ValueError names what is wrong with it."""
    if isinstance(gradient, IndexedSlices):
        return _sparse(gradient, variable)
    given = np.asarray(gradient)
    _check_values("gradient", given, variable.shape)
    _check_finite("the variable", variable)
    values = np.array(given, dtype=np.float64, order="C").reshape(1, variable.size)
    return Rows(np.zeros(1, dtype=np.int64), values, dense=True)


def _sparse(gradient: IndexedSlices, variable: npt.NDArray[Any]) -> Rows:
    if variable.ndim == 0:
        raise ValueError("IndexedSlices need a variable of at least 1 dimension, not of shape ()")
    count, *shape = variable.shape
    _check_values("values", gradient.values, (len(gradient.indices), *shape))
    for index in gradient.indices[(gradient.indices < 0) | (gradient.indices >= count)][:1]:
        raise ValueError(f"indices must be from 0 to {count - 1}; received indices={index}")
    indices = gradient.indices.astype(np.int64)
    _check_finite("the variable", variable[indices])
    values = np.array(gradient.values, dtype=np.float64, order="C")
    return Rows(indices, values.reshape(len(indices), math.prod(shape)), dense=False)


def _check_values(name: str, values: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} must be float32 or float64, not {values.dtype}")
    if values.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}, not {values.shape}")
    _check_finite(name, values)


def _check_finite(name: str, values: npt.NDArray[Any]) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        raise ValueError(f"{name} must be finite; received {values[~finite].flat[0]}")


def averaged(rows: Rows, mode: str, examples: int | None) -> Rows:
    """Gradients divided as the batch mode says; `examples` is the size of the batch, if given.

    Without it every slice is an example, and a dense gradient is one. A dense gradient has each of
    its coordinates in every example.
    """
    if mode == BATCH_MEAN or (mode == BATCH_COORDINATE_MEAN and rows.dense):
        count = len(rows.indices) if examples is None else examples
        return replace(rows, gradients=rows.gradients / max(count, 1))
    if mode == BATCH_COORDINATE_MEAN:
        _, inverse, counts = np.unique(rows.indices, return_inverse=True, return_counts=True)
        return replace(rows, gradients=rows.gradients / counts[inverse][:, None])
    return rows


def summed(rows: Rows, mode: str) -> Rows:
    """Slices of one row added up, in their order; `sequential` keeps them apart."""
    if mode == SEQUENTIAL or rows.dense:
        return rows
    indices, inverse = np.unique(rows.indices, return_inverse=True)
    sums = np.zeros((len(indices), rows.gradients.shape[1]))
    np.add.at(sums, inverse, rows.gradients)
    return replace(rows, indices=indices, gradients=sums)


def clipped(
    batch: Sequence[Rows],
    clipvalue: float | None,
    clipnorm: float | None,
    global_clipnorm: float | None,
) -> list[Rows]:
    """Clip by value, then each variable's norm, then the norm of all, whichever are given."""
    gradients = [rows.gradients for rows in batch]
    if clipvalue is not None:
        gradients = [np.clip(g, -clipvalue, clipvalue) for g in gradients]
    if clipnorm is not None:
        gradients = [_scaled(g, clipnorm, norm([g])) for g in gradients]
    if global_clipnorm is not None:
        whole = norm(gradients)
        gradients = [_scaled(g, global_clipnorm, whole) for g in gradients]
    return [replace(rows, gradients=g) for rows, g in zip(batch, gradients, strict=True)]


def norm(gradients: Iterable[F64]) -> float:
    """The Euclidean norm of all values together; scaled first, so that no square overflows."""
    values = list(gradients)
    largest = max((float(np.abs(g).max(initial=0.0)) for g in values), default=0.0)
    if largest == 0.0:
        return 0.0
    return largest * math.sqrt(sum(float(np.square(g / largest).sum()) for g in values))


def _scaled(gradient: F64, most: float, size: float) -> F64:
    """gradient * most / max(size, most): unchanged, to the bit, where the norm is small enough."""
    return gradient if size <= most else gradient * (most / size)


def as_rows(array: Floats, dense: bool) -> Floats:
    """The array as [rows, width], C-contiguous and aligned; a view where it can be one."""
    shape = (1, array.size) if dense else (len(array), math.prod(array.shape[1:]))
    return np.require(array, requirements=["C", "A"]).reshape(shape)
