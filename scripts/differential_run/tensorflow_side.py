"""One case by each Ftrl of TensorFlow's family; only the differential run's environment has them.

legacy   tf_keras.optimizers.legacy.Ftrl: TensorFlow's kernels, dense and sparse
new      tf_keras.optimizers.Ftrl: one Python formula; an IndexedSlices is made dense
keras3   keras.optimizers.Ftrl on the TensorFlow backend: the same formula
"""

from __future__ import annotations

from typing import Any

import keras  # type: ignore[import-not-found]
import numpy as np
import tensorflow as tf  # type: ignore[import-untyped]
import tf_keras  # type: ignore[import-not-found]

from scripts.differential_run.cases import Case, Gradient
from scripts.differential_run.outcome import Outcome


def versions() -> str:
    """What is compared with."""
    return (
        f"TensorFlow {tf.__version__}, tf-keras {tf_keras.__version__}, Keras {keras.__version__}"
    )


def schedule(module: Any, case: Case) -> Any:
    """The case's rate; a schedule's arguments as NumPy numbers of the case's type.

    Given Python numbers a schedule computes in float32, and in the type of its arguments otherwise.
    """
    if isinstance(case.rate, float):
        return case.rate
    number = np.dtype(case.dtype).type
    config = dict(case.rate["config"])
    for name, value in config.items():
        if name == "values":
            config[name] = [number(v) for v in value]
        elif name in ("initial_learning_rate", "end_learning_rate", "warmup_target"):
            config[name] = number(value)
    return getattr(module.optimizers.schedules, case.rate["class_name"])(**config)


def tensor(gradient: Gradient, case: Case) -> Any:
    """A gradient as TensorFlow takes it."""
    if isinstance(gradient, tuple):
        values, indices = gradient
        return tf.IndexedSlices(
            tf.constant(values, case.dtype), tf.constant(indices), case.variables[0].shape
        )
    return tf.constant(gradient, case.dtype)


def applied(case: Case, optimizer: Any, variables: list[Any]) -> list[np.ndarray]:
    """Weights of all variables after each step."""
    weights = []
    for gradients in case.steps:
        tensors = [tensor(g, case) for g in gradients]
        optimizer.apply_gradients(list(zip(tensors, variables, strict=True)))
        weights.append(np.concatenate([np.asarray(v).ravel() for v in variables]))
    return weights


def flat(tensors: list[Any]) -> np.ndarray:
    """All values one after the other."""
    return np.concatenate([np.asarray(t).ravel() for t in tensors])


def legacy(case: Case) -> Outcome:
    """By tf_keras.optimizers.legacy.Ftrl."""
    optimizer = tf_keras.optimizers.legacy.Ftrl(schedule(tf_keras, case), **case.arguments)
    variables = [tf.Variable(v, dtype=case.dtype) for v in case.variables]
    weights = applied(case, optimizer, variables)
    z = flat([optimizer.get_slot(v, "linear") for v in variables])
    return Outcome(weights, z, flat([optimizer.get_slot(v, "accumulator") for v in variables]))


def new(case: Case) -> Outcome:
    """By tf_keras.optimizers.Ftrl."""
    rate = schedule(tf_keras, case)
    optimizer = tf_keras.optimizers.Ftrl(rate, **case.arguments, jit_compile=False)
    variables = [tf.Variable(v, dtype=case.dtype) for v in case.variables]
    optimizer.build(variables)
    weights = applied(case, optimizer, variables)
    return Outcome(weights, flat(optimizer._linears), flat(optimizer._accumulators))


def keras3(case: Case) -> Outcome:
    """By keras.optimizers.Ftrl."""
    optimizer = keras.optimizers.Ftrl(schedule(keras, case), **case.arguments)
    variables = [keras.Variable(v, dtype=case.dtype) for v in case.variables]
    optimizer.build(variables)
    weights = applied(case, optimizer, variables)
    return Outcome(weights, flat(optimizer._linears), flat(optimizer._accumulators))
