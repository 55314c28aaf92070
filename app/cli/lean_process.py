"""What makes a process that folds one log quick from its start to its end.

`keep_memory`    glibc gives freed memory back to the system as soon as there is some, and gets it
                 again a millisecond later, page by page: half a second for three million examples.
`without_scipy`  Where SciPy is installed, Numba imports it before the first kernel runs, to have
                 linear algebra that no kernel here uses: a tenth of a second or more.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 1 << 30
_MMAP_BYTES = 32 << 20  # the most that glibc takes


def keep_memory() -> None:
    """Keep freed memory for the next chunk, where the C library can be told so."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)


@contextmanager
def without_scipy() -> Iterator[None]:
    """Nobody finds SciPy in here, unless it is imported already."""
    if "scipy" in sys.modules:
        yield
        return
    sys.modules["scipy"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["scipy"]
