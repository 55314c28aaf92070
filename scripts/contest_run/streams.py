"""Two generated streams that the real logs lack: a sudden drift, and numbers on raw scales.

Both are functions of their seed and length alone, drawn with NumPy's PCG64 in one fixed order, and
come as examples in the JSON shape of the HTTP interface, like the readers of `scripts.data_logs`.

`drift`: eight categorical fields with Zipf values; the true logit is a sum of one weight a value.
Halfway, half of all weights, chosen by lot, are drawn anew: a learner that has frozen its rates
stays wrong.

`raw_numbers`: seven numeric columns as a log would have them (a ratio of about 1e-3, counts, a
price, bytes up to 1e7, a signed change), log-normal and with their units, and two categorical
ones. The label depends on the logarithms, monotonically for some, by a bump or a wave for others:
a linear model of the numbers as they are can follow neither the scales nor the shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Example = dict[str, Any]
F64 = npt.NDArray[np.float64]

EXAMPLES = 200_000
DRIFT_SEED = 20130811
NUMBERS_SEED = 20160917

_FIELD_SIZES = (8, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
_ZIPF_EXPONENT = 1.1
_WEIGHT_SPREAD = 0.6
_DRIFT_BIAS = -1.5

# Median and spread of the logarithm, a column each.
_MEDIANS = np.array([1e-3, 3e-2, 1.0, 2e1, 5e2, 1e4, 3e5])
_SPREADS = np.array([1.0, 0.8, 1.2, 1.0, 1.5, 1.0, 0.7])
_NUMBER_NAMES = ("ratio", "delay", "change", "count", "price", "age", "bytes")
_SIGNED = _NUMBER_NAMES.index("change")
_COUNTED = _NUMBER_NAMES.index("count")


def drift(examples: int = EXAMPLES, seed: int = DRIFT_SEED) -> Iterator[Example]:
    """Categorical examples whose true weights change by half after examples // 2."""
    rng = np.random.default_rng(seed)
    logits = np.full(examples, _DRIFT_BIAS)
    columns = []
    half = examples // 2
    for size in _FIELD_SIZES:
        values = _zipf_values(rng, size, examples)
        weights = rng.normal(0.0, _WEIGHT_SPREAD, size)
        later = np.where(rng.random(size) < 0.5, rng.normal(0.0, _WEIGHT_SPREAD, size), weights)
        logits[:half] += weights[values[:half]]
        logits[half:] += later[values[half:]]
        columns.append(values)
    labels = _labels(rng, logits)
    for row in range(examples):
        features = {f"f{i}": f"v{column[row]}" for i, column in enumerate(columns)}
        yield {"label": int(labels[row]), "features": features}


def raw_numbers(examples: int = EXAMPLES, seed: int = NUMBERS_SEED) -> Iterator[Example]:
    """Examples of seven numbers on scales 1e-3 to 1e6 and two categories."""
    rng = np.random.default_rng(seed)
    standard = rng.normal(0.0, 1.0, (examples, len(_MEDIANS)))
    numbers = _MEDIANS * np.exp(_SPREADS * standard)
    numbers[:, _SIGNED] *= rng.choice([-1.0, 1.0], examples)
    numbers[:, _COUNTED] = np.floor(numbers[:, _COUNTED])
    place = _zipf_values(rng, 40, examples)
    device = _zipf_values(rng, 2_000, examples)
    logits = -2.0 + _shapes(standard, np.sign(numbers[:, _SIGNED]))
    logits += rng.normal(0.0, 0.7, 40)[place] + rng.normal(0.0, 0.7, 2_000)[device]
    labels = _labels(rng, logits)
    for row in range(examples):
        features: dict[str, str | float] = {
            name: float(f"{number:.6g}")
            for name, number in zip(_NUMBER_NAMES, numbers[row], strict=True)
        }
        features["place"] = f"p{place[row]}"
        features["device"] = f"d{device[row]}"
        yield {"label": int(labels[row]), "features": features}


def _shapes(standard: F64, sign: F64) -> F64:
    """What the numbers add to the logit: functions of their standardised logarithms."""
    ratio, delay, change, count, price, age, size = standard.T
    monotone = 1.2 * ratio - 0.8 * np.tanh(delay) + 0.6 * sign * np.maximum(change + 1.0, 0.0)
    bumps = 2.5 * np.exp(-2.0 * (price - 0.5) ** 2) - 0.7 * count**2 / (1.0 + 0.3 * count**2)
    waves = 0.9 * np.sin(2.0 * age) + 1.5 * (np.abs(size) > 1.0)
    return np.asarray(monotone + bumps + waves, np.float64)


def _zipf_values(rng: np.random.Generator, size: int, count: int) -> npt.NDArray[np.int64]:
    """int64[count] in [0, size), value v with probability in proportion to 1 / (v + 1)^1.1."""
    mass = 1.0 / np.arange(1, size + 1) ** _ZIPF_EXPONENT
    bounds = np.cumsum(mass / mass.sum())
    found = np.searchsorted(bounds, rng.random(count), side="right")
    return np.minimum(found, size - 1).astype(np.int64)


def _labels(rng: np.random.Generator, logits: F64) -> npt.NDArray[np.int64]:
    """Labels drawn from the true logits."""
    return (rng.random(logits.size) < 1.0 / (1.0 + np.exp(-logits))).astype(np.int64)
