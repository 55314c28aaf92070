"""A mixture of learning rates: the lanes' probabilities under Bayesian weights.

Each lane is a learner of its own with its own learning rate. With pi the posterior of the lanes,
p_l the lanes' probabilities of a click and y the label of an example of weight w:

    p      = sum_l pi_l p_l                                     what is served and scored
    pi_l'  ~ pi_l q_l^w,   q_l = p_l if y else 1 - p_l          Bayes, w times
    pi_l'' = (1 - share) pi_l' + share / lanes                  fixed share

Without sharing the total log loss is at most ln(lanes) above that of the lane that is best in
hindsight (each lane's weight is its likelihood). Sharing (Herbster and Warmuth 1998) costs a
constant factor of that and lets the weights follow a stream on which the best rate changes: a lane
that was hopeless is back after ln(1 / share) nats, not after all it ever lost.

With one lane nothing here changes a bit of p. Sums run in the order of the lanes.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.constants import F64
from ftrl_core.jit import inner_kernel, kernel
from ftrl_core.numbers import exp, log

EXPONENT_MIN = -700.0


@inner_kernel
def mixed(posterior: F64, ps: F64) -> float:
    """The mixture's probability; ps float64[lanes] are the lanes' own, inside (0, 1)."""
    p = posterior[0] * ps[0]
    for lane in range(1, ps.size):
        p += posterior[lane] * ps[lane]
    return float(p)


@inner_kernel
def logit_of(p: float) -> float:
    """log(p / (1 - p)) for p inside (0, 1)."""
    return float(log(p) - log(1.0 - p))


@inner_kernel
def likelihood(p: float, label: int) -> float:
    """The probability that p gave to the label."""
    return p if label else 1.0 - p


@inner_kernel
def update_posterior(posterior: F64, ps: F64, label: int, weight: float, share: float) -> None:
    """Bayes and fixed share, in place; weight >= 0 is the example's importance.

    For a weight other than 1 the power is taken relative to the best lane, so that no weight,
    however large, leaves all lanes at zero.
    """
    lanes = ps.size
    if weight == 0.0:
        return
    best = 0.0
    for lane in range(lanes):
        best = max(best, likelihood(ps[lane], label))
    total = 0.0
    for lane in range(lanes):
        q = likelihood(ps[lane], label) / best
        if weight != 1.0:
            q = exp(max(weight * log(q), EXPONENT_MIN))
        posterior[lane] *= q
        total += posterior[lane]
    for lane in range(lanes):
        posterior[lane] = (1.0 - share) * (posterior[lane] / total) + share / lanes


@kernel
def start_posterior(lanes: int) -> F64:
    """float64[lanes]: every lane as likely as the others."""
    return np.full(lanes, 1.0 / lanes)
