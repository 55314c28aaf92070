"""Numbers in JSON text to float32, inside a kernel, exactly as float32(float(text)) would.

The digits are gathered into a 64-bit integer m (19 significant ones at most) with a decimal
exponent e, so that the number x is m * 10^e, or a little more when digits were dropped.

Exact     m <= 2^53 and |e| <= 22: both are exact float64, so one multiplication or division rounds
          correctly (Clinger 1990).
Enclosed  otherwise x is computed with at most five roundings, so that it surely lies between
          v (1 - 2^-50) and v (1 + 2^-50), both float64. Rounding to float64 and then to float32
          are monotone: where both ends give the same float32, so does x.
Unsure    the ends differ (about one number in 2^26), or a limit lies between them, or the number
          is out of range: the caller asks Python, which decides and words the refusal.

The full algorithm of Eisel and Lemire needs 128-bit products and a table of 10 KiB, only to get
the float64 that is thrown away here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.jit import kernel

Bytes = npt.NDArray[np.uint8]

_POWERS = np.array([10.0**k for k in range(23)])  # each of them is exact
_SIGNIFICANT_DIGITS = 19  # the most that surely fit 64 bits
_EXACT_MANTISSA = np.uint64(1 << 53)
_MARGIN = 2.0**-50
_TINY = 1e-30  # features.TINY: smaller magnitudes are zero
_TINY_MAGNITUDE = -31  # below 10^-31 is tiny however it rounds
_EXPONENT_MAX = 1 << 20  # an exponent is not counted further: the number is out of range or zero


@kernel
def _scan_exponent(buf: Bytes, pos: int, end: int) -> tuple[int, int]:
    """The exponent whose first character is at pos: the position after it, and its value."""
    negative = buf[pos] == 45
    if negative or buf[pos] == 43:
        pos += 1
    power = 0
    while pos < end and 48 <= buf[pos] <= 57:
        if power < _EXPONENT_MAX:
            power = power * 10 + int(np.int64(buf[pos]) - 48)
        pos += 1
    return pos, -power if negative else power


@kernel
def _enclosed(mantissa: np.uint64, exponent: int, bound: float) -> tuple[bool, float]:
    """The float64 whose float32 is that of mantissa * 10^exponent, if that can be told."""
    value = np.float64(mantissa)
    while exponent < -22:
        value /= 1e22
        exponent += 22
    value = value / _POWERS[-exponent] if exponent < 0 else value * _POWERS[exponent]
    low = value * (1.0 - _MARGIN)
    high = value * (1.0 + _MARGIN)
    if high > bound or low < _TINY <= high or np.float32(low) != np.float32(high):
        return False, 0.0
    return True, value


@kernel
def _value_of(
    mantissa: np.uint64, digits: int, exponent: int, whole: bool, bound: float
) -> tuple[bool, float]:
    """Whether mantissa * 10^exponent is known well enough, and its magnitude as float64."""
    if digits == 0 or digits + exponent <= _TINY_MAGNITUDE:
        return True, 0.0
    if exponent > 22:
        return False, 0.0
    if whole and mantissa <= _EXACT_MANTISSA and exponent >= -22:
        value = np.float64(mantissa)
        value = value / _POWERS[-exponent] if exponent < 0 else value * _POWERS[exponent]
        return value <= bound, value
    return _enclosed(mantissa, exponent, bound)


@kernel
def scan_number(buf: Bytes, pos: int, end: int, bound: float) -> tuple[int, np.float32]:
    """The JSON number that begins at pos: (position after it, value); (-1, 0) where unsure.

    Magnitudes above `bound` are unsure, those below 1e-30 are zero. The text is well-formed.
    """
    negative = buf[pos] == 45
    if negative:
        pos += 1
    mantissa = np.uint64(0)
    digits = 0
    exponent = 0
    fraction = 0  # 1 after the point
    whole = True  # no digit but zero was dropped
    while pos < end:
        c = buf[pos]
        if 48 <= c <= 57:
            if digits < _SIGNIFICANT_DIGITS:
                mantissa = mantissa * np.uint64(10) + np.uint64(c - 48)
                digits += mantissa != np.uint64(0)
                exponent -= fraction
            else:
                whole = whole and c == 48
                exponent += 1 - fraction
        elif c == 46:
            fraction = 1
        else:
            break
        pos += 1
    if pos + 1 < end and (buf[pos] == 101 or buf[pos] == 69):
        pos, power = _scan_exponent(buf, pos + 1, end)
        exponent += power
    known, value = _value_of(mantissa, digits, exponent, whole, bound)
    if not known:
        return -1, np.float32(0)
    if value < _TINY:
        value = 0.0
    return pos, np.float32(-value if negative and value != 0.0 else value)
