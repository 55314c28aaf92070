"""A head is known again whatever the length it names, and nothing else about it may differ."""

from __future__ import annotations

from typing import Any

import pytest

from app.direct_path import DirectRoute
from app.key_lines import ANYONE
from app.known_heads import HEADS_MAX, KnownHeads

ROUTE = DirectRoute("/predict", False, "default", ANYONE, "application/json", 1000, True)


def head(
    length: object, *lines: str, name: str = "Content-Length", path: str = "/predict"
) -> bytes:
    given = [f"POST {path} HTTP/1.1", "Host: h", f"{name}: {length}", *lines, "", ""]
    return "\r\n".join(given).encode()


def knowing(*heads: bytes) -> KnownHeads:
    known = KnownHeads()
    for one in heads:
        known.add(one, ROUTE, len(one) + 5)
    return known


@pytest.mark.parametrize("lines", [(), ("Accept: */*",)])
def test_any_length(lines: tuple[str, ...]) -> None:
    known = knowing(head(5, *lines))
    for length in (0, 5, 7, 632, 1000, "0632"):
        data = head(length, *lines) + b"x" * 2000
        found = known.find(data)
        assert found is not None
        assert found.route is ROUTE
        assert data[found.start :] == b"x" * 2000
        assert found.end - found.start == int(length)


@pytest.mark.parametrize(
    "other",
    [
        head(1001), head("5 "), head(""), head("+5"), head("-5"), head("5,5"), head("0x5"),
        head("٥"), head("5" * 10), head(5, "Content-Length: 6"), head(5, "Accept: */*"),
        head(5, path="/learn"), head(5).replace(b"\r\n\r\n", b"\n\n"), head(5)[:-2],
        head(5)[:-40], b"", head("5\r\nX: y"), head(5).replace(b"POST", b"post"),
        b"\r\n" + head(5),
    ],
)  # fmt: skip
def test_nothing_else_may_differ(other: bytes) -> None:
    assert knowing(head(5)).find(other) is None


@pytest.mark.parametrize(
    "odd",
    [head("5 "), head("  5"), head("\t5"), head(5, "content-length: 5"), head("5" * 10), head("x")],
)
def test_odd_heads_are_not_remembered(odd: bytes) -> None:
    known = KnownHeads()
    known.add(odd, ROUTE, len(odd) + 5)
    assert len(known) == 0


def test_a_head_that_says_another_length_than_came_is_not_remembered() -> None:
    known = KnownHeads()
    known.add(head(5), ROUTE, len(head(5)) + 6)
    assert len(known) == 0


def test_the_same_head_once_and_the_newest_few() -> None:
    known = knowing(head(5), head(5))
    assert len(known) == 1
    many = [head(5, f"X: {i}") for i in range(HEADS_MAX + 3)]
    known = knowing(*many)
    found: list[Any] = [known.find(one) is not None for one in many]
    assert found == [False] * 3 + [True] * HEADS_MAX
    known.clear()
    assert known.find(many[-1]) is None


def test_heads_that_differ_after_the_length() -> None:
    known = knowing(head(5, "A: 1"), head(5, "B: 2"))
    for lines in ("A: 1", "B: 2"):
        assert known.find(head(77, lines)) is not None
