"""`python -m scripts.pages`: the tables of docs/ that follow from the code, written anew.

    docs/limits.md      app/limit_table.py
    docs/access.md      app/route_table.py
    docs/problems.md    app/problems.py

A test holds each page to its table.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.limit_table import markdown as limits
from app.problems import CATALOGUE
from app.route_table import ROUTES, SCOPES

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def access() -> str:
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


def problems() -> str:
    """A row for each type of problem."""
    rows = ["| status | type | what | what to do |", "|---|---|---|---|"]
    for slug, kind in sorted(CATALOGUE.items(), key=lambda row: row[1].status):
        rows.append(f"| {kind.status} | `/problems/{slug}` | {kind.title} | {kind.advice} |")
    return "\n".join(rows) + "\n"


PAGES: dict[Path, Callable[[], str]] = {
    DOCS / "limits.md": limits,
    DOCS / "access.md": access,
    DOCS / "problems.md": problems,
}


def with_table(path: Path) -> str:
    """The page with today's table between its marks."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{PAGES[path]()}\n{END}{after}"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_table(page))
