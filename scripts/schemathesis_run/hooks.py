"""How schemathesis writes bodies of the media types that are ours."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """Text as it is."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
