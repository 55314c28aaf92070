"""What the fold keeps for whoever looks (curves, slices), as text in the core segment.

A version that does not know it passes it over and writes its own checkpoints without it; one that
does begins anew where it is missing. So versions with and without it follow one model side by side,
and what replicas must agree on (`Model.agreed_digest`) leaves it out.
"""

from __future__ import annotations

import binascii
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftrl_core.curves import Curves

if TYPE_CHECKING:
    from ftrl_core.model import Model

BYTES_MAX = 4 << 20  # of one part, unpacked


def observed_bytes(model: Model) -> dict[str, bytes]:
    """Each part that is not empty, by its name."""
    parts = {"curves": model.metrics.curves.to_bytes(), "slices": model.slices.to_bytes()}
    return {name: content for name, content in parts.items() if content}


def observed_text(model: Model) -> dict[str, str]:
    """The same, packed for JSON."""
    return {name: _packed(content) for name, content in observed_bytes(model).items()}


def load_observed(model: Model, text: Mapping[str, Any]) -> None:
    """Take over what `observed_text` gave. Raises ValueError, TypeError."""
    if not isinstance(text, Mapping):
        raise TypeError("what was observed is no object")
    model.metrics.curves = Curves.from_bytes(_unpacked(text.get("curves", "")))
    model.slices.load(_unpacked(text.get("slices", "")))


def _packed(content: bytes) -> str:
    return binascii.b2a_base64(zlib.compress(content, 1), newline=False).decode()


def _unpacked(text: str) -> bytes:
    if not text:
        return b""
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(binascii.a2b_base64(text), BYTES_MAX)
    except zlib.error as error:
        raise ValueError("what was observed cannot be unpacked") from error
    if not unpacking.eof:
        raise ValueError("what was observed is too large")
    return content
