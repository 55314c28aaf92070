"""learn, predict and train: the commands that read click logs.

    learn    files -> POST /learn, in order          figures: this run's, from the predictions that
                                                     came back; digest and position: the service's
    predict  files -> POST /predict -> stdout        one probability a line
    train    files -> ftrl_core.Model -> snapshot    figures: the model's own, many lines at a time

Heavy modules are imported when a command runs, not when it is declared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import options
from app.cli.examples import BadLines, Format
from app.cli.failures import say

if TYPE_CHECKING:
    from app.cli.formats import Sources

RETRY_SECONDS = 60.0
BATCH = 1000
TRAIN_BATCH = 10_000

Out = Annotated[
    Path | None,
    typer.Option(dir_okay=False, help="Snapshot file to write.", show_default=False),
]


def learn(
    files: options.Files,
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    file_format: options.FileFormat = None,
    batch: options.Batch = BATCH,
    label: options.Label = None,
    event_id: options.IdColumn = None,
    ignore: options.Ignore = None,
    categorical: options.Categorical = None,
    numeric: options.Numeric = None,
    skip_bad_lines: options.SkipBadLines = False,
    retry_seconds: options.RetrySeconds = RETRY_SECONDS,
    as_json: options.Json = False,
) -> None:
    """Learn click logs through a running service, in file order, each example once.

    The figures are those of this run: every prediction was made just before its example was
    learned. The digest is the model's, from /stats.
    """
    from app.cli.learn import LearnRun, batches
    from app.cli.progress import DoublingTable, ProgressBar
    from app.cli.service import Service

    bad_lines = BadLines(skip_bad_lines)
    columns = (label, event_id, ignore, categorical, numeric)
    sources = _sources(files, file_format, columns, True, bad_lines)
    with Service(url, key, model, retry_seconds) as service:
        with ProgressBar(sources.bytes_total, "learning") as bar:
            run = LearnRun(service, bad_lines, DoublingTable(bar.write))
            for examples in batches(sources.examples(), batch):
                run.learn(examples)
                bar.move_to(sources.bytes_read)
            run.table.finish()
        _print_figures(run.figures(), as_json)


def predict(
    files: options.Files,
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    file_format: options.FileFormat = None,
    batch: options.Batch = BATCH,
    label: options.Label = None,
    event_id: options.IdColumn = None,
    ignore: options.Ignore = None,
    categorical: options.Categorical = None,
    numeric: options.Numeric = None,
    skip_bad_lines: options.SkipBadLines = False,
    retry_seconds: options.RetrySeconds = RETRY_SECONDS,
) -> None:
    """Print the click probability of each example, one a line; labels are not looked at.

    With --skip-bad-lines a bad line has no line in the output.
    """
    from app.cli.learn import batches, predict_batch
    from app.cli.progress import ProgressBar
    from app.cli.service import Service

    bad_lines = BadLines(skip_bad_lines)
    columns = (label, event_id, ignore, categorical, numeric)
    sources = _sources(files, file_format, columns, False, bad_lines)
    # A bar over a terminal that also gets the results would be mixed up with them.
    total = None if sys.stdout.isatty() else sources.bytes_total
    with (
        Service(url, key, model, retry_seconds) as service,
        ProgressBar(total, "predicting") as bar,
    ):
        for examples in batches(sources.examples(), batch):
            predictions = predict_batch(service, examples, bad_lines)
            sys.stdout.write("".join(f"{p!r}\n" for p in predictions))
            bar.move_to(sources.bytes_read)
    sys.stdout.flush()
    _say_skipped(bad_lines)


def train(
    files: options.Files,
    out: Out = None,
    config: options.Config = None,
    file_format: options.FileFormat = None,
    batch: options.TrainBatch = TRAIN_BATCH,
    label: options.Label = None,
    event_id: options.IdColumn = None,
    ignore: options.Ignore = None,
    categorical: options.Categorical = None,
    numeric: options.Numeric = None,
    skip_bad_lines: options.SkipBadLines = False,
    as_json: options.Json = False,
) -> None:
    """Learn click logs offline, by the same fold, and write a snapshot that a service can restore.

    Bring it into a service with `clickfold restore NAME --file SNAPSHOT`.
    """
    from app.cli.configuration import read_config
    from app.cli.lean_process import keep_memory, without_scipy
    from app.cli.progress import DoublingLines, ProgressBar
    from app.cli.train import TrainRun, new_model, save_snapshot, warm_up

    bad_lines = BadLines(skip_bad_lines)
    columns = (label, event_id, ignore, categorical, numeric)
    sources = _sources(files, file_format, columns, True, bad_lines)
    keep_memory()
    with without_scipy():  # until the first kernels have run
        fresh = new_model(read_config(config))
        warm_up(fresh)
        sources.warm_up()
    with ProgressBar(sources.bytes_total, "training") as bar:
        run = TrainRun(fresh, bad_lines, DoublingLines(bar.write), batch)
        for examples in sources.batches(run.decoder):
            run.learn(examples)
            bar.move_to(sources.bytes_read)
        run.finish()
    figures = run.figures()
    if out is not None:
        save_snapshot(run.model, out)
        figures["snapshot"] = str(out)
    _print_figures(figures, as_json)


_Columns = tuple[str | None, str | None, list[str] | None, list[str] | None, list[str] | None]


def _sources(
    files: list[str],
    file_format: Format | None,
    columns: _Columns,
    labelled: bool,
    bad_lines: BadLines,
) -> Sources:
    from app.cli.csv_reader import CsvColumns
    from app.cli.formats import Sources

    label, event_id, ignore, categorical, numeric = columns
    named = CsvColumns(
        label=label,
        id=event_id,
        ignore=tuple(ignore or ()),
        categorical=tuple(categorical or ()),
        numeric=tuple(numeric or ()),
    )
    return Sources(files, file_format, named, labelled, bad_lines)


def _say_skipped(bad_lines: BadLines) -> None:
    if bad_lines.skipped_count:
        say(f"{bad_lines.skipped_count} bad lines skipped")


def _print_figures(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(figures, allow_nan=False))
        return
    for name, value in figures.items():
        shown = f"{value:,.6g}" if isinstance(value, float) else value
        typer.echo(f"{name:<20} {'-' if value is None else shown}")
