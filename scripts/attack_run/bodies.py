"""Bodies of every format: right ones, and what becomes of them.

A hostile body is mostly one of a few hundred right ones with damage, since what is nearly right
gets furthest; of JSON also one whose grammar is right and one of whose values is not; at times
something huge, deep, or compressed to lie about its size.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec.msgpack
import pyarrow as pa
import pyarrow.ipc
import zstandard

from app.ingest.content import ARROW, MSGPACK, PACKED, VW_TEXT
from ftrl_core.batch import ExampleBatch
from ftrl_core.entry import RequestPart, encode_examples, request_table
from ftrl_core.hashing import xxh64
from scripts.attack_run.hostile import JSON_VALUES, MARK, damaged
from tests.oracle import json_text, vw_lines

JSON, NDJSON = "application/json", "application/x-ndjson"
RIGHT_EACH = 60
_DEEP_EVERY = 3000  # bodies: what is huge takes milliseconds
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, 1),
    "zstd": zstandard.ZstdCompressor(1).compress,
    "identity": lambda body: body,
}


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent; `plain` is what decompresses to, where that was not damaged itself."""

    content: bytes
    kind: str
    encoding: str | None = None
    plain: bytes | None = None


class Bodies:
    """An endless source of them."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._right: dict[str, list[bytes]] = {
            JSON: [self._json().encode() for _ in range(RIGHT_EACH)],
            NDJSON: ["\n".join(self._lines(4)).encode() for _ in range(RIGHT_EACH)],
            VW_TEXT: [self._vw() for _ in range(RIGHT_EACH)],
            MSGPACK: [self._msgpack() for _ in range(RIGHT_EACH)],
            PACKED: [self._packed() for _ in range(RIGHT_EACH)],
            ARROW: [self._arrow() for _ in range(RIGHT_EACH // 4)],
        }
        self._all = [body for bodies in self._right.values() for body in bodies]

    def right(self, kind: str) -> bytes:
        """A right body of a kind."""
        return self._draw.choice(self._right[kind])

    def next(self) -> Body:
        """A hostile body, of any format."""
        draw = self._draw
        kind = draw.choice(
            (JSON, JSON, JSON, NDJSON, NDJSON, VW_TEXT, VW_TEXT, MSGPACK, PACKED, ARROW)
        )
        if not draw.randrange(_DEEP_EVERY):
            body = self._huge()
        elif kind in (JSON, NDJSON) and draw.random() < 0.4:
            body = self._off_by_a_value(kind)
        else:
            body = damaged(draw, self.right(kind), self._all)
        if kind == PACKED and len(body) > 20 and draw.random() < 0.8:
            body = _sealed(body)
        if draw.random() < 0.9:
            return Body(body, kind, plain=body)
        encoding = draw.choice(("gzip", "zstd", "identity"))
        packed = _COMPRESS[encoding](body)
        if draw.random() < 0.5 and encoding != "identity":
            return Body(damaged(draw, packed, self._all), kind, encoding)
        return Body(packed, kind, encoding, body)

    def _off_by_a_value(self, kind: str) -> bytes:
        """JSON of the right grammar but for one value, key or member."""
        draw = self._draw
        rows = (self._lines if kind == NDJSON else self._rows)(draw.randrange(1, 4))
        fields = {"label": "1", "features": '{"a":"b"}', "weight": "1", "id": '"x"'}
        victim = draw.choice((*fields, *fields, "features", MARK, "twice", "feature"))
        value = draw.choice(JSON_VALUES)
        if victim == "feature":
            fields["features"] = f'{{"a":{value},"{MARK}":{draw.choice(JSON_VALUES)}}}'
        elif victim == "twice":
            fields["features"] += f',"{draw.choice(list(fields))}":{value}'
        else:
            fields[victim] = value
        members = [f'"{name}":{given}' for name, given in fields.items() if draw.random() < 0.9]
        draw.shuffle(members)
        rows.insert(draw.randrange(len(rows) + 1), "{" + ",".join(members) + "}")
        if kind == NDJSON:
            return "\n".join(rows).encode("utf-8", "surrogatepass")
        outer = [f'"examples":[{",".join(rows)}]']
        if draw.random() < 0.2:
            outer.append(f'"{draw.choice(("shared", "shared", "examples", MARK))}":{value}')
        whole = rows[0] if draw.random() < 0.1 else "{" + ",".join(outer) + "}"
        return whole.encode("utf-8", "surrogatepass")

    def _huge(self) -> bytes:
        depth = self._draw.choice((1_000, 100_000))
        match self._draw.randrange(6):
            case 0:
                return b'{"label":1,"features":{"a":' + b"[" * depth + b"]" * depth + b"}}"
            case 1:
                return b'{"a":' * depth
            case 2:
                return b'{"label":1,"features":{"a":' + b"9" * depth + b"}}"
            case 3:
                many = ",".join(f'"f{i}":1' for i in range(5000))
                return f'{{"label":1,"features":{{{many}}}}}'.encode()
            case 4:
                return b'{"examples":[' + b'{"label":1,"features":{}},' * 10_001 + b"]}"
            case _:
                return b"\n" * 11_000

    def _rows(self, count: int) -> list[str]:
        draw = self._draw
        return [
            f'{{"label":{draw.choice("01")},"features":{json_text.features(draw, 4)}'
            + (
                f',"weight":{json_text.number(draw, 1e5).lstrip("-")}'
                if draw.random() < 0.3
                else ""
            )
            + (f',"id":"i{draw.randrange(1 << 40)}"' if draw.random() < 0.3 else "")
            + "}"
            for _ in range(count)
        ]

    def _lines(self, count: int) -> list[str]:
        return [row.replace("\n", " ") for row in self._rows(count)]

    def _json(self) -> str:
        shared = f'"shared":{json_text.features(self._draw, 2)},' * self._draw.randrange(2)
        return f'{{{shared}"examples":[{",".join(self._rows(3))}]}}'

    def _vw(self) -> bytes:
        lines = [vw_lines.line(self._draw) for _ in range(self._draw.randrange(1, 5))]
        return "\n".join(lines).encode("utf-8", "ignore")

    def _examples(self) -> list[dict[str, object]]:
        draw = self._draw
        return [
            {
                "label": draw.randrange(2),
                "features": {
                    "ad": f"a{draw.randrange(99)}",
                    "price": draw.random(),
                    "tags": ["x", 2],
                },
                **({"id": f"i{draw.randrange(1 << 40)}"} if draw.random() < 0.3 else {}),
            }
            for _ in range(draw.randrange(1, 4))
        ]

    def _msgpack(self) -> bytes:
        return msgspec.msgpack.encode({"examples": self._examples()})

    def _packed(self) -> bytes:
        batch = ExampleBatch.from_examples(self._examples(), hash_seed=0)
        return encode_examples(batch, request_table([RequestPart(batch.rows)]))

    def _arrow(self) -> bytes:
        rows = self._draw.randrange(1, 5)
        table = pa.table(
            {
                "label": [self._draw.randrange(2) for _ in range(rows)],
                "ad": [f"a{self._draw.randrange(9)}" for _ in range(rows)],
                "price": [self._draw.random() for _ in range(rows)],
                "tags": [["x", "y"][: self._draw.randrange(3)] for _ in range(rows)],
                "user": pa.array(["u1"] * rows).dictionary_encode(),
            }
        )
        sink = pa.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())


def expanded(body: Body, most: int) -> bytes | None:
    """The plain bytes by the standard library alone; None where they are damaged or too many."""
    if body.plain is not None:
        return body.plain
    try:
        if body.encoding == "gzip":
            return gzip.decompress(body.content)[: most + 1]
    except (OSError, EOFError, zlib.error):
        return None
    return None


def _sealed(body: bytes) -> bytes:
    """The length and the checksum of a packed body put right."""
    whole = body[:8] + len(body).to_bytes(4, "little") + body[12:-8]
    return whole + xxh64(whole).to_bytes(8, "little")
