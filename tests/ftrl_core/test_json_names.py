"""Names recognised by their place: whatever stood there before, a row is read as if alone."""

from __future__ import annotations

import random

import pytest

from ftrl_core.json_names import PLACES
from tests.ftrl_core.test_json_scan import rows_of, rows_of_slow, scan

# Names that begin alike, end at each byte of a word, hold what ends others, or are spelled twice.
NAMES = [
    "", "a", "ab", "a\\u0062", "abc", 'a\\"', "abcd", "abcde", "abcdef", "abcdefg", "abcdefh",
    "abcdefgh", "abcdefghi", "abcdefghijklmnopqrstuvwx", "abcdefghijklmnopqrstuvwy", "é", "ab:",
    "a,",
]  # fmt: skip
BETWEEN = [":", ": ", " :", "\t: \n", ":  "]
VALUES = ['"x"', '""', '"a\\":1"', "1", "-2.5e3", "true", "null", "[]", '["x",2]', "[1]"]


@pytest.mark.parametrize("seed", range(40))
def test_rows_of_like_names(seed: int) -> None:
    draw = random.Random(seed)
    names = draw.sample(NAMES, draw.randint(1, 4))
    usual = [(draw.choice(names), draw.choice(BETWEEN)) for _ in range(draw.randint(1, 12))]
    texts = []
    for _ in range(30):
        fields = list(usual)
        if draw.random() < 0.3:
            fields[draw.randrange(len(fields))] = (draw.choice(NAMES), draw.choice(BETWEEN))
        if draw.random() < 0.2:
            del fields[draw.randrange(len(fields)) :]
        pairs = [f'"{name}"{between}{draw.choice(VALUES)}' for name, between in fields]
        texts.append("{" + ",".join(pairs) + "}")
    scanned = scan(texts)
    assert scanned.slow == []
    assert rows_of(scanned) == rows_of_slow(texts)


def test_more_names_than_are_remembered() -> None:
    fields = [f'"f{i}":"{i % 7}"' for i in range(PLACES + 50)]
    texts = ["{" + ",".join(fields) + "}"] * 3
    assert rows_of(scan(texts)) == rows_of_slow(texts)


def test_a_row_given_up_leaves_nothing_wrong() -> None:
    texts = ['{"a":"x","b":"y"}', '{"a":"x","bc":{}}', '{"a":"x","b":"y"}']
    scanned = scan(texts)
    assert scanned.slow == [1]
    assert rows_of(scanned) == [*rows_of_slow(texts[:1]), [], *rows_of_slow(texts[2:])]
