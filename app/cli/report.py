"""`clickfold report`: one self-contained HTML file about a model, and its charts as PNG.

WHAT is a snapshot file, as `train` writes it, or the name of a model of the service. The drawings
are matplotlib's: pip install clickfold[report].
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli import options
from app.cli.failures import CommandFailed, bad_usage, say


def report(
    what: Annotated[
        str,
        typer.Argument(metavar="MODEL|SNAPSHOT", help="A snapshot file, or a model of --url."),
    ] = options.DEFAULT_MODEL,
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    out: Annotated[Path, typer.Option(dir_okay=False, help="The HTML file to write.")] = Path(
        "report.html"
    ),
    png: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the charts as PNG.", show_default=False),
    ] = None,
) -> None:
    """Write one HTML file: curves, reliability, histograms, top features, slices."""
    try:
        from app.report import charts
    except ImportError as error:
        raise CommandFailed(f"pip install clickfold[report] ({error})") from error
    from app.report.documents import of_service, of_snapshot
    from app.report.page import page
    from app.report.tables import tables

    path = Path(what)
    if path.is_file():
        given = of_snapshot(path)
    elif path.suffix or "/" in what:
        raise bad_usage(f"there is no file {what}", "MODEL|SNAPSHOT")
    else:
        from app.cli.service import Service

        with Service(url, key, what) as service:
            given = of_service(service, what)
    drawings = []
    for name, (title, about, draw) in charts.CHARTS.items():
        figure = draw(given)
        if figure is None:
            continue
        drawings.append((title, about, charts.svg(figure)))
        if png is not None:
            png.mkdir(parents=True, exist_ok=True)
            (png / f"{name}.png").write_bytes(charts.png(figure))
    out.write_text(page(given, drawings, tables(given)), "utf-8")
    say(f"written: {out} ({len(drawings)} charts)")
