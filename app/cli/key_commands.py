"""`clickfold keys`: make a key, list the lines of a file, and ask which line a key fits.

A key is shown once, when it is made, and never written to a file: what is kept is the line with its
digest. A key to be checked comes from standard input or from CLICKFOLD_KEY, never from an argument,
which every user of the machine can read and the shell's history keeps.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import options
from app.cli.failures import CommandFailed, bad_usage, say

if TYPE_CHECKING:
    from app.key_lines import Key

keys = typer.Typer(help="Make, list and check keys.", no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Option(help="File of keys and their scopes.", envvar="CLICKFOLD_KEYS_FILE"),
]


@keys.command()
def new(
    name: Annotated[str, typer.Argument(help="Name: what is accounted for, and shown.")],
    scope: Annotated[
        list[str], typer.Option(help="predict, learn, read or admin; may be given several times.")
    ],
    models: Annotated[str, typer.Option(help="Models it is good for, such as ads,shop-*.")] = "*",
    rate: Annotated[
        float | None, typer.Option(min=0, help="Examples a second it may have learned.")
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of the latest examples that may be its own."),
    ] = None,
    file: File = None,
    as_json: options.Json = False,
) -> None:
    """Make a key: prints it, once, and the line for the file, which with --file is written there.

    A key of a name that exists already is one more for the same name: use it to change keys. Take
    the older line away when nobody uses it any more. A running service sees both within a second.
    """
    from app.key_lines import line_of, new_key
    from ftrl_core.errors import BadConfig

    given = {"rate": rate, "share": share}
    limits = [f"{what}={number:g}" for what, number in given.items() if number is not None]
    key = new_key()
    scopes = [word for words in scope for word in words.split(",")]
    try:
        line = line_of(name, scopes, models, key, limits)
        if file is not None:
            _append(file, line)
    except BadConfig as error:
        raise bad_usage(str(error)) from None
    if as_json:
        typer.echo(json.dumps({"key": key, "line": line}))
        return
    typer.echo(key)
    say("This key is not kept anywhere and cannot be shown again.")
    say(f"Written to {file}." if file is not None else "The line for the file of keys:")
    say(f"  {line}")


@keys.command("list")
def list_keys(file: File = None, as_json: options.Json = False) -> None:
    """List the names of a file, with what each may do."""
    found = _read(_needed(file))
    if as_json:
        typer.echo(json.dumps([_described(key) for key in found]))
        return
    for key in found:
        row = _described(key)
        words = [f"{row[name]}" for name in ("name", "scopes", "models")]
        words += [f"{name}={row[name]:g}" for name in ("rate", "share") if row[name] is not None]
        words += ["WRITTEN IN PLAIN"] * key.is_plain
        typer.echo("  ".join(words))
    if any(key.is_plain for key in found):
        say("keys that are written in plain can be used by whoever reads the file: write digests")


@keys.command()
def check(file: File = None, as_json: options.Json = False) -> None:
    """Read a key from standard input (or CLICKFOLD_KEY): which line does it fit?"""
    import hashlib

    found = _read(_needed(file))
    presented = os.environ.get("CLICKFOLD_KEY") or sys.stdin.readline()
    digest = hashlib.sha256(presented.strip().encode()).digest()
    fitting = next((key for key in found if key.digest == digest), None)
    if fitting is None:
        raise CommandFailed("the key fits no line")
    row = _described(fitting)
    typer.echo(
        json.dumps(row) if as_json else f"{row['name']}  {row['scopes']}  models {row['models']}"
    )


def _needed(file: Path | None) -> Path:
    if file is None:
        raise bad_usage("a file of keys is needed", "--file")
    return file


def _read(file: Path) -> list[Key]:
    from app.key_lines import lines_of, read_lines
    from ftrl_core.errors import BadConfig

    try:
        return read_lines(lines_of(None, file))
    except (BadConfig, OSError) as error:
        raise CommandFailed(f"cannot read the keys: {error}") from None


def _append(file: Path, line: str) -> None:
    """Add the line to the file, made with mode 0600; refused if the whole would not be read."""
    from app.key_lines import read_lines

    before = ""
    try:
        before = file.read_text("utf-8") if file.exists() else ""
        text = before + ("" if before.endswith("\n") or not before else "\n") + line + "\n"
        read_lines((f"{file}, line {i}", row) for i, row in enumerate(text.splitlines(), 1))
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as out:
            out.write(text[len(before) :])
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"cannot write {file}: {error}") from None


def _described(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": ",".join(sorted(key.scopes)),
        "models": "*" if key.models is None else ",".join(key.models),
        "rate": key.rate,
        "share": key.share,
        "number": key.number,
        "plain": key.is_plain,
    }
