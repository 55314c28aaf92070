"""The common form of a linear model, whatever system it comes from or goes to.

A feature is (name, value) for a category and (name, None) for a number or flag, as in POST /learn.
Other systems have one text for it, and the rule of all formats without name spaces is
scikit-learn's (DictVectorizer): text before the first `=` is the name of a category and the rest
its value; text without `=` is the name of a number. Not every feature can be spelled so (a name
with `=` in it), and one that would be read back as another is refused rather than changed.

z and n are the paper's: z is not multiplied by the learning rate, and n is the whole sum of squared
gradients, an initial value included. They are optional, since most systems keep w alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ftrl_core.constants import F64
from ftrl_core.errors import BadWeights
from ftrl_core.hyperparameters import Hyperparameters
from ftrl_core.limits import Limits

Feature = tuple[str, str | None]

FEATURES_MAX = 1 << 24
LINE_BYTES_MAX = 1 << 14
WEIGHT_MAX = 1e6  # a logit is clamped to +-15, so a weight of this size is a defect already
SUM_MAX = 1e30  # of z and n: their squares stay finite in float64
_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True, eq=False)
class LinearWeights:
    """A linear model by the names of its features; checked when it is made.

    features      k of them, all different
    w             float64[k]
    n             float64[k] or None: sums of squared gradients
    z             float64[k] or None: linear terms; looked at only where w is 0
    bias, bias_n  the same of the bias
    notes         what a person should know about how these were read

    Raises BadWeights, which names the feature.
    """

    features: Sequence[Feature]
    w: F64
    n: F64 | None = None
    z: F64 | None = None
    bias: float = 0.0
    bias_n: float | None = None
    bias_z: float | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.features) > FEATURES_MAX:
            raise BadWeights(f"there are more than {FEATURES_MAX} features")
        _check_features(self.features)
        for what, values, most in (
            ("weight", self.w, WEIGHT_MAX),
            ("n", self.n, SUM_MAX),
            ("z", self.z, SUM_MAX),
        ):
            if values is not None:
                _check_column(what, values, most, self.features)
        for what, value, most in (
            ("weight", self.bias, WEIGHT_MAX),
            ("n", self.bias_n, SUM_MAX),
            ("z", self.bias_z, SUM_MAX),
        ):
            if value is not None and not _is_good(what, value, most):
                raise BadWeights(f"{what} of the bias {_rule(what, most)}")


def _check_features(features: Sequence[Feature]) -> None:
    limits = Limits()
    seen: set[Feature] = set()
    for feature in features:
        name, value = feature
        try:
            too_long = len(name.encode()) > limits.name_bytes
            too_long |= value is not None and len(value.encode()) > limits.value_bytes
        except UnicodeEncodeError:
            raise BadWeights(f"feature {shown(feature)} holds a lone surrogate") from None
        if too_long:
            raise BadWeights(
                f"feature {shown(feature)} is longer than {limits.name_bytes} bytes of name or"
                f" {limits.value_bytes} of value"
            )
        if feature in seen:
            raise BadWeights(f"feature {shown(feature)} comes twice")
        seen.add(feature)


def _check_column(what: str, values: F64, most: float, features: Sequence[Feature]) -> None:
    if values.shape != (len(features),):
        raise BadWeights(
            f"{len(features)} features want as many values of {what}, not an array of shape"
            f" {values.shape}"
        )
    good = np.abs(values) <= most  # NaN is not
    if what == "n":
        good &= values >= 0.0
    if not good.all():
        raise BadWeights(f"{what} of {shown(features[int(np.argmin(good))])} {_rule(what, most)}")


def _is_good(what: str, value: float, most: float) -> bool:
    return abs(value) <= most and (what != "n" or value >= 0.0)


def _rule(what: str, most: float) -> str:
    if what == "n":
        return f"must be from 0 to {most:g}"
    return f"must be finite and at most {most:g} in magnitude"


def shown(feature: Feature) -> str:
    """A feature in a message, shortened."""
    name, value = feature
    text = name if value is None else f"{name}={value}"
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")


def feature_of(text: str) -> Feature:
    """The feature that a text without name spaces means; BadWeights for an empty one."""
    if not text:
        raise BadWeights("a feature has an empty name")
    name, equals, value = text.partition("=")
    return name, value if equals else None


def text_of(feature: Feature) -> str:
    """The text that `feature_of` reads as this feature; BadWeights where there is none."""
    name, value = feature
    text = name if value is None else f"{name}={value}"
    if not text or feature_of(text) != feature:
        raise BadWeights(f"feature {shown(feature)} cannot be spelled: its name is empty or has =")
    return text


def plain_text_of(feature: Feature, format_name: str, forbidden: str) -> str:
    """`text_of` for a format of lines, in which white space and some characters have a meaning."""
    return plain(text_of(feature), feature, format_name, forbidden)


def plain(text: str, feature: Feature, format_name: str, forbidden: str) -> str:
    """The text, without white space and without any of the characters; BadWeights otherwise."""
    if len(text.split()) != 1 or text.strip() != text or any(c in text for c in forbidden):
        also = f" or one of {forbidden}" if forbidden else ""
        raise BadWeights(
            f"feature {shown(feature)} has white space{also}, which {format_name} cannot hold"
        )
    return text


def ftrl_weights(z: F64, n: F64, trained_with: Hyperparameters) -> F64:
    """float64[k]: the weights that (z, n) have under an optimizer's arguments, as in Keras.

    w = 0 if |z| <= l1, else (sign(z) l1 - z) / (n^-power / lr + 2 l2 + beta / lr); McMahan et al.
    2013, Algorithm 1, with lambda2 = 2 l2. A divisor of 0 gives 0.
    """
    l1 = trained_with.l1_regularization_strength
    q = divisors(n, trained_with)
    shrunk = np.sign(z) * l1 - z
    return np.where((np.abs(z) <= l1) | (q <= 0.0), 0.0, shrunk / np.where(q > 0.0, q, 1.0)) + 0.0


def ftrl_z(w: F64, n: F64, z: F64, trained_with: Hyperparameters) -> F64:
    """float64[k]: the linear terms for which `ftrl_weights` gives w; where w is 0, z within l1."""
    l1 = trained_with.l1_regularization_strength
    made = -(w * divisors(n, trained_with)) - np.sign(w) * l1
    return np.where(w == 0.0, np.clip(z, -l1, l1), made) + 0.0


def divisors(n: F64, trained_with: Hyperparameters) -> F64:
    """float64[k]: n^-power / lr + 2 l2 + beta / lr."""
    o = trained_with
    rate = o.rates[0]
    root = np.sqrt(n) if o.learning_rate_power == -0.5 else n**-o.learning_rate_power
    made: F64 = (o.beta + root) / rate + 2.0 * o.l2_regularization_strength
    return made


def numbered_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Lines that are not blank as text, numbered from 1; BadWeights names a line that is not
    UTF-8, too long, or one too many."""
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_BYTES_MAX:
            raise BadWeights(f"line {number} is longer than {LINE_BYTES_MAX} bytes")
        if number > FEATURES_MAX + 64:
            raise BadWeights(f"there are more than {FEATURES_MAX} lines")
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise BadWeights(f"line {number} is not UTF-8") from None
        if text.strip():
            yield number, text


def number_of(text: str, line: int) -> float:
    """The finite number of a text; BadWeights names the line."""
    try:
        value = float(text) if "_" not in text else np.nan
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise BadWeights(f"line {line}: a finite number is expected where something else stands")
    return value


def column(values: Iterable[float]) -> npt.NDArray[np.float64]:
    """The values as float64[k]."""
    return np.fromiter(values, np.float64)
