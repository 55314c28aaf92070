"""Vowpal Wabbit text: what lines mean, and that the kernel reads them as the slow path does."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from app.ingest.lines import LineError, close_text
from app.ingest.vw import decode_vw, vw_batch
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, BadExample, ClickfoldError, TooLarge
from ftrl_core.features import Reader
from ftrl_core.hashing import feature_hash, name_hash
from ftrl_core.limits import Limits
from ftrl_core.vw_scan import scan_vw
from tests.oracle import vw_lines
from tests.oracle.slow_ingest import outcome

SEED = 99
LIMITS = Limits()
Row = set[tuple[str, str | None, float]]


def rows(batch: ExampleBatch) -> list[set[tuple[int, int, float]]]:
    triples = list(
        zip(
            batch.name_hashes.tolist(),
            batch.feature_hashes.tolist(),
            batch.values.tolist(),
            strict=True,
        )
    )
    offsets = batch.row_offsets.tolist()
    return [set(triples[a:b]) for a, b in pairwise(offsets)]


def hashed(row: Row) -> set[tuple[int, int, float]]:
    out = set()
    for name, value, number in row:
        n = name_hash(name, SEED)
        out.add((n, n if value is None else feature_hash(value, n), float(np.float32(number))))
    return out


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1 |ad a9", {("ad", "a9", 1.0)}),
        ("1 |ad a9 b7:2.5 |user:0.5 u17:4 x", {
            ("ad", "a9", 1.0), ("ad", "b7", 2.5), ("user", "u17", 2.0), ("user", "x", 0.5)
        }),
        ("1 | site=s1 price:3.5 premium", {
            ("site", "s1", 1.0), ("price", None, 3.5), ("premium", None, 1.0)
        }),
        ("1 | site=s1=t:2 a= =b", {("site", "s1=t", 2.0), ("a", "", 1.0), ("", "b", 1.0)}),
        ("1 |ad a=b", {("ad", "a=b", 1.0)}),
        ("1 |a x |a y |b x x", {("a", "x", 1.0), ("a", "y", 1.0), ("b", "x", 2.0)}),
        ("1 |a x|b y\r", {("a", "x", 1.0), ("b", "y", 1.0)}),
        ("1\t|a\tx", {("a", "x", 1.0)}),
        ("1 |", set()),
        ("1 ||a x", {("a", "x", 1.0)}),
        ("1 |日 é😀", {("日", "é😀", 1.0)}),
        ("1 |a x:1e-40 y:-0 z:+.5e1", {("a", "x", 0.0), ("a", "y", 0.0), ("a", "z", 5.0)}),
    ],
)  # fmt: skip
def test_features_of_a_line(line: str, expected: Row) -> None:
    assert rows(decode_vw(line.encode(), LIMITS, SEED)) == [hashed(expected)]


def test_it_is_the_json_of_the_same_example() -> None:
    vw = decode_vw(b"-1 0.5 'imp-81|ad a9 a8 | price:3.5 new", LIMITS, SEED, True, True)
    features = {"ad": ["a9", "a8"], "price": 3.5, "new": True}
    example = {"label": 0, "weight": 0.5, "id": "imp-81", "features": features}
    assert outcome(lambda _: vw, b"") == outcome(
        lambda _: ExampleBatch.from_examples([example], hash_seed=SEED), b""
    )


@pytest.mark.parametrize(
    ("line", "label", "weight", "tag"),
    [
        ("1 |", 1, 1.0, ""),
        ("-1 |", 0, 1.0, ""),
        ("0 |", 0, 1.0, ""),
        ("+1.0 2 |", 1, 2.0, ""),
        ("-1.00 .5 'a b|", None, None, ""),
        ("1 2.5e1 x|", 1, 25.0, "x"),
        ("1 'x |", 1, 1.0, "x"),
        ("1 'x|", 1, 1.0, "x"),
        ("1 ''x|", 1, 1.0, "'x"),
        ("1 '|", 1, 1.0, ""),
        ("1 1e-40 |", 1, 0.0, ""),
        (" \t1 0 é|", 1, 0.0, "é"),
    ],
)
def test_header_of_a_line(line: str, label: int | None, weight: float | None, tag: str) -> None:
    if label is None:
        with pytest.raises(BadExample):
            decode_vw(line.encode())
        return
    batch = decode_vw(line.encode(), LIMITS, SEED, True, True)
    expected = {"label": label, "features": {}} | ({"id": tag} if tag else {})
    reference = ExampleBatch.from_examples([expected], hash_seed=SEED)
    assert batch.labels.tolist() == [label]
    assert batch.weights.tolist() == [weight]
    assert batch.event_ids.tolist() == reference.event_ids.tolist()
    assert decode_vw(line.encode(), LIMITS, SEED).event_ids.tolist() == [0]


@pytest.mark.parametrize(
    ("line", "pointer"),
    [
        ("1 a", ""),
        ("1|a x", "/label"),
        ("|a x", "/label"),
        ("2 |a x", "/label"),
        ("0.5 |a x", "/label"),
        ("nan |a x", "/label"),
        ("1 -1 |a x", "/weight"),
        ("1 1000001 |a x", "/weight"),
        ("1 1 0.5 |a x", ""),
        ("1 |a x:nan", "/features"),
        ("1 |a x:1_0", "/features"),
        ("1 |a x:1:2", "/features"),
        ("1 |a x:10000001", "/features"),
        ("1 |a:1e4 x:1e4", "/features"),
        ("1 |a:x y", "/features"),
        ("1 |a :1", "/features"),
        ("1 |:1 x", "/features"),
        ("1 | :1", "/features"),
        ("1 |" + "n" * 257 + " x", "/features"),
        ("1 |a " + "v" * 1025, "/features"),
        ("1 | " + "n" * 257, "/features"),
    ],
)
def test_refusals_name_the_line_and_the_part(line: str, pointer: str) -> None:
    with pytest.raises(BadExample) as raised:
        decode_vw(b"1 |a x\n\n" + line.encode() + b"\n2 |\n")
    assert (raised.value.row, raised.value.pointer) == (2, pointer)
    assert "nan" not in str(raised.value)


def test_limits() -> None:
    most = Limits(examples=3, features=2, request_features=3)
    assert decode_vw(b"1 |a x y\n1 |a x\n", most).nnz == 3
    with pytest.raises(TooLarge, match="an example has at most 2"):
        decode_vw(b"1 |a x y z\n", most)
    with pytest.raises(TooLarge, match="a request has at most 3 features"):
        decode_vw(b"1 |a x y\n1 |a x y\n", most)
    with pytest.raises(TooLarge, match="a request has at most 3 features"):
        decode_vw(b"1 |a x y\n+1e0 |a x y\n", most)
    with pytest.raises(TooLarge, match="at most 3 lines"):
        decode_vw(b"1 |\n" * 4, most)
    with pytest.raises(TooLarge):
        decode_vw(b"1 |a x", Limits(decompressed_bytes=5))
    with pytest.raises(BadBody):
        decode_vw(b"1 |a \xff")
    with pytest.raises(BadExample, match="no examples"):
        decode_vw(b"\n \n")
    with pytest.raises(BadExample):
        decode_vw(b"1 'a\x07|", id_from_tag=True)
    assert decode_vw(b"1 'a\x07|").rows == 1


def test_without_labels_the_header_is_not_looked_at() -> None:
    batch = decode_vw(b"|a x\n7 nonsense 3 |a x\n", LIMITS, SEED, require_labels=False)
    assert batch.labels.tolist() == [255, 255]
    assert batch.weights.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("id_from_tag", [False, True])
@pytest.mark.parametrize("require_labels", [False, True])
def test_random_lines_equal_the_slow_path(
    seed: int, require_labels: bool, id_from_tag: bool
) -> None:
    choose = random.Random(seed)
    reader = Reader(SEED, require_labels, LIMITS)
    refused = 0
    for _ in range(3000):
        text = "\n".join(vw_lines.line(choose) for _ in range(choose.randrange(1, 3))).encode()
        fast = outcome(decode_vw, text, LIMITS, SEED, require_labels, id_from_tag)
        slow = outcome(vw_lines.slow_vw, text, reader, id_from_tag)
        if fast[0] is BadExample and fast[1] == "there are no examples":
            continue
        assert fast == slow, text
        refused += len(fast) != 7
    assert 300 < refused < 2500


def test_usual_lines_do_not_leave_the_kernel() -> None:
    text = bytearray(b"1 0.5 'tag|ad a9 b:2.5e-1 |user:0.5 u17 | a=b c:7 d\n-1.0 t|\n\n0 |a b\n")
    close_text(text)
    lines = scan_vw(np.frombuffer(text, np.uint8), SEED, True, True, LIMITS)
    assert lines is not None
    assert lines.scanned.slow == []
    assert lines.line_numbers.tolist() == [0, 1, 3]


def test_bad_lines_can_be_left_out(seed: int) -> None:
    choose = random.Random(seed)
    reader = Reader(SEED, True, LIMITS)
    for _ in range(100):
        lines = [vw_lines.line(choose).encode() for _ in range(20)]
        bad: dict[int, LineError] = {}
        batch, count = vw_batch(bytearray(b"\n".join(lines)), reader, True, bad.__setitem__)
        assert count == 20 - (lines[-1] == b"")
        good = [b"" if i in bad else line for i, line in enumerate(lines)]
        assert outcome(lambda _, b=batch: b, b"") == outcome(
            vw_lines.slow_vw, b"\n".join(good), reader, True
        )
        for i, error in bad.items():
            with pytest.raises(type(error)) as raised:
                vw_lines.slow_vw(lines[i], reader, True)
            assert str(raised.value) == str(error)


def test_damaged_lines_are_errors_of_our_own(seed: int) -> None:
    choose = random.Random(seed)
    reader = Reader(SEED, True, LIMITS)
    for _ in range(2000):
        text = bytearray("\n".join(vw_lines.line(choose) for _ in range(3)).encode() or b"1 |")
        for _ in range(choose.randrange(1, 4)):
            text[choose.randrange(len(text))] = choose.randrange(256)
        fast = outcome_or_other(bytes(text))
        if len(fast) == 7:
            assert fast == outcome(vw_lines.slow_vw, bytes(text), reader, True)


def outcome_or_other(text: bytes) -> tuple[Any, ...]:
    try:
        return outcome(decode_vw, text, LIMITS, SEED, True, True)
    except ClickfoldError as error:
        return (type(error),)


def test_the_last_line_counts_without_its_end() -> None:
    limits = Limits(examples=3)
    assert decode_vw(b"1 |a b\n" * 3, limits).rows == 3
    with pytest.raises(TooLarge):
        decode_vw(b"1 |a b\n" * 3 + b"1 |a b", limits)
