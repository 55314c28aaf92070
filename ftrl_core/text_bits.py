"""Marks of 64 bytes of text at once, for use inside kernels.

    buf      |ad a9 b:2\\n...      from some position on
    marks    1..1..1.1.1          bit i: byte i is one of those looked for

Searching for one end after the other makes each search wait for the one before it: that is most of
a parser's time. With marks the ends come out of a register, a few cycles apart.

The compiler makes compare and move-mask instructions of this where the processor has them. These
are Numba intrinsics: type-inferred code generators, callable from kernels only.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

MARKED_BYTES = 64


def _marks(below: int, characters: str, buf: Any) -> Any:
    """Code for the marks of bytes less than `below` and of `characters`."""
    width = ir.VectorType(ir.IntType(8), MARKED_BYTES)

    def constant(byte: int) -> Any:
        return ir.Constant(width, [byte] * MARKED_BYTES)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        address = builder.gep(array.data, [args[1]])
        text = builder.load(builder.bitcast(address, width.as_pointer()))
        text.align = 1
        found = builder.icmp_unsigned("<", text, constant(below))
        for character in characters:
            same = builder.icmp_unsigned("==", text, constant(ord(character)))
            found = builder.or_(found, same)
        return builder.bitcast(found, ir.IntType(MARKED_BYTES))

    if isinstance(buf, types.Array) and buf.dtype == types.uint8 and buf.layout == "C":
        return types.uint64(buf, types.intp), generate
    return None


@intrinsic  # type: ignore[untyped-decorator]
def word_marks(typingctx: Any, buf: Any, index: Any) -> Any:
    """Bit i is set where buf[index + i] ends a word of Vowpal Wabbit text, or is =.

    That is a control character, a blank, : or |. The caller knows that 64 bytes exist.
    """
    return _marks(33, ":|=", buf)


@intrinsic  # type: ignore[untyped-decorator]
def cell_marks(typingctx: Any, buf: Any, index: Any) -> Any:
    """Bit i is set where buf[index + i] is a comma or below 14, where tab and line ends are."""
    return _marks(14, ",", buf)


@intrinsic  # type: ignore[untyped-decorator]
def line_feed_marks(typingctx: Any, buf: Any, index: Any) -> Any:
    """Bit i is set where buf[index + i] is a line feed."""
    return _marks(0, "\n", buf)


@intrinsic  # type: ignore[untyped-decorator]
def comma_marks(typingctx: Any, buf: Any, index: Any) -> Any:
    """Bit i is set where buf[index + i] is a comma."""
    return _marks(0, ",", buf)


@intrinsic  # type: ignore[untyped-decorator]
def first_mark(typingctx: Any, marks: Any) -> Any:
    """Number of the lowest bit of the uint64 that is set, as intp; one is set."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def count_marks(typingctx: Any, marks: Any) -> Any:
    """How many bits of the uint64 are set, as intp."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.intp(types.uint64), generate
