"""Bits and bytes as numbers, each as one machine instruction, for use inside kernels.

Numba indexes an array of bytes one byte at a time, and LLVM does not always join eight such reads:
XXH64 over joined reads is almost five times faster. Numba also has no bit pattern of a scalar.
Every supported machine (x86-64, AArch64) is little-endian and allows unaligned loads; importing
this module on another one fails.

These are Numba intrinsics: type-inferred code generators, callable from kernels only.
"""

from __future__ import annotations

import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if sys.byteorder != "little":
    raise ImportError("Clickfold needs a little-endian machine")


def _loader(bits: int, result: Any, buf: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        address = builder.gep(array.data, [args[1]])
        load = builder.load(builder.bitcast(address, ir.IntType(bits).as_pointer()))
        load.align = 1
        return load

    if isinstance(buf, types.Array) and buf.dtype == types.uint8 and buf.layout == "C":
        return result(buf, types.intp), generate
    return None


def _bitcast(source: Any, result: Any, pattern: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], pattern)

    return result(source), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_u64(typingctx: Any, buf: Any, index: Any) -> Any:
    """The eight bytes buf[index:index + 8] as uint64; the caller knows that they exist."""
    return _loader(64, types.uint64, buf)


@intrinsic  # type: ignore[untyped-decorator]
def load_u32(typingctx: Any, buf: Any, index: Any) -> Any:
    """The four bytes buf[index:index + 4] as uint32; the caller knows that they exist."""
    return _loader(32, types.uint32, buf)


@intrinsic  # type: ignore[untyped-decorator]
def bits_of_f32(typingctx: Any, x: Any) -> Any:
    """The bit pattern of a float32 as uint32."""
    return _bitcast(types.float32, types.uint32, ir.IntType(32))


@intrinsic  # type: ignore[untyped-decorator]
def f32_of_bits(typingctx: Any, bits: Any) -> Any:
    """The float32 of a bit pattern given as uint32."""
    return _bitcast(types.uint32, types.float32, ir.FloatType())


@intrinsic  # type: ignore[untyped-decorator]
def bits_of_f64(typingctx: Any, x: Any) -> Any:
    """The bit pattern of a float64 as uint64."""
    return _bitcast(types.float64, types.uint64, ir.IntType(64))


@intrinsic  # type: ignore[untyped-decorator]
def f64_of_bits(typingctx: Any, bits: Any) -> Any:
    """The float64 of a bit pattern given as uint64."""
    return _bitcast(types.uint64, types.float64, ir.DoubleType())
