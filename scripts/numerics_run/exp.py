"""exp and sigmoid beside the correctly rounded float32 result, for every float32 there is.

Ours are float64 inside, so their float32 results differ from the correctly rounded ones only where
the true value is nearly halfway between two float32: the kernel below compares with the C library's
exp (at most 1 ulp of float64 off), and sets aside every argument whose value is within NEAR ulps of
float64 of a halfway point. Those few are settled in decimal arithmetic of 40 digits.

Ranges: exp over all float32 whose exponential is a finite float32 above 0, denormal results
included; sigmoid over [-15, 15], which the fold's clamp never leaves. Every bit pattern in the
range is tried, 4.5 thousand million in all; `stride` thins them for tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext

import numpy as np
import numpy.typing as npt

from ftrl_core import numbers
from ftrl_core.bits import bits_of_f32, bits_of_f64, f32_of_bits
from ftrl_core.jit import kernel

U32 = npt.NDArray[np.uint32]

EXP_LOW, EXP_HIGH = -103.9, 88.7228  # beyond them the result is 0 or infinite in float32
SIGMOID_BOUND = 15.0
NEAR = 8  # ulps of float64 around a halfway point that are settled in decimal
CHUNK = 1 << 24
SIGN = 0x80000000
DENORMAL = np.float32(2.0**-126)
EXP, SIGMOID = range(2)


@kernel
def is_near_halfway(value: float, narrow: np.float32) -> bool:
    """Whether value is so close to halfway between two float32 that float64 cannot tell."""
    if narrow < DENORMAL:  # its last bit is 2^-149, not the 24th of the value
        remainder = abs(value - np.float64(narrow)) * 2.0**149
        return bool(abs(remainder - 0.5) < 1e-6)
    low = bits_of_f64(value) & np.uint64(0x1FFFFFFF)
    return bool(abs(np.int64(low) - np.int64(0x10000000)) <= NEAR)


@kernel
def compare(function: int, first: int, count: int, stride: int, near: U32) -> tuple[int, int]:
    """Compare at the bit patterns first, first + stride, ...; function is EXP or SIGMOID.

    Returns the most ulps of float32 that ours is off, and how many arguments it left in near.
    """
    worst = np.int64(0)
    found = 0
    for i in range(count):
        x = np.float64(f32_of_bits(np.uint32(first + i * stride)))
        if function == EXP:
            true, ours = math.exp(x), np.float32(numbers.exp(x))
        else:
            true, ours = 1.0 / (1.0 + math.exp(-x)), np.float32(numbers.sigmoid(x))
        narrow = np.float32(true)
        if is_near_halfway(true, narrow):
            near[found] = np.uint32(first + i * stride)
            found += 1
        else:
            off = np.int64(bits_of_f32(ours)) - np.int64(bits_of_f32(narrow))
            worst = max(worst, abs(off))
    return int(worst), found


def correctly_rounded(value: Decimal) -> float:
    """The float32 nearest to a number above 0 that is no tie, from three candidates."""
    middle = np.float32(float(value))
    around = (np.nextafter(middle, np.float32(0)), middle, np.nextafter(middle, np.float32(np.inf)))
    return float(min(around, key=lambda c: abs(Decimal(float(c)) - value)))


def settle(function: int, bits: U32) -> list[int]:
    """For arguments near halfway: how many ulps of float32 ours is off, each."""
    off = []
    with localcontext() as context:
        context.prec = 60
        for x in bits.view(np.float32).tolist():
            power = Decimal(x).exp()
            true = power if function == EXP else power / (1 + power)
            compute = numbers.exp if function == EXP else numbers.sigmoid
            ours, nearest = np.float32(compute(x)), np.float32(correctly_rounded(true))
            off.append(abs(int(ours.view(np.int32)) - int(nearest.view(np.int32))))
    return off


@dataclass(frozen=True, slots=True)
class Figures:
    """Arguments tried, the most ulps of float32 off, how many off at all, how many settled."""

    tried: int
    worst: int
    off: int
    settled: int


def float_bits(x: float) -> int:
    """The bit pattern of a float32."""
    return int(np.float32(x).view(np.uint32))


def measure(function: int, stride: int = 1) -> Figures:
    """All float32 of the range of EXP or SIGMOID, every stride-th bit pattern of them."""
    ranges = {EXP: (EXP_LOW, EXP_HIGH), SIGMOID: (-SIGMOID_BOUND, SIGMOID_BOUND)}
    low, high = ranges[function]
    near = np.empty(CHUNK, np.uint32)
    tried = worst = 0
    undecided: list[U32] = []
    for begin, end in ((0, float_bits(high)), (SIGN, float_bits(low))):
        for first in range(begin, end + 1, CHUNK * stride):
            count = min(CHUNK, (end - first) // stride + 1)
            off, found = compare(function, first, count, stride, near)
            tried, worst = tried + count, max(worst, off)
            undecided.append(near[:found].copy())
    settled = settle(function, np.concatenate(undecided))
    return Figures(tried, max(worst, *settled, 0), sum(o > 0 for o in settled), len(settled))


def report() -> bool:
    """Print the figures; whether none is more than 1 ulp off."""
    holds = True
    for function, name in ((EXP, "exp"), (SIGMOID, "sigmoid")):
        f = measure(function)
        holds &= f.worst <= 1
        print(f"{name}: {f.tried} float32 tried, at most {f.worst} ulp off the correctly rounded")
        print(f"  {f.settled} near halfway were settled in decimal; {f.off} of them are off")
    return holds
