"""A limit on everything a client can send, in one place.

The numbers are the promised defaults (API); the shell makes each a setting. Beyond a limit is
`TooLarge` for what costs memory or time (bytes, examples, features) and `BadExample` for what is
merely out of range (a value, a weight).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request; sizes in bytes, counts in items."""

    body_bytes: int = 32 << 20
    decompressed_bytes: int = 128 << 20
    examples: int = 10_000
    features: int = 4096  # of one example, before equal ones are merged
    request_features: int = 4 << 20  # of one request, before equal ones are merged
    name_bytes: int = 256
    value_bytes: int = 1024
    abs_value: float = 1e7
    weight: float = 1e6
    id_chars: int = 128
