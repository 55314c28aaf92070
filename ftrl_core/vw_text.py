"""Vowpal Wabbit's text format, one line at a time: the slow and obvious path.

    1 0.5 'imp-81|ad a9 |user:2 u17:1.5 x | site=s1 price:3.5 premium

    label       1 is a click, -1 and 0 are none; looked at only where labels are wanted
    importance  the example's weight, 1 where there is none
    tag         begins with ' or touches the first |; the event id where the caller says so
    namespace   touches its |; the name of its features: each is a category, ad=a9
    namespace:w multiplies the values of its features
    feature:x   contributes x, without :x it contributes 1
    |           followed by a blank: the default namespace, whose features are spelled as in every
                format without namespaces: site=s1 a category, price a number

Blanks, tabs and carriage returns separate; every other byte but : and | may be in a name. This is
VW's own reading (parse_example.cc) but for what would be learned as nonsense without a word: a
third number before the | (an initial prediction), a label that is none of the three, a name that is
empty, a value that is no finite decimal number. These are refused, as is a line without a label
to learn: in `1|ad a9` the 1 touches the | and is the tag.

The rule book of the format, as `features` is of JSON: the fast path (`vw_scan`) does the same from
bytes and sends here what it is not sure of, so every refusal is worded in this file. Pointers are
those of the JSON shape (/label, /weight, /id, /features). A weight of a namespace and a value are
rounded to float32 each, their product once more.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ftrl_core.errors import BadBody
from ftrl_core.features import TINY, Example, Place, Reader, Triples
from ftrl_core.hashing import murmur3_32

BLANKS = b" \t\r"
_BLANK = re.compile(rb"[ \t\r]+")
_NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LABELS = {-1.0: 0, 0.0: 0, 1.0: 1}


def vw_example(
    line: bytes, place: Place, reader: Reader, id_from_tag: bool
) -> tuple[Example, Triples]:
    """The example of a line without its end. Raises BadBody, BadExample or TooLarge."""
    try:
        line.decode()
    except UnicodeDecodeError:
        raise BadBody("not UTF-8") from None
    example = vw_header(line, place, reader, id_from_tag)
    rest = line.partition(b"|")[2]
    return example, _features(rest, place.within("features"), reader)


def vw_header(line: bytes, place: Place, reader: Reader, id_from_tag: bool) -> Example:
    """What a line says before its first |, and that it has one. Raises BadExample."""
    header, bar, _ = line.partition(b"|")
    if not bar:
        raise place.wrong("a line has a | before its features")
    fields: dict[str, object] = {"features": {}}
    words, tag = _words_and_tag(header)
    if id_from_tag and tag:
        fields["id"] = tag.decode()
    if reader.require_labels:
        fields["label"] = _label(words, place)
        if len(words) > 1:
            fields["weight"] = _number(words[1], place.within("weight"))
    return reader.example(fields, place)[0]


def vw_names(text: bytes) -> set[str]:
    """Names of all features of a text that was accepted."""
    names: set[str] = set()
    for line in text.split(b"\n"):
        for part in line.split(b"|")[1:]:
            words = [word.partition(b":")[0] for word in _split(part)]
            named = part[:1] not in BLANKS
            names |= (
                {w.decode() for w in words[:1]}
                if named
                else {word.partition(b"=")[0].decode() for word in words}
            )
    return names


def _split(text: bytes) -> list[bytes]:
    return [word for word in _BLANK.split(text) if word]


def _words_and_tag(header: bytes) -> tuple[list[bytes], bytes]:
    words = _split(header)
    if words and (header[-1:] not in BLANKS or words[-1].startswith(b"'")):
        return words[:-1], words[-1].removeprefix(b"'")
    return words, b""


def _label(words: list[bytes], place: Place) -> int:
    if not words:
        raise place.within("label").wrong("the label is missing (text that touches the | is a tag)")
    if len(words) > 2:
        raise place.wrong("before the | are a label, an importance and a tag, and nothing else")
    label = _LABELS.get(_number(words[0], place.within("label")))
    if label is None:
        raise place.within("label").wrong("label must be 1, -1 or 0")
    return label


def _number(text: bytes, place: Place) -> float:
    if not _NUMBER.fullmatch(text):
        raise place.wrong("what should be a number is not one")
    return float(text)


def _features(rest: bytes, place: Place, reader: Reader) -> Triples:
    """All namespaces, from after the first | on."""
    triples = Triples()
    for part in rest.split(b"|"):
        words = _split(part)
        name, weight = b"", None
        if part[:1] and part[:1] not in BLANKS:
            name, weight = _name_and_value(words.pop(0), place, reader)
        hash_word = _named(name, place, reader) if name else _unnamed(place, reader)
        for word in words:
            text, value = _name_and_value(word, place, reader)
            number = 1.0 if value is None else value
            if weight is not None:
                number = _in_range(
                    float(np.float32(weight)) * float(np.float32(number)), place, reader
                )
            triples.add(*hash_word(text), number)
            if len(triples) > reader.limits.features:
                raise place.too_large(f"an example has at most {reader.limits.features} features")
    return triples


def _name_and_value(word: bytes, place: Place, reader: Reader) -> tuple[bytes, float | None]:
    name, colon, text = word.partition(b":")
    if not name:
        raise place.wrong("the name of a namespace or feature is empty")
    return name, _in_range(_number(text, place), place, reader) if colon else None


def _in_range(number: float, place: Place, reader: Reader) -> float:
    if not abs(number) <= reader.limits.abs_value:
        raise place.wrong(
            f"a number must be finite and at most {reader.limits.abs_value:g} in magnitude"
        )
    return 0.0 if abs(number) < TINY else number


HashWord = Callable[[bytes], tuple[int, int]]  # a feature's text to (name hash, feature hash)


def _named(name: bytes, place: Place, reader: Reader) -> HashWord:
    seed = murmur3_32(_bounded(name, reader.limits.name_bytes, place), reader.hash_seed)
    return lambda text: (
        seed,
        murmur3_32(_bounded(text, reader.limits.value_bytes, place), seed),
    )


def _unnamed(place: Place, reader: Reader) -> HashWord:
    def hash_word(text: bytes) -> tuple[int, int]:
        name, equals, value = text.partition(b"=")
        return _named(name, place, reader)(value) if equals else _alone(name)

    def _alone(name: bytes) -> tuple[int, int]:
        hashed = murmur3_32(_bounded(name, reader.limits.name_bytes, place), reader.hash_seed)
        return hashed, hashed

    return hash_word


def _bounded(text: bytes, limit: int, place: Place) -> bytes:
    if len(text) > limit:
        raise place.wrong(f"a name or value is longer than {limit} bytes")
    return text
