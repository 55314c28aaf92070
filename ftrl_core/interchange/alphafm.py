"""alphaFM's text model without factors (`fm_train -dim 1,1,0`).

    bias w n z
    feature w n z           one line each; with k factors it would have 3 k more numbers

A feature is any text without white space. alphaFM computes w at the start of a visit and writes
what it has, so its w is one gradient older than its (z, n): given the arguments it was trained
with, w is computed anew. Its -w_l2 is the paper's lambda2, which is twice Keras' l2, and its bias
is regularised like any other coordinate. (Format and semantics: github.com/CastellanZhang/alphaFM.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ftrl_core.constants import F64
from ftrl_core.errors import BadWeights
from ftrl_core.hyperparameters import Hyperparameters
from ftrl_core.interchange.weights import (
    LinearWeights,
    feature_of,
    ftrl_weights,
    ftrl_z,
    number_of,
    numbered_lines,
    plain_text_of,
)

BIAS = "bias"
_FIELDS = 4


def read_alphafm(
    lines: Iterable[bytes], trained_with: Hyperparameters | None = None
) -> LinearWeights:
    """The model of these lines; `trained_with` recomputes w from (z, n), else w is as written.

    Raises BadWeights with the line: a model with factors, a bad number, a feature that comes twice.
    """
    names: list[str] = []
    rows: list[list[float]] = []
    for number, line in numbered_lines(lines):
        name, *cells = line.split()
        if (name == BIAS) != (not names):
            raise BadWeights(f"line {number}: the first line, and it alone, is that of {BIAS}")
        _check_width(len(cells) + 1, number)
        names.append(name)
        rows.append([number_of(cell, number) for cell in cells])
    if not names:
        raise BadWeights("the model is empty: its first line is that of bias")
    w, n, z = np.array(rows).T.copy()
    if (n < 0.0).any():
        raise BadWeights(f"n of {names[int(np.argmax(n < 0.0))]!r} is below 0")
    note = "w is as the file has it: it may be one gradient older than z and n"
    if trained_with is not None:
        w, note = ftrl_weights(z, n, trained_with), "w is computed from z and n"
    features = [feature_of(name) for name in names[1:]]
    own = float(w[0]), float(n[0]), float(z[0])
    return LinearWeights(features, w[1:], n[1:], z[1:], *own, (note,))


def _check_width(fields: int, line: int) -> None:
    factors, rest = divmod(fields - _FIELDS, 3)
    if fields < _FIELDS or rest:
        raise BadWeights(f"line {line}: a name and w, n, z are expected, {fields} fields found")
    if factors:
        raise BadWeights(
            f"line {line}: the model has {factors} factors; only one without (-dim 1,1,0) is linear"
        )


def write_alphafm(
    weights: LinearWeights, trained_with: Hyperparameters, learning_rate: float | None = None
) -> bytes:
    """The text model; z is such that alphaFM, told these arguments (-w_l2 is twice l2), computes
    the same weights and goes on learning from them. learning_rate, -w_alpha, is the first of
    trained_with if not given. BadWeights for a feature that the format cannot hold."""
    o = trained_with
    if learning_rate is not None:
        o = replace(o, learning_rate=learning_rate)
    if o.learning_rate_power != -0.5:
        raise BadWeights("learning_rate_power must be -0.5: alphaFM has no other")
    names = [BIAS] + [plain_text_of(f, "alphaFM's format", "") for f in weights.features]
    if BIAS in names[1:]:
        raise BadWeights(f"a feature is called {BIAS!r}, which alphaFM's format cannot hold")
    w = np.concatenate([[weights.bias], weights.w])
    n = _all(weights.bias_n, weights.n, w.size)
    z = ftrl_z(w, n, _all(weights.bias_z, weights.z, w.size), o)
    rows = zip(names, w.tolist(), n.tolist(), z.tolist(), strict=True)
    return "".join(f"{name} {a:.9g} {b:.9g} {c:.17g}\n" for name, a, b, c in rows).encode()


def _all(of_bias: float | None, of_features: F64 | None, size: int) -> F64:
    """The bias's value, then those of the features; 0 where there are none."""
    rest = np.zeros(size - 1) if of_features is None else of_features
    return np.concatenate([[of_bias or 0.0], rest])
