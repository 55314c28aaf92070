"""`clickfold explain`: why a prediction is what it is, as a table.

Rows are sorted by the size of their contribution. Where a mixture has a figure for each rate, the
table shows their range; --json has all of them.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from app.cli import options
from app.cli.failures import bad_usage


def explain(
    example: Annotated[
        str,
        typer.Argument(
            metavar="EXAMPLE",
            help='The features as JSON, {"ad": "a9", "price": 3.5}; - reads standard input.',
        ),
    ],
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    as_json: options.Json = False,
) -> None:
    """Show what each feature of an example contributes to its prediction."""
    from app.cli.service import Service

    features = _features(sys.stdin.read() if example == "-" else example)
    with Service(url, key, model) as service:
        prediction, explanation = service.explain(features)
    if as_json:
        typer.echo(json.dumps({"prediction": prediction, **explanation}))
    else:
        _show(prediction, explanation)


def _features(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise bad_usage(f"not JSON: {error}", "EXAMPLE") from error
    if not isinstance(given, dict):
        raise bad_usage("an example is a JSON object", "EXAMPLE")
    features = given.get("features", given)
    if not isinstance(features, dict):
        raise bad_usage("features are a JSON object", "EXAMPLE")
    return features


def _show(prediction: float, explanation: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("feature", "contribution", "weight", "n", "learning rate", "slot", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    items = explanation["contributions"]
    for item in sorted(items, key=lambda one: -abs(one["contribution"])):
        figures = (_range(item.get(name)) for name in ("weight", "n", "learning_rate"))
        slot = str(item.get("slot", ""))
        table.add_row(_name(item), f"{item['contribution']:+.4f}", *figures, slot)
    table.add_row("bias", f"{explanation['bias']:+.4f}")
    table.add_row("logit", f"{explanation['logit']:+.4f}", style="bold")
    console = Console()
    console.print(table)
    console.print(f"probability of a click: {prediction:.6f}")


def _name(item: dict[str, Any]) -> str:
    """`ad = a9`, with what else there is to say; markup of the table is not for it to write."""
    from rich.markup import escape

    value = f" = {item['value']}" if "value" in item else ""
    held = item.get("held_at_zero")
    notes = [item["view"]] if "view" in item else []
    if held is True or (isinstance(held, list) and all(held)):
        notes.append("held at zero")
    note = f" ({', '.join(notes)})" if notes else ""
    return escape(f"{item['name'] or '?'}{value}{note}")


def _range(figure: float | list[float] | None) -> str:
    if figure is None:
        return ""
    if not isinstance(figure, list):
        return f"{figure:.4g}"
    least, most = min(figure), max(figure)
    return f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
