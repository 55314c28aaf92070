"""Where tables in memory put what clients choose, so that nobody can crowd one place.

A table of open addressing finds a key in a probe or two while keys are spread. Ids, names and rows
come from clients, and one who knew where each of them goes could send those that share a place:
each look-up would then walk over all of them, and ten thousand ids stop a fold for seconds. So the
places depend on a secret of the process, which the shell draws (`keep_apart`).

No result depends on where something is found, so replicas agree whatever their secrets: the tables
are derived, and in no checkpoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ftrl_core.jit import inner_kernel

Secret = tuple[int, int, int]  # below 2^63: Numba takes them for int64, and cheaply
SECRET_BYTES = 24

_HALF = np.uint64(32)
_MASK = (1 << 63) - 1
_secret: Secret = (0, 0x3F58476D1CE4E5B9, 0x1E3779B97F4A7C15)


def keep_apart(secret: bytes) -> None:
    """Use these SECRET_BYTES, which nobody outside knows, for every table made from now on."""
    global _secret
    first, second, third = (n & _MASK for n in np.frombuffer(secret, np.uint64, 3).tolist())
    _secret = first, second | 1, third | 1


def current_secret() -> Secret:
    """The secret for a new table, which keeps it: to be handed to `home`."""
    return _secret


@inner_kernel
def home_of_32(key: np.uint32, size: int, secret: Secret) -> Any:
    """The same of a key of 32 bits: one multiplication by a secret number is enough to spread
    whatever was chosen without knowing it (Dietzfelbinger et al. 1997)."""
    x = (np.uint64(key) ^ np.uint64(secret[0])) * np.uint64(secret[1])
    return np.int64((x >> _HALF) & np.uint64(size - 1))


@inner_kernel
def home(key: np.uint64, size: int, secret: Secret) -> Any:
    """The place where the search for a key begins, in a table of `size` places, a power of two."""
    x = (key ^ np.uint64(secret[0])) * np.uint64(secret[1])
    x = (x ^ (x >> _HALF)) * np.uint64(secret[2])
    return np.int64((x >> _HALF) & np.uint64(size - 1))
