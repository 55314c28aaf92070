"""A snapshot: a checkpoint as one self-describing file, every byte of it checked.

    8s   magic "CFSNAP1\\n"
    u32  bytes of the JSON header
         header: config, position, digest, incarnation, name, created_ms, examples, page_bytes
    then frames, each
    u8   kind: 0 header's seal, 1 page, 2 segment, 3 end
    u32  index of the page or segment; in the end frame the number of frames before it
    u32  raw bytes          u32  stored bytes (zlib, level 1)
    u64  XXH64 of the 13 bytes before it and of the stored bytes, seeded with the previous
         frame's (the first with the XXH64 of magic, length and header)
         stored bytes

The seal is an empty frame whose checksum covers the header too. Checksums form a chain, so a
changed, missing, repeated, reordered or trailing frame is found, and reading needs no more memory
than the model itself. Nothing is allocated by a length that was not compared with a bound first.
There is no pickle here and no code: only numbers and JSON.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from ftrl_core.checkpoint import Cut, page_checksum
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadConfig, BadSnapshot
from ftrl_core.hashing import xxh64
from ftrl_core.loader import fill_state
from ftrl_core.model import Model
from ftrl_core.position import Position

MAGIC = b"CFSNAP1\n"
SEAL, PAGE, SEGMENT, END = range(4)
HEADER_MAX = 1 << 20
SEGMENT_MAX = 64 << 20
TEXT_MAX = 256  # characters of a digest, an incarnation, a name
_FRAME = struct.Struct("<BIII")


@dataclass(frozen=True, slots=True)
class Header:
    """What a snapshot says of itself before its content."""

    config: ModelConfig
    position: Position
    digest: str
    incarnation: str
    name: str
    created_ms: int
    examples: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description."""
        return {
            "name": self.name,
            "position": str(self.position),
            "digest": self.digest,
            "examples": self.examples,
            "created_ms": self.created_ms,
            "incarnation": self.incarnation,
            "config": self.config.to_dict(),
        }


def write_snapshot(
    taken: Cut, *, name: str, incarnation: str, created_ms: int, examples: int
) -> Iterator[bytes]:
    """The file's bytes, piece by piece, from a whole cut (base_seq -1)."""
    assert taken.base_seq < 0
    header = Header(
        taken.config, taken.position, taken.digest, incarnation, name, created_ms, examples
    )
    text = json.dumps(header.to_dict(), sort_keys=True).encode()
    opening = MAGIC + len(text).to_bytes(4, "little") + text
    yield opening
    chain = xxh64(opening)
    contents = [(PAGE, i, c) for i, c in taken.pages.items()]
    contents += [(SEGMENT, i, memoryview(c)) for i, c in taken.segments.items()]
    for kind, index, content in [(SEAL, 0, memoryview(b"")), *contents]:
        frame, chain = _frame(kind, index, content, chain)
        yield frame
    yield _frame(END, len(contents), memoryview(b""), chain)[0]


def _frame(kind: int, index: int, content: memoryview, chain: int) -> tuple[bytes, int]:
    stored = zlib.compress(content, 1)
    body = _FRAME.pack(kind, index, len(content), len(stored))
    chain = xxh64(body + stored, chain)
    return body + chain.to_bytes(8, "little") + stored, chain


def read_header(file: BinaryIO) -> Header:
    """The header alone, checked against its seal; BadSnapshot when damaged."""
    return _Reader(file).header


def read_snapshot(file: BinaryIO) -> tuple[Header, Model]:
    """The header and the model at the snapshot's position; BadSnapshot says what is wrong."""
    reader = _Reader(file)
    model = Model(reader.header.config)
    segments: dict[int, bytes] = {}
    count = 0
    while True:
        kind, index, content = reader.frame()
        if kind == END:
            break
        count += 1
        if kind == PAGE:
            _put_page(model, index, content, reader.header.position.seq)
        elif kind == SEGMENT:
            segments[index] = content
        else:
            raise BadSnapshot("a frame is of an unknown kind")
    if index != count or file.read(1):
        raise BadSnapshot("the snapshot has too few or too many frames")
    return reader.header, _finish(model, segments, reader.header)


def _put_page(model: Model, index: int, content: bytes, seq: int) -> None:
    if index >= model.table.page_count or len(content) != model.table.page_bytes:
        raise BadSnapshot("a page is not one of the table's")
    records = np.frombuffer(content, np.float32).reshape(-1, 2, model.table.lanes)
    if not np.isfinite(records).all() or (records[:, 1] < 0).any():
        raise BadSnapshot("a coefficient is not a number that a model can have")
    model.table.put(index, content, seq, page_checksum(content))


def _finish(model: Model, segments: dict[int, bytes], header: Header) -> Model:
    try:
        fill_state(model, segments, header.position.seq)
    except (ValueError, KeyError, TypeError) as error:
        raise BadSnapshot("the snapshot's state cannot be read") from error
    model.position = header.position
    if model.digest() != header.digest:
        raise BadSnapshot("the snapshot's digest differs from its content's")
    return model


class _Reader:
    """Reads and checks the header at once, then frame after frame."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        opening = self._exactly(len(MAGIC) + 4)
        if opening[: len(MAGIC)] != MAGIC:
            raise BadSnapshot("the file does not begin with a snapshot's magic")
        size = int.from_bytes(opening[len(MAGIC) :], "little")
        if size > HEADER_MAX:
            raise BadSnapshot("the header is longer than a header can be")
        text = self._exactly(size)
        self._chain = xxh64(opening + text)
        if self.frame()[0] != SEAL:
            raise BadSnapshot("the header is not sealed")
        self.header = _read_header(text)

    def _exactly(self, size: int) -> bytes:
        content = self._file.read(size)
        if len(content) != size:
            raise BadSnapshot("the snapshot ends too early")
        return content

    def frame(self) -> tuple[int, int, bytes]:
        """(kind, index, content) of the next frame."""
        head = self._exactly(_FRAME.size)
        kind, index, raw, stored = _FRAME.unpack(head)
        if raw > SEGMENT_MAX or stored > raw + raw // 100 + 64:
            raise BadSnapshot("a frame is longer than a frame can be")
        expected = int.from_bytes(self._exactly(8), "little")
        body = self._exactly(stored)
        self._chain = xxh64(head + body, self._chain)
        if self._chain != expected:
            raise BadSnapshot("a frame's checksum differs")
        try:
            engine = zlib.decompressobj()
            content = engine.decompress(body, raw) if raw else b""
        except zlib.error as error:
            raise BadSnapshot("a frame cannot be decompressed") from error
        if len(content) != raw:
            raise BadSnapshot("a frame is not as long as it says")
        return kind, index, content


def _read_header(text: bytes) -> Header:
    try:
        fields = json.loads(text)
        return Header(
            ModelConfig.from_dict(fields["config"]),
            Position.parse(fields["position"]),
            _text(fields["digest"]),
            _text(fields["incarnation"]),
            _text(fields["name"]),
            _count(fields["created_ms"]),
            _count(fields["examples"]),
        )
    except BadConfig as error:
        raise BadSnapshot(f"the snapshot's configuration is not known: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadSnapshot("the snapshot's header cannot be read") from error


def _text(value: object) -> str:
    """A string that UTF-8 can hold: JSON can say half a surrogate pair."""
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        raise TypeError("no text")
    value.encode()
    return value


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("no count")
    return value
