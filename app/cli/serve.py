"""`clickfold serve`: flags become settings, and the service runs on them.

A flag that is not given is None and leaves the environment, .env and the defaults to decide, in
that order; app.settings knows them all.
"""

from __future__ import annotations

from typing import Any

import typer

from app.cli.failures import CommandFailed
from app.server import run
from app.settings import load_settings
from ftrl_core.errors import BadConfig, ClickfoldError


def serve(flags: dict[str, Any]) -> None:
    """Serve until stopped; raises CommandFailed when the service cannot start or breaks down."""
    try:
        settings = load_settings(**flags)
    except BadConfig as error:
        raise typer.BadParameter(str(error)) from error
    try:
        run(settings)
    except ClickfoldError as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"cannot serve: {error}") from error
