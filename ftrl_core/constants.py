"""What the kernels need of a configuration, computed once: float64[CONSTANTS, lanes].

A row is one constant, a column one lane, so a kernel reads a constant of all lanes as neighbours.
z is kept times the learning rate, hence `alpha l1` and `alpha lambda2`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.config import ModelConfig

F64 = npt.NDArray[np.float64]

# Rows that both learn kernels read.
ALPHA, BETA, N0, THRESHOLD, LAMBDA2, BIAS_THRESHOLD, BIAS_LAMBDA2, SHARE = range(8)
# Rows of the general kernel only.
L1, L2, BIAS_REGULARIZED, POWER, SHRINKAGE, CLIPVALUE, CLIPNORM, GLOBAL_CLIPNORM = range(8, 16)
LOGIT_OFFSET, COUNTS, ADMISSION, ADMISSION_PROBABILITY, ADMISSION_COUNT = range(16, 21)
CONSTANTS = 21
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
    k[BIAS_REGULARIZED] = config.bias_regularized
    k[SHARE] = config.mixture_share
    k[POWER] = o.learning_rate_power
    k[SHRINKAGE] = o.l2_shrinkage_regularization_strength
    k[CLIPVALUE], k[CLIPNORM] = o.clipvalue or np.inf, o.clipnorm or np.inf
    k[GLOBAL_CLIPNORM] = o.global_clipnorm or np.inf
    k[LOGIT_OFFSET] = config.logit_offset
    k[COUNTS] = config.rates_from == "counts"
    _admission(k, config)
    derive(k)
    return k


def derive(k: F64) -> None:
    """Fill the rows that follow from ALPHA, L1 and L2, in place."""
    k[THRESHOLD] = k[ALPHA] * k[L1]
    k[LAMBDA2] = k[ALPHA] * k[L2]
    k[BIAS_THRESHOLD] = k[THRESHOLD] * k[BIAS_REGULARIZED]
    k[BIAS_LAMBDA2] = k[LAMBDA2] * k[BIAS_REGULARIZED]


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
