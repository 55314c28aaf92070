"""--config FILE|JSON: the model configuration a person gives, as a dictionary.

Text that begins with `{` is the JSON itself, anything else the name of a file that holds it. Its
arguments are judged by whoever makes the model (ftrl_core or the service), not here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.cli.failures import bad_usage


def read_config(given: str | None, option: str = "--config") -> dict[str, Any]:
    """The object that an option gives, empty when none was given; raises typer.BadParameter."""
    if given is None:
        return {}
    try:
        text = given if given.lstrip().startswith("{") else Path(given).read_text("utf-8")
        config = json.loads(text)
    except OSError as error:
        raise bad_usage(f"cannot read {given}: {error.strerror}", option) from error
    except (ValueError, RecursionError) as error:
        raise bad_usage(f"not JSON: {error}", option) from error
    if not isinstance(config, dict):
        raise bad_usage("a configuration is a JSON object", option)
    return config
