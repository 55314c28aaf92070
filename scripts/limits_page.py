"""`python -m scripts.limits_page`: the tables of docs/limits.md anew, from app/limit_table.py."""

from __future__ import annotations

from pathlib import Path

from app.limit_table import markdown

PAGE = Path(__file__).parent.parent / "docs" / "limits.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def with_table(page: str) -> str:
    """The page with today's table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
