"""`python -m scripts.access_page`: the table of docs/access.md anew, from app/route_table.py."""

from __future__ import annotations

from pathlib import Path

from app.route_table import ROUTES, SCOPES

PAGE = Path(__file__).parent.parent / "docs" / "access.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def markdown() -> str:
    """A row for each route and method: which key may."""
    rows = [f"| route | method | {' | '.join(SCOPES)} | without a key |"]
    rows += ["|---" * (len(SCOPES) + 3) + "|"]
    for route in ROUTES:
        for method, scope in route.scopes.items():
            may = [scope in (None, one) or (scope == "read" and one == "admin") for one in SCOPES]
            cells = ["yes" if one else "403" for one in may]
            nobody = "yes" if scope is None else "401"
            rows.append(f"| `{route.template}` | {method} | {' | '.join(cells)} | {nobody} |")
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    """The page with today's table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
