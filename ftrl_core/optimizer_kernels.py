"""One FTRL-Proximal step per coordinate, as TensorFlow's kernels do it, over rows of an array.

With lr the learning rate, p the learning_rate_power (<= 0) and w, z, n the state of a coordinate:

    n'    = n + g^2                                    g without shrinkage
    sigma = (n'^-p - n^-p) / lr
    z'    = z + g + 2 l2_shrinkage w - sigma w         the old w
    q     = n'^-p / lr + 2 l2 + beta / lr
    w'    = (clip(z', -l1, l1) - z') / q               0 where |z'| <= l1

Source: McMahan et al. 2013, Algorithm 1, with what `ApplyFtrlV2` adds (power, shrinkage, l2 counted
twice) and Keras' folding of beta into l2.

Arithmetic is float64 for float32 arrays too, and what is stored is rounded once; sigma and q are
taken from the n that was stored, so w is always the function of the stored (z, n). For p = -1/2
sigma is (n' - n) / (sqrt n' + sqrt n), without cancellation. Other powers use exp and log of
ftrl_core/numbers.py: equal bits on every machine.

Finite by construction: n, z, w and every product are bounded by `k[MOST]`, and a coordinate whose
divisor is 0 (n0 = 0 and no gradient yet, nothing regularised) has weight 0, where the formula says
0 / 0 and Keras says NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import I64
from ftrl_core.jit import kernel
from ftrl_core.numbers import exp, log

F64 = npt.NDArray[np.float64]
Floats = npt.NDArray[Any]  # float32 or float64

# Places in the float64 array of constants that `Ftrl` makes for a step and a dtype.
RATE, EXPONENT, L1, DIVISOR, SHRINKAGE, MOST = range(6)
NORMAL_MIN = 2.3e-308  # numbers.log takes normal numbers only
EXPONENT_MAX = 700.0  # the range of numbers.exp


@kernel
def bounded(x: float, most: float) -> float:
    """x clipped to [-most, most]."""
    return min(max(x, -most), most)


@kernel
def raised(n: float, exponent: float) -> float:
    """n^exponent for n >= 0 and exponent >= 0, with 0^0 = 1."""
    if exponent == 0.5:
        return float(np.sqrt(n))
    if exponent == 1.0:
        return n
    if exponent == 0.0:
        return 1.0
    if n < NORMAL_MIN:
        return 0.0
    return exp(bounded(exponent * log(n), EXPONENT_MAX))


@kernel
def growth(n: float, grown: float, exponent: float) -> float:
    """grown^exponent - n^exponent for grown >= n >= 0."""
    if exponent == 0.5:
        roots = np.sqrt(grown) + np.sqrt(n)
        return float((grown - n) / roots) if roots > 0.0 else 0.0
    return raised(grown, exponent) - raised(n, exponent)


@kernel
def weight(z: float, n: float, k: F64) -> float:
    """w of a coordinate with the state (z, n)."""
    shrunk = bounded(z, k[L1]) - z
    divisor = min(raised(n, k[EXPONENT]) / k[RATE] + k[DIVISOR], k[MOST])
    if shrunk == 0.0 or divisor == 0.0:
        return 0.0
    return bounded(shrunk / divisor, k[MOST])


@kernel
def apply_rows(w: Floats, z: Floats, n: Floats, g: F64, rows: I64, k: F64) -> None:
    """One step for each of `rows`, in order, in place in w, z, n.

    w, z, n are [rows, width] of one dtype, C-contiguous; g[i] is the gradient of rows[i], float64;
    k the constants. A row that occurs twice takes two steps. Other rows are not touched.
    """
    most = k[MOST]
    for i in range(rows.size):
        r = rows[i]
        for j in range(g.shape[1]):
            old_w, old_n, gradient = float(w[r, j]), float(n[r, j]), g[i, j]
            n[r, j] = min(old_n + gradient * gradient, most)
            new_n = float(n[r, j])
            sigma = min(growth(old_n, new_n, k[EXPONENT]) / k[RATE], most)
            change = gradient + bounded(k[SHRINKAGE] * old_w, most) - bounded(sigma * old_w, most)
            z[r, j] = bounded(float(z[r, j]) + change, most) + 0.0
            w[r, j] = weight(float(z[r, j]), new_n, k)
