"""Options that several commands share, each declared once: its words, its help, its environment.

Defaults stand in the commands' signatures, where typer looks for them. Every type here is cheap to
import: `clickfold --help` must not wait for numpy, numba or an HTTP client.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.examples import Format

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_MODEL = "default"

Url = Annotated[str, typer.Option(help="Address of the service.", envvar="CLICKFOLD_URL")]
Key = Annotated[
    str | None, typer.Option(help="Key of the service.", envvar="CLICKFOLD_KEY", show_default=False)
]
ModelName = Annotated[
    str, typer.Option("--model", help="Name of the model.", envvar="CLICKFOLD_MODEL")
]
RetrySeconds = Annotated[
    float,
    typer.Option(
        min=0, help="How long to try again while the service is busy, away or unreachable."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]

_CSV = "csv columns"

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Files, .gz or not; - is standard input.")
]
FileFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="Format; guessed from the name (.ndjson, .csv, .vw, .arrow), ndjson for -.",
        show_default=False,
    ),
]
SkipBadLines = Annotated[
    bool, typer.Option("--skip-bad-lines", help="Count bad lines and go on, in place of stopping.")
]
Batch = Annotated[int, typer.Option(min=1, max=10_000, help="Examples in one request.")]
TrainBatch = Annotated[int, typer.Option(min=1, max=10_000, help="Examples folded at once.")]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the label, 0 or 1 (default: label, else click).",
        rich_help_panel=_CSV,
        show_default=False,
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        "--id",
        metavar="COLUMN",
        help="Column of the event id (default: none); of vw text: tag.",
        rich_help_panel=_CSV,
        show_default=False,
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN", help="Column that is no feature; may be repeated.", rich_help_panel=_CSV
    ),
]
Categorical = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Categorical column, as all are by default; may be repeated.",
        rich_help_panel=_CSV,
    ),
]
Numeric = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Numeric column; may be repeated.", rich_help_panel=_CSV),
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|JSON",
        help="Configuration of the model; what it leaves out takes the service's defaults.",
        show_default=False,
    ),
]
