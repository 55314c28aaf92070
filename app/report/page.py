"""One HTML file: figures, drawings, tables. It loads nothing, and has no script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from app.report.documents import Documents

FIGURES = ("log_loss", "normalized_entropy", "auc", "calibration", "mean_label", "mean_prediction")
_STYLE = """
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; background: #fff; color: #16202c;
  font: 14px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums }
h1 { font-size: 22px; margin: 0 } h2 { font-size: 16px; margin: 2rem 0 .2rem }
p { margin: 0 0 .4rem } .quiet, th, caption, .position { color: #566270 }
.charts { display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)) }
figure { margin: 0 } figcaption { margin-top: 1.2rem }
figcaption b { font-size: 15px } svg { width: 100%; height: auto }
table { border-collapse: collapse; margin: .4rem 0 } caption { text-align: left }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #dfe3e8; text-align: right }
th:first-child, td:first-child { text-align: left } th { font-weight: 400 }
code, pre { font: 12px ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap }
@media (max-width: 40rem) { .charts { grid-template-columns: 1fr } }
"""
Cell = str | float | int | None


def page(
    given: Documents,
    drawings: Iterable[tuple[str, str, str]],
    tables: Iterable[tuple[str, Sequence[str], Iterable[Sequence[Cell]]]] = (),
) -> str:
    """The file's text. drawings: (title, what it says, SVG); tables: (title, head, rows)."""
    stats = given.stats
    figures = "".join(_figure(*one) for one in drawings)
    lower = "".join(f"<h2>{escape(title)}</h2>{table(head, rows)}" for title, head, rows in tables)
    title = f"Clickfold: {escape(given.name)}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head><body>\n<h1>{escape(given.name)}</h1>\n"
        f'<p class="position">{stats.get("examples", 0):,} examples, position '
        f"{escape(str(stats.get('position')))}, digest <code>{escape(str(stats.get('digest')))}"
        f"</code></p>\n{_summary(stats)}\n<div class=charts>{figures}</div>\n{lower}\n"
        f"<h2>Configuration</h2><pre>{escape(_lines(stats.get('config', {})))}</pre>\n"
        "</body></html>\n"
    )


def _summary(stats: Mapping[str, Any]) -> str:
    window = stats.get("window", {})
    head = ("", *(name.replace("_", " ") for name in FIGURES))
    rows = [
        ("whole stream", *(stats.get(name) for name in FIGURES)),
        (f"latest {window.get('examples', 0):,}", *(window.get(name) for name in FIGURES)),
    ]
    return table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table; every cell is escaped."""
    top = "".join(f'<th scope="col">{escape(one)}</th>' for one in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(shown(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def shown(cell: Cell) -> str:
    """A cell as a person reads it."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.5g}" if abs(cell) >= 1 else f"{cell:.5f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _figure(title: str, about: str, svg: str) -> str:
    label = escape(f"{title}: {about}", quote=True)
    return (
        f'<figure role="img" aria-label="{label}"><figcaption><b>{escape(title)}</b> '
        f'<span class="quiet">{escape(about)}</span></figcaption>{svg}</figure>'
    )


def _lines(config: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in config.items())
