"""Strings in JSON text to hashes, inside a kernel, without a copy where nothing is escaped.

Almost every string is plain, and is hashed where it stands. One with escapes (every `\\u00e9` of
a client that writes ASCII only) is written out into a scratch buffer first and hashed there: common
enough outside English that it must not leave the kernel. What the kernel is not sure of (too long,
a surrogate without its partner, a control character) is the caller's to decide in Python.

The text is the inside of a document that a JSON parser has accepted and that is valid UTF-8, so
bytes above 127 are taken as they are. The buffer must hold SPARE_BYTES beyond the last string: its
end is searched eight bytes at a time (Mycroft's test for a zero byte).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.bits import load_u32, load_u64
from ftrl_core.hashing import rotate_left_32
from ftrl_core.jit import kernel
from ftrl_core.json_bits import first_marked_byte, inlined

Bytes = npt.NDArray[np.uint8]

SPARE_BYTES = 8  # of the buffer, after the last string

_ONES = np.uint64(0x0101010101010101)
_TOPS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)


@inlined
def _quote_or_backslash(buf: Bytes, pos: int, end: int) -> int:
    """Position of the first quote or backslash from pos on; `end` or later where there is none."""
    while pos < end:
        word = load_u64(buf, pos)
        quotes = word ^ _QUOTES
        slashes = word ^ _BACKSLASHES
        found = (((quotes - _ONES) & ~quotes) | ((slashes - _ONES) & ~slashes)) & _TOPS
        if found:
            skipped: int = first_marked_byte(found)
            return pos + skipped
        pos += 8
    return end


@kernel
def _hex_digit(c: int) -> int:
    if c <= 57:
        return c - 48
    return (c | 32) - 87


@kernel
def _unit(buf: Bytes, pos: int, end: int) -> int:
    """The UTF-16 unit of the four hexadecimal digits at pos, or -1 beyond the end."""
    if pos + 4 > end:
        return -1
    unit = 0
    for i in range(pos, pos + 4):
        unit = unit * 16 + _hex_digit(int(np.int64(buf[i])))
    return unit


@kernel
def _escaped_code(buf: Bytes, pos: int, end: int) -> tuple[int, int]:
    """The escape whose letter is at pos: (position after it, code point); code -1 where unsure."""
    letter = buf[pos]
    if letter == 117:  # u
        code = _unit(buf, pos + 1, end)
        pos += 5
        if 0xD800 <= code < 0xDC00 and pos + 6 <= end and buf[pos] == 92 and buf[pos + 1] == 117:
            low = _unit(buf, pos + 2, end)
            if not 0xDC00 <= low < 0xE000:
                return pos, -1
            return pos + 6, 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        return pos, -1 if 0xD800 <= code < 0xE000 else code
    code = int(np.int64(letter))
    if letter == 110:  # n
        code = 10
    elif letter == 116:  # t
        code = 9
    elif letter == 114:  # r
        code = 13
    elif letter == 98:  # b
        code = 8
    elif letter == 102:  # f
        code = 12
    return pos + 1, code  # the others (quote, backslash, slash) stand for themselves


@kernel
def _write_utf8(out: Bytes, at: int, code: int) -> int:
    """Write the code point from `at` on; the position after it."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | (code >> 6)
        out[at + 1] = 0x80 | (code & 0x3F)
        return at + 2
    if code < 0x10000:
        out[at] = 0xE0 | (code >> 12)
        out[at + 1] = 0x80 | ((code >> 6) & 0x3F)
        out[at + 2] = 0x80 | (code & 0x3F)
        return at + 3
    out[at] = 0xF0 | (code >> 18)
    out[at + 1] = 0x80 | ((code >> 12) & 0x3F)
    out[at + 2] = 0x80 | ((code >> 6) & 0x3F)
    out[at + 3] = 0x80 | (code & 0x3F)
    return at + 4


@kernel
def _unescape(buf: Bytes, pos: int, end: int, limit: int, out: Bytes) -> tuple[int, int]:
    """Write out the string whose text begins at pos: (position of its quote, bytes written).

    (-1, 0) where unsure or longer than `limit`; `out` has room for limit + SPARE_BYTES bytes.
    """
    at = 0
    while pos < end and at <= limit:
        c = buf[pos]
        if c == 34:
            return pos, at
        if c != 92:
            out[at] = c
            at += 1
            pos += 1
            continue
        if pos + 1 >= end:
            break
        pos, code = _escaped_code(buf, pos + 1, end)
        if code < 0:
            break
        at = _write_utf8(out, at, code)
    return -1, 0


@inlined
def murmur3_32_spare(buf: Bytes, start: int, end: int, seed: np.uint32) -> np.uint32:
    """hashing.murmur3_32_kernel of buf[start:end], reading up to three bytes beyond `end`.

    Without a loop over the last bytes, whose number is different for every string, it takes half
    the time on short ones.
    """
    c1 = np.uint32(0xCC9E2D51)
    c2 = np.uint32(0x1B873593)
    h = np.uint32(seed)
    i = start
    while i + 4 <= end:
        k = np.uint32(load_u32(buf, i) * c1)
        k = np.uint32(rotate_left_32(k, 15) * c2)
        h = np.uint32(rotate_left_32(np.uint32(h ^ k), 13) * np.uint32(5) + np.uint32(0xE6546B64))
        i += 4
    tail_bits = np.uint32(8) * np.uint32(end - i)
    tail = load_u32(buf, i) & np.uint32((np.uint32(1) << tail_bits) - np.uint32(1))
    h ^= np.uint32(rotate_left_32(np.uint32(tail * c1), 15) * c2)  # of no bytes this is zero
    h ^= np.uint32(end - start)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@inlined
def hash_string(
    buf: Bytes, pos: int, end: int, seed: np.uint32, limit: int, scratch: Bytes
) -> tuple[int, np.uint32]:
    """The string whose opening quote is at pos: (position after its closing quote, hash of it).

    The hash is murmur3_32 of its UTF-8 bytes. (-1, 0) where unsure or longer than `limit` bytes;
    `scratch` has room for limit + SPARE_BYTES bytes.
    """
    start = pos + 1
    close = _quote_or_backslash(buf, start, end)
    if close >= end:
        return -1, np.uint32(0)
    if buf[close] == 34:
        if close - start > limit:
            return -1, np.uint32(0)
        return close + 1, murmur3_32_spare(buf, start, close, seed)
    close, length = _unescape(buf, start, end, limit, scratch)
    if close < 0 or length > limit:
        return -1, np.uint32(0)
    return close + 1, murmur3_32_spare(scratch, 0, length, seed)
