"""docs/fault-matrix.md and docs/faults.md have all 77 rows, and each test named is one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
DOCS = TESTS.parent / "docs"
PAGE = (DOCS / "fault-matrix.md").read_text()


def _functions(file: Path) -> set[str]:
    defined = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, defined)}


def _rows(page: str) -> list[list[str]]:
    lines = re.findall(r"^\| (\d[\d, ]*\|.*)\|$", page, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def test_every_row_is_there_once() -> None:
    numbers = [int(row[0]) for row in _rows(PAGE)]
    assert numbers == list(range(45, 78))
    assert all(len(row) == 5 and all(row) for row in _rows(PAGE))
    others = {int(n) for row in _rows((DOCS / "faults.md").read_text()) for n in row[0].split(",")}
    assert others | set(numbers) == set(range(1, 78))


def test_every_row_names_tests_that_exist() -> None:
    for row in _rows(PAGE):
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row[4])
        assert named, row[0]
        missing = [
            f"{file}::{name}" for file, name in named if name not in _functions(TESTS / file)
        ]
        assert not missing
