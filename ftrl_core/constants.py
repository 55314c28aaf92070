"""What the kernels need of a configuration, computed once: float64[CONSTANTS, lanes].

A row is one constant, a column one lane, so a kernel reads a constant of all lanes as neighbours.
z is kept times the learning rate, hence `alpha l1` and `alpha lambda2`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.config import ModelConfig
from ftrl_core.jit import kernel

F64 = npt.NDArray[np.float64]

# Rows that both learn kernels read.
ALPHA, BETA, N0, THRESHOLD, LAMBDA2, SHARE = range(6)
BIAS_ALPHA, BIAS_THRESHOLD, BIAS_LAMBDA2 = range(6, 9)
UNIT_SCALE, SEES_BINS, SEES_LINEAR = range(9, 12)
# Rows of the general kernel only.
L1, L2, OWN_BIAS_ALPHA, BIAS_REGULARIZED, POWER, SHRINKAGE = range(12, 18)
CLIPVALUE, CLIPNORM, GLOBAL_CLIPNORM, LOGIT_OFFSET, COUNTS = range(18, 23)
ADMISSION, ADMISSION_PROBABILITY, ADMISSION_COUNT = range(23, 26)
CONSTANTS = 26
ADMIT_ALL, ADMIT_POISSON, ADMIT_BLOOM = range(3)


def fold_constants(config: ModelConfig) -> F64:
    """The constants of a configuration, in their places; a schedule's at its first step."""
    o = config.optimizer
    k = np.zeros((CONSTANTS, config.lanes))
    k[ALPHA] = config.rates
    k[BETA] = o.beta
    k[N0] = o.initial_accumulator_value
    k[L1] = o.l1_regularization_strength
    k[L2] = 2.0 * o.l2_regularization_strength  # Keras counts l2 twice
    k[OWN_BIAS_ALPHA] = config.bias_learning_rate or 0.0
    k[BIAS_REGULARIZED] = config.bias_regularized
    k[SHARE] = config.mixture_share
    k[UNIT_SCALE] = config.scale == "unit"
    k[SEES_BINS] = k[SEES_LINEAR] = 1.0
    if config.numbers == "auto" and config.lanes > 1:
        k[SEES_BINS, 1::2] = k[SEES_LINEAR, 0::2] = 0.0
    k[POWER] = o.learning_rate_power
    k[SHRINKAGE] = o.l2_shrinkage_regularization_strength
    k[CLIPVALUE], k[CLIPNORM] = o.clipvalue or np.inf, o.clipnorm or np.inf
    k[GLOBAL_CLIPNORM] = o.global_clipnorm or np.inf
    k[LOGIT_OFFSET] = config.logit_offset
    k[COUNTS] = config.rates_from == "counts"
    _admission(k, config)
    for lane in range(config.lanes):
        derive(k, lane)
    return k


@kernel
def derive(k: F64, lane: int) -> None:
    """Fill what follows from a lane's ALPHA, in place."""
    alpha, own = k[ALPHA, lane], k[OWN_BIAS_ALPHA, lane]
    k[THRESHOLD, lane] = alpha * k[L1, lane]
    k[LAMBDA2, lane] = alpha * k[L2, lane]
    bias_alpha = own if own > 0.0 else alpha
    k[BIAS_ALPHA, lane] = bias_alpha
    k[BIAS_THRESHOLD, lane] = (bias_alpha * k[L1, lane]) * k[BIAS_REGULARIZED, lane]
    k[BIAS_LAMBDA2, lane] = (bias_alpha * k[L2, lane]) * k[BIAS_REGULARIZED, lane]


def _admission(k: F64, config: ModelConfig) -> None:
    admission = config.admission
    if admission is None:
        k[ADMISSION] = ADMIT_ALL
    elif admission.kind == "poisson":
        k[ADMISSION] = ADMIT_POISSON
        k[ADMISSION_PROBABILITY] = admission.probability
    else:
        k[ADMISSION] = ADMIT_BLOOM
        k[ADMISSION_COUNT] = admission.count
