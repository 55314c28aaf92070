"""Random lines of Vowpal Wabbit text, usual and unusual, and the slow reading of whole texts.

Seeded, so that a failure is repeated by its seed. The slow reading knows no kernel but the one that
puts a row in canonical order.
"""

from __future__ import annotations

import random

import numpy as np

from ftrl_core.batch import ExampleBatch, canonicalise
from ftrl_core.features import Place, Reader, Triples
from ftrl_core.vw_text import BLANKS, vw_example
from tests.oracle import json_text

_LETTERS = "abcXYZ019=é日😀'\"\\_-.^,;{}\x7f\x0b\x01"


def word(choose: random.Random) -> str:
    """A name without anything that ends one, mostly short."""
    length = choose.choice([1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31])
    letters = _LETTERS if choose.random() < 0.3 else _LETTERS[:9]
    return "".join(choose.choice(letters) for _ in range(length))


def number(choose: random.Random) -> str:
    """A number, plainly or oddly spelled, at times none at all."""
    kind = choose.randrange(12)
    if kind < 5:
        return f"{choose.uniform(-9, 9):.{choose.randrange(6)}f}"
    if kind < 9:
        return json_text.number(choose)
    if kind == 9:
        return choose.choice(
            ["+1", ".5", "5.", "-.5", "1e3", "1E-2", "00.10", "1e-40", "-0", "1.e1"]
        )
    if kind == 10:
        return choose.choice(["1e7", "10000001", "1e999", "-1e8", "1e-30", "0.000"])
    return choose.choice(["nan", "inf", "", "1e", "1.2.3", "--1", "1_0", "0x1", "1e+", ".", "a"])


def blank(choose: random.Random) -> str:
    """What separates two words."""
    return choose.choice([" "] * 8 + ["  ", "\t", " \t ", " \r"])


def feature(choose: random.Random) -> str:
    """A feature, with a value now and then."""
    return word(choose) + (f":{number(choose)}" if choose.random() < 0.25 else "")


def namespace(choose: random.Random) -> str:
    """A bar and what follows it."""
    name = "" if choose.random() < 0.3 else word(choose)
    if name and choose.random() < 0.15:
        name += f":{number(choose)}"
    words = [name, *(feature(choose) for _ in range(choose.randrange(5)))]
    return "|" + blank(choose).join(words) + (blank(choose) if choose.random() < 0.7 else "")


def header(choose: random.Random) -> str:
    """A label, and perhaps an importance and a tag; one in five is unusual."""
    label = choose.choice(["1", "-1", "0"])
    if choose.random() < 0.2:
        label = choose.choice(["+1", "1.0", "-1.00", "2", "", "nan", "-0", "1e0", "01", "x", "0.5"])
    words = [label]
    if choose.random() < 0.4:
        words.append(number(choose).removeprefix("-"))
    if choose.random() < 0.05:
        words.append(number(choose))
    text = blank(choose).join(words) + blank(choose)
    if choose.random() < 0.4:
        tag = choose.choice(["'", ""]) + choose.choice([word(choose), "imp-81", "", "x" * 129])
        text += tag + (blank(choose) if tag.startswith("'") and choose.random() < 0.5 else "")
    return text


def line(choose: random.Random) -> str:
    """A line without its end."""
    if choose.random() < 0.05:
        return choose.choice(
            ["", " ", "\t\r", "1", "1 2 3", ":", "||", "1 |", "1|", "1 ||", "1 |:2"]
        )
    return header(choose) + "".join(namespace(choose) for _ in range(choose.randrange(1, 5)))


def slow_vw(text: bytes, reader: Reader, id_from_tag: bool) -> ExampleBatch:
    """The batch of a text, one line at a time; raises what is wrong with the first bad one."""
    offsets, features, said = [0], Triples(), []
    for number_of_line, content in enumerate(text.split(b"\n")):
        if not content.strip(BLANKS):
            continue
        example, triples = vw_example(content, Place(number_of_line, ""), reader, id_from_tag)
        features.extend(triples)
        offsets.append(len(features))
        said.append(example)
    return ExampleBatch(
        *canonicalise(
            np.array(offsets, np.int64),
            np.array(features.names, np.uint32),
            np.array(features.hashes, np.uint32),
            np.array(features.values, np.float32),
        ),
        np.array([example.label for example in said], np.uint8),
        np.array([example.weight for example in said], np.float32),
        np.array([example.event_id for example in said], np.uint64),
    )
