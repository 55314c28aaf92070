"""What the fold keeps for whoever looks (curves, slices), as text in the core segment.

A version that does not know it passes it over and writes its own checkpoints without it; one that
does begins anew where it is missing. So versions with and without it follow one model side by side,
and what replicas must agree on (`Model.agreed_digest`) leaves it out.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftrl_core.curves import Curves

if TYPE_CHECKING:
    from ftrl_core.model import Model


def observed_bytes(model: Model) -> dict[str, bytes]:
    """Each part that is not empty, by its name."""
    parts = {"curves": model.metrics.curves.to_bytes(), "slices": model.slices.to_bytes()}
    return {name: content for name, content in parts.items() if content}


def observed_text(model: Model) -> dict[str, str]:
    """The same as base64: packing it would take longer than writing it, with the fold paused."""
    return {name: _packed(content) for name, content in observed_bytes(model).items()}


def load_observed(model: Model, text: Mapping[str, Any]) -> None:
    """Take over what `observed_text` gave. Raises ValueError, TypeError."""
    if not isinstance(text, Mapping):
        raise TypeError("what was observed is no object")
    model.metrics.curves = Curves.from_bytes(_unpacked(text.get("curves", "")))
    model.slices.load(_unpacked(text.get("slices", "")))


def _packed(content: bytes) -> str:
    return binascii.b2a_base64(content, newline=False).decode()


def _unpacked(text: str) -> bytes:
    return binascii.a2b_base64(text) if text else b""
