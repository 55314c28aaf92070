"""The configuration of `default` when it is made: JSON text, or the name of a file of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadConfig


def default_config(setting: str | None) -> dict[str, Any]:
    """What `--config` gives, checked; {} when it gives nothing. Raises BadConfig."""
    if setting is None:
        return {}
    text = setting if setting.lstrip().startswith("{") else _read(Path(setting))
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise BadConfig("config is not JSON: give an object, or a file that holds one") from None
    if not isinstance(content, dict):
        raise BadConfig("config must be a JSON object")
    ModelConfig.from_dict(content)
    return content


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"config: {path} cannot be read: {error}") from None
