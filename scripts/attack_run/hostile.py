"""The words that parsers stumble over, and damage to bytes: all drawn from one seeded source."""

from __future__ import annotations

import random

MARK = "QZXJ"  # stands in what is sent wherever a reply might repeat it

JSON_VALUES = (
    "0", "1", "-1", "2", "0.5", "1.0", "-0.0", "1e-400", "1e999", "-1e999", "1e7", "10000001",
    "1e38",
    "NaN", "Infinity", "-Infinity", "9" * 400, "0." + "0" * 400 + "1", "1e" + "9" * 30, "01", "+1",
    ".5", "1.", "0x10", "1_0", "true", "false", "null", '""', f'"{MARK}"', f'"{MARK}\\n"',
    '"\\ud800"',
    '"\\udc00\\ud800"', '"\\u0000"', '"\\ud83d\\ude00"', '"\\x"', '"\\u12"', '"1"', '"NaN"',
    "[]", "{}",
    "[[]]", "[{}]", '{"a":{}}', f'["{MARK}",1,true,null,false]', '"' + "x" * 129 + '"',
    '"' + "é" * 600 + '"', "18446744073709551615", "18446744073709551616", "-9223372036854775809",
    "[" * 60 + "]" * 60, '{"a":' * 60 + "1" + "}" * 60, "'a'", "None", "//", "/**/1", "",
)  # fmt: skip
TOKENS = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80\xa8", b"\r\n", b"\n", b"\t", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":",
    b"|", b"'",
    b"\x1b[31m", b"NaN", b"1e999", b"\\ud800", b"\\u0000", b"/", b"%2e%2e%2f", b"\x7f", b"\x80",
    b"\xd9\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc1", b"\xdf\xff\xff\xff\xff", b"\x1f\x8b\x08",
)  # fmt: skip
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1)


def damaged(draw: random.Random, body: bytes, others: list[bytes]) -> bytes:
    """The body after one to three mutations."""
    content = bytearray(body)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        _damage(draw, content, others)
    return bytes(content)


def _damage(draw: random.Random, content: bytearray, others: list[bytes]) -> None:
    size = len(content)
    at = draw.randrange(size + 1)
    upto = min(size, at + draw.choice((1, 2, 4, 8, 64)))
    match draw.randrange(9):
        case 0:
            del content[at:]
        case 1:
            del content[at:upto]
        case 2:
            content[at:at] = draw.choice(TOKENS)
        case 3:
            content[at:upto] = draw.choice(TOKENS)
        case 4 if at < size:
            content[at] ^= 1 << draw.randrange(8)
        case 5 if at < size:
            content[at] = draw.randrange(256)
        case 6:
            content[at:at] = content[at:upto] * draw.choice((1, 2, 50))
        case 7:  # a number of another width: lengths that lie
            width = draw.choice((1, 2, 4, 8))
            edge = draw.choice(_EDGES) & ((1 << 8 * width) - 1)
            content[at : at + width] = edge.to_bytes(width, draw.choice(("little", "big")))
        case _:
            other = draw.choice(others)
            cut = draw.randrange(len(other) + 1)
            content[at:] = other[cut:]
