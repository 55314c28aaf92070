"""Positions: written and read."""

from __future__ import annotations

import pytest

from ftrl_core.position import SEQ_MAX, START, Position


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0-0", START),
        ("1-42", Position(1, 42)),
        (f"{SEQ_MAX}-{SEQ_MAX}", Position(SEQ_MAX, SEQ_MAX)),
    ],
)
def test_round_trip(text: str, position: Position) -> None:
    assert Position.parse(text) == position
    assert str(position) == text


@pytest.mark.parametrize(
    "text",
    ["", "-", "1", "1-", "-1", "1--2", "1-2-3", "01-2", "1-02", " 1-2", "1-2\n", "+1-2", "1_0-2",
     "a-b", "1.0-2", "1-2e3", "١-٢", f"1-{SEQ_MAX + 1}", f"{SEQ_MAX + 1}-1", "9" * 17 + "-1"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        Position.parse(text)


def test_order_is_by_seq() -> None:
    """After a restore 2-4 is earlier than 1-7: compare seq, not the tuple."""
    assert Position.parse("2-4").seq < Position.parse("1-7").seq
