"""Arrays by name, as np.load of an .npz gives them: Keras or TensorFlow slots, scikit-learn.

    w, names                      weights float[k] (or [k, 1], [1, k]) and text[k]
    n, z                          optional: TensorFlow's slots `accum` and `linear`
    bias, bias_n, bias_z          optional: numbers (or arrays of one)
    coef_, intercept_             instead of w and bias: scikit-learn's, of two classes
    feature_names                 instead of names

A TensorFlow `linear` slot is never believed blindly. Some releases call the kernel that keeps lr z
where z was meant, and the other way round (the dense V2 kernels were dispatched swapped), and the
slot says nothing of itself. Given the optimizer's arguments, w is compared with f(z, n) and
f(z / lr, n); without them z is left alone. A coordinate with z = 0 is one that was never touched,
whose w is whatever it was initialised with, and is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core.constants import F64
from ftrl_core.errors import BadWeights
from ftrl_core.hyperparameters import Hyperparameters
from ftrl_core.interchange.weights import (
    FEATURES_MAX,
    LinearWeights,
    divisors,
    feature_of,
    ftrl_weights,
    shown,
    text_of,
)

Arrays = Mapping[str, npt.NDArray[Any]]
_KNOWN = frozenset({
    "w", "n", "z", "bias", "bias_n", "bias_z", "names", "coef_", "intercept_", "feature_names",
    "config",
})  # fmt: skip


def read_arrays(
    arrays: Arrays,
    names: Sequence[str] | None = None,
    trained_with: Hyperparameters | None = None,
) -> LinearWeights:
    """The model of these arrays; `names` replaces the array of names, in the same order.

    Raises BadWeights: an unknown or missing array, shapes that do not fit, what is not a number,
    a w that is neither f(z, n) nor f(z / lr, n) under `trained_with`.
    """
    unknown = sorted(set(arrays) - _KNOWN)
    if unknown:
        raise BadWeights(f"array {unknown[0]!r} is not one of {', '.join(sorted(_KNOWN))}")
    w = _vector(arrays, "coef_" if "coef_" in arrays and "w" not in arrays else "w")
    n = _vector(arrays, "n") if "n" in arrays else None
    z = _vector(arrays, "z") if "z" in arrays else None
    bias = _number(arrays, "intercept_" if "intercept_" in arrays else "bias") or 0.0
    features = [feature_of(name) for name in (_names(arrays) if names is None else names)]
    own = bias, _number(arrays, "bias_n"), _number(arrays, "bias_z")
    given = LinearWeights(features, w, n, z, *own)
    if z is None:
        return given
    if n is None:
        raise BadWeights("there is z but no n: a linear slot means nothing without its accumulator")
    if trained_with is None:
        note = "z is not looked at: it can be checked only with the optimizer's arguments"
        return LinearWeights(features, w, n, None, bias, own[1], None, (note,))
    z, note = _checked_z(given, z, n, trained_with)
    scale = trained_with.rates[0] if note.startswith("the linear slot is lr") else 1.0
    bias_z = None if own[2] is None else own[2] / scale
    return LinearWeights(features, w, n, z, bias, own[1], bias_z, (note,))


def _checked_z(
    given: LinearWeights, z: F64, n: F64, trained_with: Hyperparameters
) -> tuple[F64, str]:
    """z itself, and which of the two conventions it was kept in."""
    fits = _fits(given.w, z, n, trained_with)
    if fits.all():
        return z, "the linear slot is z: w is f(z, n) everywhere"
    divided = z / trained_with.rates[0]
    if _fits(given.w, divided, n, trained_with).all():
        return divided, "the linear slot is lr * z, and was divided: w is f(z / lr, n) everywhere"
    worst = int(np.argmin(fits))
    raise BadWeights(
        f"w of {shown(given.features[worst])} is neither f(z, n) nor f(z / lr, n) under the"
        " arguments given: they are not those of this model, or its slots are not of one step"
    )


def _fits(w: F64, z: F64, n: F64, trained_with: Hyperparameters) -> npt.NDArray[np.bool_]:
    """Where w is f(z, n) up to float32 rounding, or the coordinate was never touched."""
    made = ftrl_weights(z, n, trained_with)
    q = np.maximum(divisors(n, trained_with), 1e-30)
    slack = 1e-4 * np.maximum(np.abs(w), np.abs(made)) + 1e-6 * np.abs(z) / q
    return np.asarray((np.abs(w - made) <= slack) | (z == 0.0))


def _vector(arrays: Arrays, name: str) -> F64:
    if name not in arrays:
        raise BadWeights(f"there is no array {name!r}")
    given = arrays[name]
    if given.dtype.kind not in "fiu" or given.size > FEATURES_MAX:
        raise BadWeights(f"array {name!r} is not one of at most {FEATURES_MAX} numbers")
    if given.ndim not in (1, 2) or max(given.shape) != given.size:
        if name == "coef_" and given.ndim == 2:
            raise BadWeights(f"coef_ has {given.shape[0]} rows; a model of two classes has one")
        raise BadWeights(f"array {name!r} has shape {given.shape}; a vector is expected")
    return given.reshape(-1).astype(np.float64)


def _number(arrays: Arrays, name: str) -> float | None:
    if name not in arrays:
        return None
    given = arrays[name]
    if given.dtype.kind not in "fiu" or given.size != 1:
        raise BadWeights(f"array {name!r} must be one number")
    return float(given.reshape(-1)[0])


def _names(arrays: Arrays) -> list[str]:
    given = arrays.get("names", arrays.get("feature_names"))
    if given is None:
        raise BadWeights("there is no array 'names', and no list of names was given")
    if given.dtype.kind != "U" or given.ndim != 1:
        raise BadWeights("names must be a vector of text (numpy's str, not objects)")
    return [str(name) for name in given]


def write_arrays(weights: LinearWeights) -> dict[str, npt.NDArray[Any]]:
    """w, n, z (float64[k]), names and the bias's own; `read_arrays` reads them back.

    BadWeights for a feature that cannot be spelled.
    """
    arrays: dict[str, npt.NDArray[Any]] = {
        "names": _text(weights),
        "w": weights.w,
        "bias": np.array(weights.bias, np.float64),
    }
    optional = {
        "n": weights.n,
        "z": weights.z,
        "bias_n": weights.bias_n,
        "bias_z": weights.bias_z,
    }
    arrays.update(
        {name: np.asarray(x, np.float64) for name, x in optional.items() if x is not None}
    )
    return arrays


def write_coefficients(weights: LinearWeights) -> dict[str, npt.NDArray[Any]]:
    """coef_ float64[1, k], intercept_ float64[1] and feature_names, as a fitted classifier has."""
    return {
        "coef_": weights.w.reshape(1, -1),
        "intercept_": np.array([weights.bias]),
        "feature_names": _text(weights),
    }


def _text(weights: LinearWeights) -> npt.NDArray[np.str_]:
    texts = [text_of(feature) for feature in weights.features]
    for text, feature in zip(texts, weights.features, strict=True):
        if text.endswith("\0"):
            raise BadWeights(f"feature {shown(feature)} ends with a zero byte, which NumPy drops")
    return np.array(texts, np.str_)
