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
_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": False,
}


def kernel(function: F) -> F:
    """Compile `function` for arrays and scalars; callable from other kernels."""
    return cast(F, numba.njit(**_OPTIONS)(function))


def inner_kernel(function: F) -> F:
    """The same for what is called in the innermost loops and makes no array itself.

    A kernel counts references of every array it is given, with an atomic instruction each, and
    LLVM cannot take these away where there is a branch: 25 of 40 ns a feature were spent on it.
    Here nothing is counted. The caller holds the arrays.

    It becomes part of its caller: an array is seven numbers to a call, and a call with fifteen
    arrays for every row cost 1 to 2.5 ns a feature. Compiling takes a sixth longer for it.
    """
    return cast(F, numba.njit(**_OPTIONS, _nrt=False, forceinline=True)(function))


def brief_kernel(function: F) -> F:
    """The same for what Python calls and takes microseconds: it keeps the interpreter lock.

    Who gives the lock away for so short a time may find it taken, and then waits a whole switch
    interval to get it back.
    """
    return cast(F, numba.njit(**{**_OPTIONS, "nogil": False})(function))
