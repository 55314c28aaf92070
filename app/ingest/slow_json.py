"""JSON text to Python objects for the slow path: what msgspec accepted, but nothing lost.

The standard library's parser can hand over an object as pairs, so that a feature's name that comes
twice in one object contributes twice, as it does in the kernel; msgspec keeps only the last. Its
laxities are closed here: NaN and Infinity are not JSON, and a number of thousands of digits becomes
a float (surely out of range for whatever reads it) rather than an error of another kind.
"""

from __future__ import annotations

import json

from ftrl_core.errors import BadBody
from ftrl_core.features import ObjectPairs

_INTEGER_CHARS = 40  # more than 64 bits need; longer ones are too large for any use as integers


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _INTEGER_CHARS else float(text)


def _not_json(_: str) -> float:
    raise BadBody("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=ObjectPairs, parse_int=_integer, parse_constant=_not_json
)


def parse_json(text: bytes) -> object:
    """The value of a JSON text; objects are ObjectPairs. Raises BadBody."""
    try:
        value: object = _DECODER.decode(text.decode())
    except UnicodeDecodeError:
        raise BadBody("the body is not valid UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadBody(f"the JSON is malformed (character {error.pos})") from None
    except RecursionError:
        raise BadBody("the JSON is nested too deeply") from None
    return value
