"""A vector of float32, one number for each lane, as a value inside kernels.

A model that learns with four rates does the same arithmetic on four numbers that lie side by side
in a slot's record. LLVM does not join them by itself (it cannot know that the arrays do not
overlap), and scalar code takes 3.9 times the time of one lane. Here the join is said outright: a
type of Numba whose value is an LLVM vector, so that + - * / and the functions below are one machine
instruction for all lanes, each lane rounded by IEEE 754 exactly as a scalar would be. With one lane
the same source compiles to scalar code.

How many lanes is part of the type. It comes from a tuple, whose length Numba knows when it
compiles: `load(lanes, array, index)` and `spread(lanes, number)` make vectors of len(lanes).
These are for kernels only; a vector never leaves compiled code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

FLOAT, INT = ir.FloatType(), ir.IntType(32)


class F32Vector(types.Type):  # type: ignore[misc]
    """Numba's type of a vector of `count` float32."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"F32Vector({count})")


@register_model(F32Vector)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: F32Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(FLOAT, vector.count))


def _broadcast(builder: Any, value: Any, kind: Any, count: int) -> Any:
    result = ir.Constant(ir.VectorType(kind, count), ir.Undefined)
    for lane in range(count):
        result = builder.insert_element(result, value, ir.Constant(INT, lane))
    return result


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, of: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), of.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def load(typingctx: Any, lanes: Any, array: Any, index: Any) -> Any:
    """The vector array[index:index + len(lanes)] of a float32 array; the caller knows it exists."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        of = ir.VectorType(FLOAT, len(lanes))
        read = builder.load(_address(context, builder, array, args[1], args[2], of))
        read.align = 4
        return read

    return F32Vector(len(lanes))(lanes, array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def store(typingctx: Any, array: Any, index: Any, vector: Any) -> Any:
    """array[index:index + lanes] = vector, in place; the caller knows that it exists."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        of = args[2].type
        write = builder.store(args[2], _address(context, builder, array, args[0], args[1], of))
        write.align = 4
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), generate


@intrinsic  # type: ignore[untyped-decorator]
def spread(typingctx: Any, lanes: Any, number: Any) -> Any:
    """A vector with the float32 `number` in every lane."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _broadcast(builder, args[1], FLOAT, len(lanes))

    return F32Vector(len(lanes))(lanes, types.float32), generate


def _binary(name: str) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def operation(typingctx: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, name)(*args)

        return a(a, a), generate

    return operation


_add, _sub, _mul, _div = (_binary(name) for name in ("fadd", "fsub", "fmul", "fdiv"))


def _overloaded(python: Callable[..., Any], operation: Any) -> None:
    def compiled(a: Any, b: Any) -> Any:
        return operation(a, b)

    @overload(python)  # type: ignore[untyped-decorator]
    def typed(a: Any, b: Any) -> Any:
        return compiled if isinstance(a, F32Vector) and a == b else None


_overloaded(operator.add, _add)
_overloaded(operator.sub, _sub)
_overloaded(operator.mul, _mul)
_overloaded(operator.truediv, _div)


def _chosen(comparison: str) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def operation(typingctx: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, *args), *args)

        return a(a, a), generate

    return operation


least = _chosen("<")  # lane by lane; of equal numbers the second
greatest = _chosen(">")


def _unary(instruction: str) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def operation(typingctx: Any, a: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            of = args[0].type
            kind = ir.FunctionType(of, [of])
            name = f"{instruction}.v{of.count}f32"
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

        return a(a), generate

    return operation


root = _unary("llvm.sqrt")  # exactly rounded, as IEEE 754 wants
magnitude = _unary("llvm.fabs")


@intrinsic  # type: ignore[untyped-decorator]
def neighbour(typingctx: Any, numbers: Any, towards: Any) -> Any:
    """The next float32 above each of `numbers` (all > 0) where towards > 0, else the one below."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.VectorType(INT, numbers.count)
        up = builder.fcmp_ordered(">", args[1], ir.Constant(args[1].type, None))
        steps = builder.select(up, *(ir.Constant(whole, [s] * numbers.count) for s in (1, -1)))
        return builder.bitcast(builder.add(builder.bitcast(args[0], whole), steps), args[0].type)

    return numbers(numbers, numbers), generate


@intrinsic  # type: ignore[untyped-decorator]
def where_greater(typingctx: Any, a: Any, b: Any, then: Any, otherwise: Any) -> Any:
    """Lane by lane: then where a > b, else otherwise."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return a(a, a, a, a), generate


@intrinsic  # type: ignore[untyped-decorator]
def alternate(typingctx: Any, even: Any, odd: Any) -> Any:
    """The even lanes of one vector and the odd lanes of another."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        chosen = [lane + even.count * (lane & 1) for lane in range(even.count)]
        return builder.shuffle_vector(*args, ir.Constant(ir.VectorType(INT, even.count), chosen))

    return even(even, even), generate


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Have the cache line of array[index] brought near, to be changed soon; a hint only."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = _address(context, builder, array, args[0], args[1], ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [at.type, INT, INT, INT])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(hint, [at, *(ir.Constant(INT, n) for n in (1, 3, 1))])
        return context.get_dummy_value()

    return types.none(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def same(typingctx: Any, a: Any, b: Any) -> Any:
    """Whether two vectors are equal in every bit."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = ir.IntType(32 * a.count)
        return builder.icmp_unsigned("==", *(builder.bitcast(arg, whole) for arg in args))

    return types.boolean(a, a), generate


def _shuffled(places: Callable[[int, int], list[int]]) -> Any:
    """An intrinsic (lanes, a, b) that picks numbers of a and b, numbered through.

    `places` tells which, from the length of a vector and the number of lanes.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def operation(typingctx: Any, lanes: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            mask = ir.Constant(ir.VectorType(INT, a.count), places(a.count, len(lanes)))
            return builder.shuffle_vector(args[1], args[2], mask)

        return a(lanes, a, a), generate

    return operation


# Records of z and n, `lanes` of each in turn, taken apart and put together again: of the 2 * count
# numbers in vectors a and b all z, all n; and of vectors z and n the first and the second half.
all_z = _shuffled(lambda count, w: [e // w * 2 * w + e % w for e in range(count)])
all_n = _shuffled(lambda count, w: [e // w * 2 * w + e % w + w for e in range(count)])


def _woven(e: int, count: int, w: int) -> int:
    record, cell = divmod(e, 2 * w)
    return record * w + cell if cell < w else count + record * w + cell - w


first_records = _shuffled(lambda count, w: [_woven(e, count, w) for e in range(count)])
last_records = _shuffled(lambda count, w: [_woven(e + count, count, w) for e in range(count)])
