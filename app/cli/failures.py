"""How a command ends when it does not end well.

    exit status 1   CommandFailed: the work could not be done; one line on stderr says why
    exit status 2   typer.BadParameter: the command was asked for something that has no meaning

Commands raise; `FailureGroup` is the one place that turns CommandFailed into a line and a status,
so that no command has an except clause of its own for it. A decorator on every command would do
the same thing once per command, and one day be forgotten on one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class CommandFailed(Exception):
    """The command could not do what was asked; the message is for the person who typed it."""


def bad_usage(message: str, option: str | None = None) -> typer.BadParameter:
    """An exception that ends the command with exit status 2, naming `option` if one is given."""
    return typer.BadParameter(message, param_hint=f"'{option}'" if option else None)


def say(message: str) -> None:
    """One line for a person, on stderr, so that stdout holds results only."""
    typer.echo(message, err=True)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn a CommandFailed into a line on stderr and exit status 1."""
    try:
        yield
    except CommandFailed as failure:
        say(f"clickfold: {failure}")
        raise typer.Exit(1) from None


class FailureGroup(TyperGroup):
    """The group of all commands: prints a CommandFailed and exits with status 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with _reported():
            return super().invoke(ctx)


class FailureCommand(TyperCommand):
    """The same for a program of one command."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _reported():
            return super().invoke(ctx)
