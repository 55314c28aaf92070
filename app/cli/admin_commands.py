"""snapshot, restore, stats, skip and models: the commands that look after a running service.

Each is one request, made once: none of them is repeated by itself, because a second snapshot or
restore is not the same as one. What the service answers is printed, in full with --json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli import options
from app.cli.failures import CommandFailed, bad_usage

models = typer.Typer(help="List, create, show and delete models.", invoke_without_command=True)

_SHOWN_STATS = (
    "model", "position", "examples", "duplicates", "log_loss", "auc", "normalized_entropy",
    "calibration", "digest", "state_digest", "durability", "stale_seconds",
    "deduplication_window_seconds",
)  # fmt: skip
_POSITION_RULE = "a position looks like 1-42"


def snapshot(
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    name: Annotated[str | None, typer.Option(help="Name; the service picks one if absent.")] = None,
    out: Annotated[Path | None, typer.Option(help="Download it to this file too.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List snapshots, take none.")] = False,
    as_json: options.Json = False,
) -> None:
    """Take a snapshot of the model as it is now."""
    from app.cli.service import Service

    with Service(url, key, model) as service:
        if listed:
            _print(service.admin("GET", "/snapshots"), as_json)
            return
        description = service.admin("POST", "/snapshots", {} if name is None else {"name": name})
        if out is not None:
            taken = name or str(_member(description, "name"))
            _download(service.download(f"/snapshots/{_quoted(taken)}/file"), out)
        _print(description, as_json)


def restore(
    name: Annotated[str, typer.Argument(help="Name of the snapshot.")],
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Upload this file under NAME first."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Switch the model, on every replica, to a snapshot."""
    from app.cli.service import Service

    with Service(url, key, model) as service:
        if file is not None:
            service.upload(f"/snapshots/{_quoted(name)}/file", file)
        _print(service.admin("POST", f"/snapshots/{_quoted(name)}/restore"), as_json)


def skip(
    position: Annotated[str, typer.Argument(help="Position of the damaged entry, such as 1-42.")],
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    as_json: options.Json = False,
) -> None:
    """Let replicas go on behind an entry of the log that cannot be read; it is lost."""
    from app.cli.service import Service

    epoch, _, seq = position.partition("-")
    if not (position.isascii() and epoch.isdigit() and seq.isdigit()):
        raise bad_usage(_POSITION_RULE, "POSITION")
    with Service(url, key, model) as service:
        _print(service.admin("POST", "/skip", {"position": position}), as_json)


def stats(
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    model: options.ModelName = options.DEFAULT_MODEL,
    watch: Annotated[bool, typer.Option("--watch", help="Show the live stream.")] = False,
    as_json: options.Json = False,
) -> None:
    """Print the model's progressive figures, position and digests."""
    from app.cli.service import Service

    with Service(url, key, model) as service:
        if not watch:
            body = service.stats()
            shown = {name: body[name] for name in _SHOWN_STATS if name in body}
            _print(body if as_json else shown, as_json)
            return
        from app.cli.watching import watch as follow

        follow(service.lines("/stats/stream"), as_json)


@models.callback()
def models_list_by_default(
    ctx: typer.Context,
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    as_json: options.Json = False,
) -> None:
    """List, create, show and delete models; lists them when no command is given."""
    if ctx.invoked_subcommand is None:
        list_models(url, key, as_json)


@models.command("list")
def list_models(
    url: options.Url = options.DEFAULT_URL, key: options.Key = None, as_json: options.Json = False
) -> None:
    """List the models of the service."""
    from app.cli.service import Service

    with Service(url, key) as service:
        answer = service.ask("GET", "/models")
    if as_json:
        _print(answer, True)
        return
    rows = answer.get("models") if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        raise CommandFailed("the service's answer is not a list of models")
    for row in rows:
        typer.echo(row.get("model", row.get("name")) if isinstance(row, dict) else row)


@models.command("show")
def show_model(
    name: str,
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    as_json: options.Json = False,
) -> None:
    """Show a model's configuration, counts and memory."""
    from app.cli.service import Service

    with Service(url, key) as service:
        _print(service.ask("GET", f"/models/{_quoted(name)}"), as_json)


@models.command("create")
def create_model(
    name: str,
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    config: options.Config = None,
    from_snapshot: Annotated[
        str | None, typer.Option(metavar="MODEL/NAME", help="Begin as this snapshot.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a model, empty or from a snapshot."""
    from app.cli.configuration import read_config
    from app.cli.service import Service

    if config is not None and from_snapshot is not None:
        raise bad_usage("a snapshot brings its own configuration", "--config")
    body = read_config(config) if from_snapshot is None else {"from_snapshot": from_snapshot}
    with Service(url, key) as service:
        _print(service.ask("PUT", f"/models/{_quoted(name)}", json=body), as_json)


@models.command("delete")
def delete_model(
    name: str,
    url: options.Url = options.DEFAULT_URL,
    key: options.Key = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask on a terminal.")] = False,
) -> None:
    """Delete a model and everything it has learned."""
    from app.cli.service import Service

    if not yes and sys.stdin.isatty():
        typer.confirm(f"Delete model {name} and all it has learned?", abort=True)
    with Service(url, key) as service:
        service.ask("DELETE", f"/models/{_quoted(name)}")
    typer.echo(f"deleted {name}")


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _member(answer: Any, name: str) -> Any:
    if not isinstance(answer, dict) or name not in answer:
        raise CommandFailed(f"the service's answer has no {name!r}")
    return answer[name]


def _download(pieces: Any, path: Path) -> None:
    try:
        with path.open("wb") as file:
            file.writelines(pieces)
    except OSError as error:
        raise CommandFailed(f"cannot write {path}: {error}") from error


def _print(answer: Any, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer))
    elif isinstance(answer, dict):
        for name, value in answer.items():
            shown = f"{value:,.6g}" if isinstance(value, float) else value
            shown = json.dumps(value) if isinstance(value, dict | list) else shown
            typer.echo(f"{name:<28} {'-' if value is None else shown}")
    else:
        typer.echo(json.dumps(answer, indent=2))
