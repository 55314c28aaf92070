"""MessagePack to JSON text, with nothing lost and nothing added.

Every pair of a map is written, in order, so that a name that comes twice is there twice; NaN and
infinity become a number that is out of range, which the rules of JSON examples then refuse where it
stands. What JSON does not have (binary data, extensions, keys that are no strings) is BadBody.

A reader of its own, because msgspec makes a dictionary of a map, and the last of two equal names
would win. It is slow, and meant for what `msgpack` is not sure of.
"""

from __future__ import annotations

import json
import math
import struct
from typing import NoReturn

from ftrl_core.errors import BadBody

_DEPTH_MAX = 32
_OUT_OF_RANGE = "1e999"
# First byte: struct code and bytes of a number, or of the length of what follows.
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_STRINGS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_ARRAYS = {0xDC: ">H", 0xDD: ">I"}
_MAPS = {0xDE: ">H", 0xDF: ">I"}
_CONSTANTS = {0xC0: "null", 0xC2: "false", 0xC3: "true"}


def json_of_msgpack(body: bytes) -> bytes:
    """The JSON text of a MessagePack document; raises BadBody."""
    reader = _Reader(body)
    reader.value(0)
    if reader.at != len(body):
        raise BadBody("the body goes on after its MessagePack document")
    return "".join(reader.out).encode()


class _Reader:
    """Goes through the document once and writes as it reads."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.at = 0
        self.out: list[str] = []

    def value(self, depth: int) -> None:
        """One value and all that is in it."""
        if depth > _DEPTH_MAX:
            raise BadBody("the body is nested too deeply")
        first = self._take(1)[0]
        if first in _CONSTANTS:
            self.out.append(_CONSTANTS[first])
        elif first <= 0x7F or first >= 0xE0:
            self.out.append(str(first if first <= 0x7F else first - 256))
        elif first in _NUMBERS:
            self._number(self._unpack(_NUMBERS[first]))
        elif (length := self._length(first, 0xA0, 0xBF, _STRINGS)) is not None:
            self._string(length)
        elif (length := self._length(first, 0x90, 0x9F, _ARRAYS)) is not None:
            self._array(length, depth)
        elif (length := self._length(first, 0x80, 0x8F, _MAPS)) is not None:
            self._map(length, depth)
        else:
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise BadBody("the body has binary data or extensions, which examples have no use for")

    def _take(self, size: int) -> bytes:
        if self.at + size > len(self._body):
            raise BadBody("the body ends within its MessagePack document")
        taken = self._body[self.at : self.at + size]
        self.at += size
        return taken

    def _unpack(self, code: str) -> int | float:
        number: int | float = struct.unpack(code, self._take(struct.calcsize(code)))[0]
        return number

    def _length(self, first: int, low: int, high: int, codes: dict[int, str]) -> int | None:
        if low <= first <= high:
            return first - low
        return int(self._unpack(codes[first])) if first in codes else None

    def _number(self, number: float) -> None:
        finite = isinstance(number, int) or math.isfinite(number)
        self.out.append(repr(number) if finite else _OUT_OF_RANGE)

    def _string(self, length: int) -> None:
        try:
            text = self._take(length).decode()
        except UnicodeDecodeError:
            raise BadBody("the body is not valid UTF-8") from None
        self.out.append(json.dumps(text, ensure_ascii=False))

    def _array(self, length: int, depth: int) -> None:
        self.out.append("[")
        for i in range(length):
            if i:
                self.out.append(",")
            self.value(depth + 1)
        self.out.append("]")

    def _map(self, length: int, depth: int) -> None:
        self.out.append("{")
        for i in range(length):
            if i:
                self.out.append(",")
            first = self._take(1)[0]
            size = self._length(first, 0xA0, 0xBF, _STRINGS)
            if size is None:
                raise BadBody("a key of a map is not a string")
            self._string(size)
            self.out.append(":")
            self.value(depth + 1)
        self.out.append("}")
