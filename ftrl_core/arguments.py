"""Checks of arguments, shared by the optimizer and its schedules.

Every refusal is a BadConfig (a ValueError) whose message names the argument and the value. A value
that is not a number is named by its type only, so that a message stays short.
"""

from __future__ import annotations

import math
from numbers import Integral, Real

from ftrl_core.errors import BadConfig

NAME_CHARS_MAX = 256


def show(value: object) -> str:
    """A value in a message: short, whatever it is."""
    if isinstance(value, Integral) and abs(int(value)) >> 64:
        return "an integer beyond 64 bits"
    return repr(value) if isinstance(value, Real) else f"of type {type(value).__name__}"


def refuse(name: str, value: object, rule: str) -> BadConfig:
    """The error to raise for an argument that breaks a rule ("must be above 0")."""
    return BadConfig(f"{name} {rule}; received {name}={show(value)}")


def finite(name: str, value: object) -> float:
    """The value as a finite float, -0.0 as 0.0; a bool is no number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise refuse(name, value, "must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise refuse(name, value, "must be finite")
    return number + 0.0


def positive(name: str, value: object, most: float = math.inf) -> float:
    """The value as a finite float above 0 and at most `most`."""
    number = finite(name, value)
    if not 0.0 < number <= most:
        bound = "" if most == math.inf else f" and at most {most:g}"
        raise refuse(name, value, f"must be above 0{bound}")
    return number


def not_negative(name: str, value: object, most: float = math.inf) -> float:
    """The value as a finite float from 0 to `most`."""
    number = finite(name, value)
    if not 0.0 <= number <= most:
        bound = "" if most == math.inf else f" and at most {most:g}"
        raise refuse(name, value, f"must be at least 0{bound}")
    return number


def flag(name: str, value: object) -> bool:
    """The value, which must be True or False."""
    if not isinstance(value, bool):
        raise refuse(name, value, "must be true or false")
    return value


def label(name: str, value: object) -> str:
    """The value, which must be a string of at most NAME_CHARS_MAX characters."""
    if not isinstance(value, str):
        raise refuse(name, value, "must be a string")
    if len(value) > NAME_CHARS_MAX:
        raise BadConfig(f"{name} must have at most {NAME_CHARS_MAX} characters, not {len(value)}")
    return value
