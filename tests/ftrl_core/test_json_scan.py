"""The fast path over raw JSON text equals the standard library's parser and the slow path."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import mmh3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftrl_core.batch import canonicalise
from ftrl_core.features import ObjectPairs, Place, Reader, Triples
from ftrl_core.json_scan import (
    ScannedRows,
    rows_of_triples,
    scan_features,
    with_shared,
    with_slow_rows,
)
from ftrl_core.json_string import SPARE_BYTES
from ftrl_core.limits import Limits
from tests.oracle import json_text

SEED = 12345
LIMITS = Limits()
ONE = 0x3F800000  # the bits of 1.0
TEXT = st.text(max_size=LIMITS.name_bytes // 4)  # within the limit whatever the characters
Rows = list[list[tuple[int, int, int]]]


def scan(texts: Sequence[str], limits: Limits = LIMITS, shared: int = 0) -> ScannedRows:
    data = [text.encode() for text in texts]
    buf = np.frombuffer(bytearray().join([*data, b"\xff" * SPARE_BYTES]), np.uint8)
    starts = np.array([0, *accumulate(map(len, data))], np.int64)
    scanned = scan_features(buf, starts, SEED, limits, shared)
    assert scanned is not None
    return scanned


def rows_of(scanned: ScannedRows) -> Rows:
    """The rows as they came, not canonical; values as their bits."""
    triples = list(
        zip(
            scanned.name_hashes.tolist(),
            scanned.feature_hashes.tolist(),
            scanned.values.view(np.uint32).tolist(),
            strict=True,
        )
    )
    offsets = scanned.row_offsets.tolist()
    return [triples[a:b] for a, b in pairwise(offsets)]


def slow(text: str) -> Triples:
    value = json.loads(text, object_pairs_hook=ObjectPairs)
    return Reader(SEED, True, LIMITS).features(value, Place(None, ""))


def rows_of_slow(texts: Sequence[str]) -> Rows:
    return [row for text in texts for row in rows_of(rows_of_triples(slow(text)))]


def value_of(number: str) -> float | None:
    """The float32 of a number's text by the fast path; None where it is unsure."""
    scanned = scan([f'{{"a":{number}}}'])
    return None if scanned.slow else float(scanned.values[0])


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        " { } ",
        '{"a":"b"}',
        '{"a" : "b" , "c":"d"}',
        '{"":""}',
        '{"a":"1234567"}',
        '{"a":"12345678"}',
        '{"a":"123456789"}',
        '{"é":"日本😀"}',
        '{"a\\u00e9\\n":"\\ud83d\\ude00\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uFFFF"}',
        '{"a":true,"b":false,"c":null}',
        '{"a":[]}',
        '{"a":[ ]}',
        '{"a":["x",1,true,false,null]}',
        '{"a":[ "x" , "x" ]}',
        '{"a":"x","a":"y","a":"x"}',
        '{"a":1,"a":2}',
        '{"a":-0,"b":-0.0,"c":-1e-40,"d":0e99}',
        '{"a":"}","b":"]","c":",","d":":"}',
        '\r\n\t {"a"\n:\t[\r1\n,\t2 ]\n}',
    ],
)
def test_a_row_is_read_as_by_the_slow_path(text: str) -> None:
    scanned = scan([text])
    assert scanned.slow == []
    assert rows_of(scanned) == rows_of_slow([text])


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '"x"',
        "7",
        '{"a":{}}',
        '{"a":[[]]}',
        '{"a":["x",{"b":1}]}',
        '{"a":1e999}',
        '{"a":10000000.1}',
        '{"a":-2e7}',
        '{"a":' + "9" * 5000 + "}",
        '{"a":1e-30}',
        '{"a":"\\ud800"}',
        '{"a":"\\udc00"}',
        '{"a":"\\ud800\\u0041"}',
        '{"' + "n" * 257 + '":1}',
        '{"a":"' + "v" * 1025 + '"}',
        '{"a":"' + "\\u00e9" * 513 + '"}',
        '{"' + "\\u00e9" * 129 + '":1}',
        '{"a":[' + ",".join("1" * 4097) + "]}",
        "{" + ",".join(['"a":1'] * 4097) + "}",
    ],
)
def test_what_is_not_sure_is_left_to_the_slow_path(text: str) -> None:
    good = '{"a":"b"}'
    scanned = scan([good, text, good])
    assert scanned.slow == [1]
    assert rows_of(scanned) == [*rows_of_slow([good]), [], *rows_of_slow([good])]


@pytest.mark.parametrize(
    "text",
    [
        '{"' + "n" * 256 + '":"' + "v" * 1024 + '"}',
        '{"a":"' + "\\u00e9" * 512 + '"}',
        '{"' + "\\ud83d\\ude00" * 64 + '":10000000}',
        '{"a":[' + ",".join("1" * 4096) + "]}",
        '{"a":[' + ",".join(["1"] * 4096 + ["null"] * 5000) + "]}",
        "{" + ",".join(['"a":1'] * 4096) + "}",
    ],
)
def test_exactly_at_a_limit_is_fast(text: str) -> None:
    assert scan([text]).slow == []


def test_a_truncated_row_never_reads_beyond_its_end() -> None:
    text = '{"ab":"c\\u00e9d","e":[1.5e3,true],"f":null}'
    for end in range(len(text)):
        assert scan([text[:end], text]).slow == [0]


@given(st.lists(st.dictionaries(TEXT, TEXT | st.booleans() | st.none()), max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_text_hashes_as_mmh3_does(rows: list[dict[str, str | bool | None]]) -> None:
    for ascii_only in (True, False):
        texts = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
        expected: Rows = []
        for row in rows:
            expected.append([])
            for name, value in row.items():
                seed = mmh3.hash(name.encode(), SEED, signed=False)
                if isinstance(value, str):
                    hashed = mmh3.hash(value.encode(), seed, signed=False)
                    expected[-1].append((seed, hashed, ONE))
                elif value:
                    expected[-1].append((seed, seed, ONE))
        assert rows_of(scan(texts)) == expected


def expected_value(number: str) -> float:
    exact = float(number)
    return 0.0 if abs(exact) < 1e-30 else float(np.float32(exact))


@given(st.floats(-1e7, 1e7))
@settings(max_examples=300, deadline=None)
def test_a_float_as_python_writes_it(x: float) -> None:
    for text in (repr(x), f"{x:.9g}", f"{x:.25e}", f"{x:f}"):
        if abs(float(text)) <= 1e7:
            assert value_of(text) in (expected_value(text), None)


def test_numbers_are_those_of_the_standard_library(seed: int) -> None:
    choose = random.Random(seed)
    numbers = [json_text.number(choose) for _ in range(20_000)]
    scanned = scan([f'{{"a":{number}}}' for number in numbers])
    unsure = set(scanned.slow)
    sure = [number for row, number in enumerate(numbers) if row not in unsure]
    expected = np.array([expected_value(number) for number in sure], np.float32)
    assert np.array_equal(scanned.values.view(np.uint32), expected.view(np.uint32))
    for row in unsure:  # only next to a limit
        magnitude = abs(float(numbers[row]))
        assert magnitude > 9_999_999 or abs(magnitude / 1e-30 - 1) < 1e-12


def test_numbers_next_to_a_float32_boundary() -> None:
    """Half-way points of float32, written out whole: a wrong rounding shows here first."""
    choose = random.Random(1)
    for _ in range(3000):
        low = np.float32(choose.uniform(1e-6, 1e6))
        middle = (float(low) + float(np.nextafter(low, np.float32(np.inf)))) / 2
        for text in (
            repr(middle),
            f"{middle:.60f}",
            f"{middle:.60f}1",
            f"{middle * 0.99999999:.30f}",
        ):
            got = value_of(text)
            assert got is None or got == expected_value(text)


@pytest.mark.parametrize(
    ("number", "sure"),
    [
        ("10000000", True),
        ("1e7", True),
        ("9999999.9999999999", False),
        ("10000000.0000000001", False),
        ("0.1e-29", False),
        ("1e-31", True),
        ("9.9999999999999999999e-31", False),
        ("1e-999999999999999999999", True),
        ("0." + "0" * 400 + "1", True),
        ("0." + "1" * 400, True),
        ("1" + "0" * 30 + "e-30", True),
        ("0e999999999999999999999", True),
        ("1e23", False),
        ("1e99999999999999999999", False),
    ],
)
def test_which_numbers_are_sure(number: str, sure: bool) -> None:
    got = value_of(number)
    if got is not None:
        assert got == expected_value(number)
    assert (got is not None) is sure


def test_random_spellings_equal_the_slow_path(seed: int) -> None:
    choose = random.Random(seed)
    texts = [json_text.features(choose) for _ in range(3000)]
    scanned = scan(texts)
    assert len(scanned.slow) < 30
    whole = with_slow_rows(scanned, [slow(texts[row]) for row in scanned.slow])
    assert rows_of(whole) == rows_of_slow(texts)


def test_the_order_of_members_changes_no_bit_of_the_canonical_form(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(100):
        name = json_text.string(choose, json_text.word(choose))
        members = [f"{name}:{json_text.value(choose)}" for _ in range(5)]
        texts = ["{" + ",".join(choose.sample(members, len(members))) + "}" for _ in range(6)]
        scanned = scan(texts)
        if not scanned.slow:
            offsets, names, hashes, values = canonicalise(
                scanned.row_offsets, scanned.name_hashes, scanned.feature_hashes, scanned.values
            )
            rows = rows_of(ScannedRows(offsets, names, hashes, values, []))
            assert all(row == rows[0] for row in rows)


def test_slow_rows_are_put_in_their_places() -> None:
    good, bad = '{"a":"b","c":1}', '{"a":1e-30}'
    for texts in ([bad], [bad, bad], [good, bad], [bad, good], [good, bad, bad, good, bad, "{}"]):
        scanned = scan(texts)
        whole = with_slow_rows(scanned, [slow(texts[row]) for row in scanned.slow])
        assert whole.slow == []
        assert rows_of(whole) == rows_of_slow(texts)
        assert [a.dtype for a in (whole.row_offsets, whole.name_hashes, whole.values)] == [
            np.int64,
            np.uint32,
            np.float32,
        ]


def test_shared_features_come_before_each_row() -> None:
    texts = ['{"a":"b"}', "{}", '{"c":[1,2]}']
    shared = '{"u":"v","n":0.5}'
    joined = with_shared(scan(texts), scan([shared]))
    (common,) = rows_of_slow([shared])
    assert rows_of(joined) == [common + row for row in rows_of_slow(texts)]


def test_shared_features_count_towards_the_limit_of_a_row() -> None:
    limits = replace(LIMITS, features=4)
    texts = ['{"a":[1,2]}', '{"a":[1,2,3]}', "{}"]
    assert scan(texts, limits, shared=2).slow == [1]


def test_a_request_with_too_many_features_is_refused_early() -> None:
    data = b'{"a":[1,2,3]}' * 100
    buf = np.frombuffer(bytearray(data + bytes(SPARE_BYTES)), np.uint8)
    starts = np.arange(101, dtype=np.int64) * 13
    for most, shared, fits in [(300, 0, True), (299, 0, False), (500, 2, True), (499, 2, False)]:
        limits = replace(LIMITS, request_features=most)
        assert (scan_features(buf, starts, SEED, limits, shared) is not None) is fits


def test_no_rows() -> None:
    scanned = scan([])
    assert (scanned.row_offsets.tolist(), scanned.values.size, scanned.slow) == ([0], 0, [])
