"""Checks of arguments, shared by configurations, the optimizer and its schedules.

Every refusal is a BadConfig (a ValueError) whose message names the argument and the value. A value
that is not a number is named by its type only, so that a message stays short.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

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


def between(name: str, value: object, low: float, high: float) -> float:
    """The value as a finite float from low to high."""
    number = finite(name, value)
    if not low <= number <= high:
        raise refuse(name, value, f"must be at least {low:g} and at most {high:g}")
    return number


def integer(name: str, value: object, low: int, high: int) -> int:
    """The value, which must be an int from low to high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise refuse(name, value, f"must be an integer from {low} to {high}")
    return value


def choice(name: str, value: object, choices: Iterable[str]) -> str:
    """The value, which must be one of the names."""
    names = tuple(choices)
    if not isinstance(value, str) or value not in names:
        raise refuse(name, value, f"must be one of {', '.join(names)}")
    return value


def names(name: str, value: object, most: int) -> tuple[str, ...]:
    """The value, which must be a list of at most so many different names of features."""
    if not isinstance(value, list | tuple) or len(value) > most:
        raise refuse(name, value, f"must be a list of at most {most} names")
    for one in value:
        if not isinstance(one, str) or not 0 < len(one.encode("utf-8", "ignore")) <= NAME_CHARS_MAX:
            raise BadConfig(f"{name} must have names of 1 to {NAME_CHARS_MAX} bytes")
        if one.encode("utf-8", "ignore").decode() != one or value.count(one) > 1:
            raise BadConfig(f"{name} must have names of text, each once")
    return tuple(value)


def known(what: str, given: object, kind: type[Any]) -> dict[str, Any]:
    """A copy of the object `given`, whose every key must be a field of the dataclass `kind`."""
    arguments = {f.name for f in fields(kind)}
    if not isinstance(given, Mapping):
        raise refuse(what, given, f"must be an object of {', '.join(sorted(arguments))}")
    for name in given:
        if name not in arguments:
            raise BadConfig(
                f"{what} has no argument of that name; it has {', '.join(sorted(arguments))}"
            )
    return dict(given)
