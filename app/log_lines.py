"""What the service writes on standard error: one record, one line, whatever is in it.

    text   clickfold    3.1 s  ready: http://127.0.0.1:8000
           clickfold WARNING app.redis_condition: model ads: Redis is away: ...
             | Traceback (most recent call last): ...
    json   {"time": "2026-11-27T21:00:00.123Z", "level": "info", "logger": "clickfold",
            "message": "ready: http://127.0.0.1:8000"}

Text that came from elsewhere may hold newlines, escape sequences of a terminal, or half of a
surrogate pair: in both formats they are written as escapes, so that nobody can forge a line or
paint one over. Lines of a trace are marked. Keys, passwords and bodies are not hidden here: no
logger is ever given one.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Literal

Format = Literal["text", "json"]


def one_line(text: str) -> str:
    """The text with everything that is not printable escaped."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


class TextLines(logging.Formatter):
    """For a person."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and marked ones for a trace."""
        lines = [f"clickfold {record.levelname} {record.name}: {one_line(record.getMessage())}"]
        lines += [f"  | {one_line(line)}" for line in _trace(self, record)]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """For a machine."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        trace = _trace(self, record)
        more = {"trace": trace} if trace else {}
        level = record.levelname.lower()
        return json_line(record.created, level, record.name, record.getMessage(), **more)


def json_line(at: float, level: str, logger: str, message: str, **more: list[str]) -> str:
    """One JSON object; ASCII alone, so that every reader can decode it."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03}Z"
    record = {"time": moment, "level": level, "logger": logger, "message": message, **more}
    return json.dumps(record)


def configure(log_format: Format) -> None:
    """Send the records of every logger, from warnings up, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info:
        return []
    return formatter.formatException(record.exc_info).splitlines()
