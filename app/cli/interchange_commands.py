"""import and export: weights of other systems to a snapshot, and back.

    import   a file of weights -> snapshot, for `clickfold restore NAME --file SNAPSHOT`
    export   snapshot -> a file of weights, or the small copy q2.13

Heavy modules are imported when a command runs, not when it is declared.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import options
from app.cli.examples import BadLines, Format
from app.cli.failures import bad_usage, say


class ImportFormat(StrEnum):
    """What import's --format takes."""

    VW = "vw"
    ALPHAFM = "alphafm"
    ARRAYS = "arrays"


class ExportFormat(StrEnum):
    """What export's --format takes."""

    VW = "vw"
    ALPHAFM = "alphafm"
    ARRAYS = "arrays"
    SKLEARN = "sklearn"
    Q2_13 = "q2.13"


class NamesAs(StrEnum):
    """What a namespace of Vowpal Wabbit is to us."""

    NAMESPACE = "namespace"
    FEATURE = "feature"


class Collisions(StrEnum):
    """What becomes of two features in one slot."""

    REFUSE = "refuse"
    MEAN = "mean"


_InFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="File of weights.")]
_Snapshot = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Snapshot file.")]
_Out = Annotated[Path, typer.Option(dir_okay=False, help="File to write.")]
_NamesFile = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Names of features, one a line."),
]
_ImportFormat = Annotated[ImportFormat, typer.Option("--format", help="Format of the file.")]
_ExportFormat = Annotated[ExportFormat, typer.Option("--format", help="Format to write.")]
_Confidence = Annotated[
    float | None,
    typer.Option(
        help="n of every weight: the sum of squared gradients it stands for"
        " (default: the file's, else 100).",
        show_default=False,
    ),
]
_TrainedWith = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|JSON",
        help="The optimizer's arguments, as in a configuration: alphafm computes w from z and n"
        " with them, arrays checks w against z and n.",
        show_default=False,
    ),
]
_Collisions = Annotated[
    Collisions, typer.Option(help="Two features in one slot: refuse, or take their mean.")
]
_VwNames = Annotated[
    NamesAs, typer.Option(help="vw: the namespace is the name of its features, or is dropped.")
]
_AllowUnnamed = Annotated[
    bool, typer.Option("--allow-unnamed", help="vw: leave out weights that no name explains.")
]
_Data = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="Log whose features to export; may be repeated."),
]
_DataFormat = Annotated[
    Format | None,
    typer.Option(help="Format of the logs, if the name does not tell.", show_default=False),
]
_Lane = Annotated[
    int | None,
    typer.Option(
        help="Lane of a mixture, from 0 (default: the one that predicts best).", show_default=False
    ),
]
_Seed = Annotated[int, typer.Option(help="q2.13: seed of the rounding.")]


def import_weights(
    file: _InFile,
    out: _Out,
    file_format: _ImportFormat,
    config: options.Config = None,
    names: _NamesFile = None,
    confidence: _Confidence = None,
    trained_with: _TrainedWith = None,
    collisions: _Collisions = Collisions.REFUSE,
    vw_names: _VwNames = NamesAs.NAMESPACE,
    allow_unnamed: _AllowUnnamed = False,
    as_json: options.Json = False,
) -> None:
    """Make a snapshot from the weights of another system; the model predicts as that one did.

    Bring it into a service with `clickfold restore NAME --file SNAPSHOT`.
    """
    from app.cli import interchange
    from app.cli.configuration import read_config
    from app.cli.train import save_snapshot

    weights = interchange.read_weights(
        file,
        file_format.value,
        interchange.read_names(names),
        vw_names.value,
        allow_unnamed,
        read_config(trained_with, "--trained-with"),
    )
    model = interchange.imported(weights, read_config(config), confidence, collisions.value)
    save_snapshot(model, out)
    for note in weights.notes:
        say(note)
    figures = {
        "features": len(weights.features),
        "bias": weights.bias,
        "digest": model.digest(),
        "snapshot": str(out),
    }
    _print(figures, as_json)


def export_weights(
    snapshot: _Snapshot,
    out: _Out,
    file_format: _ExportFormat,
    names: _NamesFile = None,
    data: _Data = None,
    data_format: _DataFormat = None,
    lane: _Lane = None,
    seed: _Seed = 0,
    label: options.Label = None,
    event_id: options.IdColumn = None,
    ignore: options.Ignore = None,
    categorical: options.Categorical = None,
    numeric: options.Numeric = None,
    as_json: options.Json = False,
) -> None:
    """Write the weights of a snapshot for another system, or the small copy q2.13.

    A model has no names: all formats but q2.13 want them, as a list or as logs that mention them.
    """
    from app.cli import interchange
    from app.cli.csv_reader import CsvColumns
    from app.cli.formats import Sources
    from app.cli.output_file import write_file

    wanted = file_format is not ExportFormat.Q2_13
    if wanted != (names is not None or bool(data)) or (names is not None and data):
        raise bad_usage("q2.13 takes no names, any other format --names or --data", "--names")
    columns = CsvColumns(
        label, event_id, tuple(ignore or ()), tuple(categorical or ()), tuple(numeric or ())
    )
    features = [] if names is None else interchange.named_features(names)
    if data:
        sources = Sources(data, data_format, columns, False, BadLines(False))
        features = interchange.mentioned_features(sources.examples())
    model = interchange.load_model(snapshot)
    content, figures = interchange.exported(model, file_format.value, features, lane, seed)
    write_file(out, [content])
    _print({**figures, "bytes": len(content), "file": str(out)}, as_json)


def _print(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(figures, allow_nan=False))
        return
    for name, value in figures.items():
        typer.echo(
            f"{name:<20} {value:,.6g}" if isinstance(value, float) else f"{name:<20} {value}"
        )
