"""Names of models and snapshots: one rule for both.

A name becomes part of a path in a URL, a folder, a file and a Redis key, so it may hold nothing
that any of the four reads specially: no separator, no brace, no space, no capital (some file
systems fold them), no leading dot (temporary files have one), nothing longer than 64 bytes.
"""

from __future__ import annotations

import re

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
NAME_RULE = "1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit"
DEFAULT_MODEL = "default"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_name(text: str) -> bool:
    """Whether `text` may name a model or a snapshot."""
    return _NAME.fullmatch(text) is not None
