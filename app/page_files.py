"""The files of the dashboard: a fixed list of names, read once from the package app/static.

uPlot (vendor/) is the npm package uplot 1.6.32, unchanged, MIT; its licence lies beside it.
The page's policy allows no inline code and no inline style, and nothing from another host.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from functools import cache

JAVASCRIPT = "text/javascript"
MODULES = (
    "api", "chart", "colours", "dialog", "dom", "figures", "format", "history", "main", "panel",
    "save", "series", "stream", "strip", "theme", "verdicts", "view_answers", "view_calibration",
    "view_drift", "view_explain", "view_features", "view_health", "view_learning", "view_models",
    "view_slices", "view_snapshots", "view_table",
)  # fmt: skip
# name -> (place in app/static, media type)
ASSETS = {
    **{f"{module}.js": (f"{module}.js", JAVASCRIPT) for module in MODULES},
    "page.css": ("page.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "uPlot.esm.js": ("vendor/uPlot.esm.js", JAVASCRIPT),
    "uPlot.min.css": ("vendor/uPlot.min.css", "text/css"),
    "LICENSE-uPlot": ("vendor/LICENSE-uPlot", "text/plain"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
PAGE_HEADERS = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}


@cache
def content(place: str) -> bytes:
    """A file's bytes."""
    return importlib.resources.files("app").joinpath("static", *place.split("/")).read_bytes()


@cache
def entity_tag(place: str) -> str:
    """A strong ETag: it changes with the file."""
    return f'"{hashlib.sha256(content(place)).hexdigest()[:16]}"'


def shell(rows: str | None) -> bytes:
    """The page, with table rows of models in it; None: it must ask for a key first."""
    page = content("index.html").replace(b"@KEY@", b"needed" if rows is None else b"given")
    return page.replace(b"@ROWS@", (rows or "").encode())
