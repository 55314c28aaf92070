"""Pages of docs/ whose tables follow from the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.pages import PAGES, with_table


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_the_table_of_the_code(page: Path) -> None:
    assert page.read_text() == with_table(page), "python -m scripts.pages writes it anew"
