"""The intrinsics of the core as plain Python, so that kernels run uncompiled, every index checked.

With NUMBA_DISABLE_JIT=1 a kernel is the function that was written, but an intrinsic is only code
for a compiler. These stand in, and stricter: compiled code reads beyond an array without a word,
and NumPy takes a negative index from the end. Here both are IndexErrors. `install` has to come
before anything of the core is imported.

Numba computes with bytes in 64 bits and NumPy in 8, so a byte that is read is an int here.
"""

from __future__ import annotations

import struct
import sys
from types import ModuleType
from typing import Any

import numba
import numpy as np

_WORD = 64


class Checked(np.ndarray[Any, Any]):
    """An array of one dimension whose elements are there, or an IndexError."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer) and not 0 <= key < self.shape[0]:
            raise IndexError(f"read at {key} of {self.shape[0]}")
        found = super().__getitem__(key)
        return int(found) if isinstance(found, np.uint8) else found

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, int | np.integer) and not 0 <= key < self.shape[0]:
            raise IndexError(f"written at {key} of {self.shape[0]}")
        super().__setitem__(key, value)


def borrowed(array: Any) -> Any:
    """The same array, checked."""
    return array.view(Checked)


def _bytes(buf: Any, index: Any, count: int) -> bytes:
    if not 0 <= index <= buf.shape[0] - count:
        raise IndexError(f"{count} bytes read at {index} of {buf.shape[0]}")
    return np.asarray(buf)[index : index + count].tobytes()


def _marks(buf: Any, index: Any, below: int, characters: bytes) -> Any:
    text = _bytes(buf, index, _WORD)
    found = 0
    for place, byte in enumerate(text):
        if byte < below or byte in characters:
            found |= 1 << place
    return np.uint64(found)


def _lowest_bit(word: Any) -> int:
    number = int(word)
    assert number, "the lowest bit of nothing"
    return (number & -number).bit_length() - 1


def _pattern(source: str, target: str, result: Any) -> Any:
    return lambda x: result(struct.unpack(target, struct.pack(source, x))[0])


def _inlined(function: Any) -> Any:
    return numba.njit(function)


_BITS: dict[str, Any] = {
    "load_u64": lambda buf, at: np.uint64(int.from_bytes(_bytes(buf, at, 8), "little")),
    "load_u32": lambda buf, at: np.uint32(int.from_bytes(_bytes(buf, at, 4), "little")),
    "bits_of_f32": _pattern("<f", "<I", np.uint32),
    "f32_of_bits": _pattern("<I", "<f", np.float32),
    "bits_of_f64": _pattern("<d", "<Q", np.uint64),
    "f64_of_bits": _pattern("<Q", "<d", np.float64),
}
_JSON_BITS: dict[str, Any] = {
    "inlined": _inlined,
    "borrowed": borrowed,
    "first_marked_byte": lambda word: _lowest_bit(word) // 8,
}
_TEXT_BITS: dict[str, Any] = {
    "MARKED_BYTES": _WORD,
    "word_marks": lambda buf, at: _marks(buf, at, 33, b":|="),
    "cell_marks": lambda buf, at: _marks(buf, at, 14, b","),
    "comma_marks": lambda buf, at: _marks(buf, at, 0, b","),
    "line_feed_marks": lambda buf, at: _marks(buf, at, 0, b"\n"),
    "first_mark": _lowest_bit,
    "count_marks": lambda marks: int(marks).bit_count(),
}


STAND_INS = {"bits": _BITS, "json_bits": _JSON_BITS, "text_bits": _TEXT_BITS}


def install() -> None:
    """Put the stand-ins in the places of the modules that they stand for."""
    if not numba.config.DISABLE_JIT:
        raise RuntimeError("NUMBA_DISABLE_JIT=1 is needed")
    assert "ftrl_core.hashing" not in sys.modules
    np.seterr(all="ignore")  # wrapping around is what hashes do
    for name, members in STAND_INS.items():
        module = ModuleType(f"ftrl_core.{name}")
        vars(module).update(members)
        sys.modules[module.__name__] = module
