"""Random spellings of features as JSON text: every way that a legal client might write them.

Seeded, so that a failure is repeated by its seed. Text is built by hand rather than by a
serialiser, which knows one spelling of each thing.
"""

from __future__ import annotations

import random

_ALPHABET = 'abcXYZ019 =/~:,{}[]é日😀\x7f\xa0"\\\n\t\b\f\r\x00\x1f'
_SHORT_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\b": "\\b",
    "\f": "\\f",
}


def space(choose: random.Random) -> str:
    """Insignificant white space, mostly none."""
    return choose.choice(["", "", "", "", " ", "  ", "\n", "\t", "\r\n "])


def string(choose: random.Random, text: str) -> str:
    """One of the spellings of a string."""
    return '"' + "".join(_character(choose, character) for character in text) + '"'


def _character(choose: random.Random, character: str) -> str:
    must = character in '"\\' or character < " "
    if character in _SHORT_ESCAPES and (must or choose.random() < 0.5) and choose.random() < 0.7:
        return _SHORT_ESCAPES[character]
    if must or choose.random() < 0.1:
        data = character.encode("utf-16-be")
        units = [data[i : i + 2].hex() for i in range(0, len(data), 2)]
        return "".join("\\u" + (u if choose.random() < 0.5 else u.upper()) for u in units)
    return character


def word(choose: random.Random) -> str:
    """A short text of awkward characters, or at times a long one."""
    length = choose.choice([0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 80])
    return "".join(choose.choice(_ALPHABET) for _ in range(length))


def number(choose: random.Random, most: float = 1e7) -> str:
    """A number of at most `most` in magnitude, oddly spelled."""
    digits = "".join(
        choose.choice("0123456789") for _ in range(choose.choice([1, 2, 5, 9, 17, 30]))
    )
    kind = choose.randrange(6)
    sign = choose.choice(["", "-"])
    if kind == 0:
        return sign + str(choose.randrange(int(most)))
    if kind == 1:
        return sign + repr(choose.random() * most)
    if kind == 2:
        return sign + "0." + digits
    if kind == 3:
        exponent = choose.choice(["e-", "E-"]) + choose.choice(["", "0"])
        return f"{sign}{choose.randrange(1, 10)}.{digits}{exponent}{choose.randrange(60)}"
    if kind == 4:
        return sign + choose.choice(["0", "0.0", "0e5", "0.000E+3", "0e-999999999"])
    return f"{sign}0.{'0' * choose.randrange(8)}{digits}{choose.choice('eE')}+{choose.randrange(7)}"


def item(choose: random.Random) -> str:
    """A value that is no list."""
    kind = choose.randrange(8)
    if kind < 3:
        return string(choose, word(choose))
    if kind < 6:
        return number(choose)
    return choose.choice(["true", "false", "null"])


def value(choose: random.Random) -> str:
    """Any value that a feature may have."""
    if choose.random() < 0.8:
        return item(choose)
    items = [space(choose) + item(choose) + space(choose) for _ in range(choose.randrange(5))]
    return "[" + (",".join(items) or space(choose)) + "]"


def features(choose: random.Random, names: int = 8) -> str:
    """The text of a features object; a name may come twice."""
    known = [word(choose) for _ in range(names)]
    members = [
        space(choose)
        + string(choose, choose.choice(known))
        + space(choose)
        + ":"
        + space(choose)
        + value(choose)
        + space(choose)
        for _ in range(choose.randrange(12))
    ]
    return "{" + (",".join(members) or space(choose)) + "}"
