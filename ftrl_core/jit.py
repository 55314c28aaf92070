"""The one way a kernel is compiled.

Serial, without the interpreter lock, cached on disk, and with plain IEEE arithmetic: no fast-math
(it permits reassociation, and replicas must agree bit for bit) and no parallel loops (a parallel
reduction has no fixed order). `error_model="numpy"` makes a division by zero a number rather than
an exception, so that a kernel has no hidden exits; the arithmetic in `kernels` never relies on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile `function` for arrays and scalars; callable from other kernels."""
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
    return cast(F, compiled)
