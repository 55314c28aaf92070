"""What is sent over sockets, and what has to come back.

Every case is bytes, in the pieces in which they are written, and a verdict:

    good      whole requests in order: one reply each, in their order, the connection stays
    twins     the same request again and again: the first goes uvicorn's way, the others are
              answered from their head alone (app/direct_protocol.py), and all replies are equal
              but for the date
    broken    so many requests in order and then nonsense: a reply each, at most one refusal, and
              the end
    wild      anything: what comes back are replies, and the end follows when we have sent all
    left      the client goes without reading

Nonsense hides a request to the model `smuggled`, which nobody else teaches: if it has learned
anything at the end, somebody's body was taken for a request.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from scripts.attack_run.bodies import JSON, Bodies
from scripts.attack_run.requests import right_example
from scripts.attack_run.wire import chunked, in_chunks, request

Verdict = Literal["good", "twins", "broken", "wild", "left"]
HIDDEN = request("/models/smuggled/learn", b'{"label":1,"features":{"a":"b"}}')
EXAMPLE = b'{"features":{"ad":"a9","price":3.5}}'


@dataclass(frozen=True, slots=True)
class Case:
    """One exchange on a connection."""

    name: str
    verdict: Verdict
    pieces: tuple[bytes, ...]
    requests: int  # in order, each to be answered
    heads: frozenset[int] = field(default_factory=frozenset)  # which of them are HEAD
    slowly: bool = False  # a pause between the pieces
    first: bytes = b""  # a request that is answered before the others are sent

    @property
    def content(self) -> bytes:
        """All of it."""
        return self.first + b"".join(self.pieces)


def _smuggled(draw: random.Random) -> tuple[str, bytes]:
    """A request whose end two readers see in two places, or that no reader should accept."""
    n = len(HIDDEN)
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    te, cl = b"Transfer-Encoding: chunked\r\n", b"Content-Length: %d\r\n"
    end = b"\r\n0\r\n\r\n" + HIDDEN
    forms = {
        "length and chunks": head + cl % (n + 7) + te + end,
        "chunks and length": head + te + cl % 4 + b"\r\n1\r\n{\r\n0\r\n\r\n" + HIDDEN,
        "two lengths": head + cl % 0 + cl % n + b"\r\n" + HIDDEN,
        "lengths in one": head + b"Content-Length: 0, %d\r\n\r\n" % n + HIDDEN,
        "equal lengths": head + cl % n + cl % n + b"\r\n" + HIDDEN,
        "signed length": head + b"Content-Length: +0\r\n\r\n" + HIDDEN,
        "negative length": head + b"Content-Length: -1\r\n\r\n" + HIDDEN,
        "hexadecimal length": head + b"Content-Length: 0x0\r\n\r\n" + HIDDEN,
        "huge length": head + b"Content-Length: 99999999999999999999999\r\n\r\n" + HIDDEN,
        "length with a space": head + b"Content-Length : 0\r\n\r\n" + HIDDEN,
        "length folded": head + b"Content-Length:\r\n 0\r\n\r\n" + HIDDEN,
        "folded field": head + b"X: a\r\n b\r\n" + cl % 0 + b"\r\n" + HIDDEN,
        "unknown coding": head + b"Transfer-Encoding: xchunked\r\n" + end,
        "coding twice": head + te + b"Transfer-Encoding: identity\r\n" + end,
        "chunked not last": head + b"Transfer-Encoding: chunked, identity\r\n" + end,
        "coding with a tab": head + b"Transfer-Encoding:\tchunked\x0b\r\n" + cl % 0 + end,
        "coding and a nul": head + b"Transfer-Encoding: chun\x00ked\r\n" + end,
        "coding by a bare feed": head + b"X: y\nTransfer-Encoding: chunked\r\n" + cl % 0 + end,
        "bare return": head + b"X: y\rContent-Length: 0\r\n\r\n" + HIDDEN,
        "nul in a name": head + b"X\x00: y\r\n" + cl % 0 + b"\r\n" + HIDDEN,
        "nul in a value": head + b"X: \x00\r\n" + cl % 0 + b"\r\n" + HIDDEN,
        "no name": head + b": y\r\n" + cl % 0 + b"\r\n" + HIDDEN,
        "space in a name": head + b"X Y: z\r\n" + cl % 0 + b"\r\n" + HIDDEN,
        "no colon": head + b"nonsense\r\n" + cl % 0 + b"\r\n" + HIDDEN,
        "first line folded": b"POST /predict HTTP/1.1\r\n Host: x\r\n\r\n" + HIDDEN,
        "chunk size too large": chunked("/predict",
        b"ffffffffffffffffff\r\n{\r\n0\r\n\r\n") + HIDDEN,
        "chunk size no number": chunked("/predict", b"zz\r\n{\r\n0\r\n\r\n") + HIDDEN,
        "chunk size signed": chunked("/predict", b"-1\r\n{\r\n0\r\n\r\n") + HIDDEN,
        "chunk size 0x": chunked("/predict", b"0x1\r\n{\r\n0\r\n\r\n") + HIDDEN,
        "chunk size with a space": chunked("/predict", b" 1\r\n{\r\n0\r\n\r\n") + HIDDEN,
        "chunk without its end": chunked("/predict", b"1\r\n{}0\r\n\r\n") + HIDDEN,
        "chunk by bare feeds": chunked("/predict", b"1\n{\n0\n\n") + HIDDEN,
        "chunk longer than it says": chunked("/predict", b"1\r\n{{{\r\n0\r\n\r\n") + HIDDEN,
    }  # fmt: skip
    name = draw.choice(list(forms))
    return name, forms[name]


def _nonsense(draw: random.Random) -> tuple[str, bytes]:
    """What is no HTTP/1.1, or too much of it."""
    forms = {
        "http 0.9": b"GET /livez\r\n\r\n",
        "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
        "http 3.7": b"GET /livez HTTP/3.7\r\nHost: 127.0.0.1\r\n\r\n",
        "http 1.10": b"GET /livez HTTP/1.10\r\nHost: 127.0.0.1\r\n\r\n",
        "lower case": b"get /livez http/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
        "zeros": bytes(100),
        "nul in the target": b"GET /\x00livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "space in the target": b"GET /a b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "no target": b"GET  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "unknown method": b"QZXJ /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "long method": b"G" * 300 + b" /livez HTTP/1.1\r\n\r\n",
        "bare feeds": b"GET /livez HTTP/1.1\nHost: 127.0.0.1\n\n",
        "bytes in the target": b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "giant field": b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "
        + b"y" * 70_000
        + b"\r\n\r\n",
        "giant name": b"GET /livez HTTP/1.1\r\n" + b"y" * 70_000 + b": x\r\n\r\n",
        "giant target": b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "many fields": b"GET /livez HTTP/1.1\r\n" + b"X-Y: z\r\n" * 3000 + b"\r\n",
        "empty lines": b"\r\n" * 200,
        "redis": b"*1\r\n$8\r\nFLUSHALL\r\n",
    }
    name = draw.choice(list(forms))
    return name, forms[name]


class Cases:
    """An endless source of cases."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._bodies = Bodies(draw)
        self._number = 0

    def next(self) -> Case:
        """A case."""
        chance = self._draw.random()
        if chance < 0.3:
            return self._good()
        if chance < 0.6:
            return self._twins()
        if chance < 0.8:
            return self._broken()
        return self._wild() if chance < 0.98 else self._left()

    def _pieces(self, content: bytes) -> tuple[bytes, ...]:
        """Written at once, mostly."""
        draw = self._draw
        if draw.random() < 0.6 or len(content) < 2:
            return (content,)
        cuts = sorted(draw.randrange(1, len(content)) for _ in range(draw.randrange(1, 4)))
        return tuple(content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True))

    def _usual(self) -> tuple[bytes, bool]:
        """A request in order, and whether it is HEAD."""
        draw = self._draw
        self._number += 1
        body = draw.choice((EXAMPLE, self._bodies.right(JSON), right_example(self._number)))
        target = f"127.0.0.1/x{self._number}"
        forms: tuple[tuple[bytes, bool], ...] = (
            (request("/predict", body), False),
            (request("/learn", right_example(self._number)), False),
            (request("/models/other/learn", right_example(self._number)), False),
            (request("/predict", body), False),
            (request("/learn?predictions=false", right_example(self._number)), False),
            (request("/predict", body, b"X-Number: %d" % self._number), False),
            (chunked("/predict", in_chunks(body, 1 + draw.randrange(60))), False),
            (chunked("/predict", in_chunks(body, 9, b';a=b;c="d"')), False),
            (request("/livez", method=b"GET"), False),
            (request("/stats", method=b"GET"), False),
            (request("/livez", method=b"HEAD"), True),
            (request("/stats", method=b"HEAD"), True),
            (request("/learn", method=b"OPTIONS"), False),
            (request("*", method=b"OPTIONS"), False),
            (request("/learn", method=b"TRACE"), False),
            (request(f"http://{target}", method=b"GET"), False),
            (request("/nowhere", EXAMPLE), False),
            (request("/predict", EXAMPLE, b"Expect: 100-continue"), False),
            (request("/predict", EXAMPLE, b"Upgrade: h2c", b"HTTP2-Settings: AAAA"), False),
            (request("/predict", EXAMPLE, b"Connection: keep-alive"), False),
            (b"\r\n" + request("/livez", method=b"GET"), False),
        )
        return draw.choice(forms)

    def _good(self) -> Case:
        asked = [self._usual() for _ in range(self._draw.choice((1, 1, 2, 3, 5, 8)))]
        heads = frozenset(place for place, (_, is_head) in enumerate(asked) if is_head)
        content = b"".join(one for one, _ in asked)
        slowly = self._draw.random() < 0.01
        return Case("pipelined", "good", self._pieces(content), len(asked), heads, slowly)

    def _twins(self) -> Case:
        draw = self._draw
        hostile = self._bodies.next()
        while hostile.kind != JSON or hostile.encoding or len(hostile.content) > 60_000:
            hostile = self._bodies.next()
        path = draw.choice(("/predict", "/models/still/predict", "/models/other/stats"))
        self._number += 1
        number = b"X-Number: %d" % self._number
        one = request(path, hostile.content, number)
        count = draw.choice((1, 1, 2, 4))
        return Case("twins", "twins", self._pieces(one * count), count, first=one)

    def _broken(self) -> Case:
        draw = self._draw
        name, nonsense = (_smuggled if draw.random() < 0.7 else _nonsense)(draw)
        one, before = request("/predict", EXAMPLE), draw.randrange(3)
        first = one if draw.random() < 0.5 else b""  # then the head is known, and the rest direct
        return Case(name, "broken", self._pieces(one * before + nonsense), before, first=first)

    def _wild(self) -> Case:
        draw = self._draw
        asked = b"".join(self._usual()[0].replace(b"/learn", b"/predict") for _ in range(2))
        content = bytearray(asked)
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(content))
            match draw.randrange(4):
                case 0:
                    content[at] = draw.randrange(256)
                case 1:
                    content[at:at] = draw.choice((b"\r", b"\n", b"\r\n", b"\x00", b" ", b":", b"9"))
                case 2:
                    del content[at : at + draw.randrange(1, 6)]
                case _:
                    content[at:] = b""
            if not content:
                break
        versions = draw.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"))
        sent = bytes(content).replace(b"HTTP/1.1", versions)
        return Case("wild", "wild", self._pieces(sent), 2)

    def _left(self) -> Case:
        asked = request("/models/lost/learn", right_example(self._number)) * 3
        return Case("left", "left", (asked[: self._draw.randrange(len(asked))],), 0)
