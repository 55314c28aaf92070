"""What the kernels need of a configuration, computed once: a float64 array with named places."""

from __future__ import annotations

import numpy as np

from ftrl_core import kernels
from ftrl_core.config import ModelConfig
from ftrl_core.kernels import F64


def weight_of(config: ModelConfig, z: float, n: float) -> float:
    """The weight that (z, n), as the table stores them, have under a configuration."""
    k = fold_constants(config).astype(np.float32)
    arguments = k[kernels.N0], k[kernels.BETA], k[kernels.THRESHOLD], k[kernels.LAMBDA2]
    return float(kernels.weight(np.float32(z), np.float32(n), *arguments))


def fold_constants(config: ModelConfig) -> F64:
    """The constants of the kernels for a configuration, in their places."""
    o = config.optimizer
    threshold = o.learning_rate * o.l1_regularization_strength
    lambda2 = o.learning_rate * 2.0 * o.l2_regularization_strength  # Keras counts l2 twice
    k = np.zeros(kernels.CONSTANTS)
    k[kernels.ALPHA] = o.learning_rate
    k[kernels.BETA] = o.beta
    k[kernels.N0] = o.initial_accumulator_value
    k[kernels.THRESHOLD] = threshold
    k[kernels.LAMBDA2] = lambda2
    k[kernels.BIAS_THRESHOLD] = threshold if config.bias_regularized else 0.0
    k[kernels.BIAS_LAMBDA2] = lambda2 if config.bias_regularized else 0.0
    return k
