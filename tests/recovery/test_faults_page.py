"""docs/faults.md names a test for each fault: each name is a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "faults.md"


def _functions(file: Path) -> set[str]:
    defined = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, defined)}


def test_every_named_test_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.read_text())
    assert len(named) > 40
    missing = [f"{file}::{name}" for file, name in named if name not in _functions(TESTS / file)]
    assert not missing


def test_every_row_of_the_matrix_is_there() -> None:
    page = PAGE.read_text()
    rows = re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE)
    rows += re.findall(r"^- \*\*(\d+)", page, re.MULTILINE)
    numbers = {int(number) for row in rows for number in row.split(",")}
    assert numbers == set(range(1, 45))
