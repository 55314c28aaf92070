"""Which names the slots of a model have: learned from samples of what is sent, outside the fold.

The log has hashes alone, so names are read from the bodies of requests to learn: of one body a
second, at most EXAMPLES examples, in a thread. A request costs one look at `hungry`. Best effort
by intent: bounded (least recently seen names leave first), each process its own, begun anew with
it. Bodies without names (packed batches) and those whose text is not JSON teach nothing.

    categorical   site=a           hash of the value under its name
    number        price            under the name's hash
    its bin       price in [2, 3)  where the model makes bins of numbers
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from app.ingest.decoding import Decoded
from app.ingest.field_names import BODY_BYTES_MAX, documents_of
from ftrl_core.config import ModelConfig
from ftrl_core.errors import ClickfoldError
from ftrl_core.features import Place, Reader
from ftrl_core.limits import Limits
from ftrl_core.numeric_features import BIN_BITS, RAW, bin_hash

NAMES_MAX = 1 << 16
TEXT_CHARS = 200
EXAMPLES = 8
AGAIN_SECONDS = 1.0
STRIDE = 7919  # bytes; a prime, so that places differ
NDJSON = "application/x-ndjson"
_NOWHERE = Place(None, "")


class NameDictionary:
    """Names by feature hash, and the sampling that fills it."""

    def __init__(self) -> None:
        self.hungry = True
        self._names: dict[int, str] = {}  # least recently seen first
        self._sampled = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._names)

    def feed(self, decoded: Decoded, config: ModelConfig) -> None:
        """Learn names from a body, in the background; only while `hungry`."""
        self.hungry = False
        task = asyncio.create_task(self._learn(decoded, config))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def of(self, hashed: int) -> str | None:
        """The name with this hash, if it is known."""
        return self._names.get(hashed)

    def by_slot(self, slots: int) -> dict[int, list[str]]:
        """Known names by the slot they have in a table of so many."""
        found: dict[int, list[str]] = {}
        for hashed, name in list(self._names.items()):
            found.setdefault(hashed & (slots - 1), []).append(name)
        return found

    async def _learn(self, decoded: Decoded, config: ModelConfig) -> None:
        self._sampled += 1
        named = await asyncio.to_thread(_named, decoded, config, self._sampled)
        for hashed, name in named.items():
            self._names.pop(hashed, None)
            self._names[hashed] = name
        while len(self._names) > NAMES_MAX:
            del self._names[next(iter(self._names))]
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._wants_more)

    def _wants_more(self) -> None:
        self.hungry = True


def _named(decoded: Decoded, config: ModelConfig, number: int) -> dict[int, str]:
    """Names by hash, of some examples of a body; another number takes others."""
    reader = Reader(config.hash_seed, False, Limits())
    found: dict[int, str] = {}
    for features in _some_features(decoded, number):
        for name, value in features.items():
            for item in value if isinstance(value, list) else [value]:
                found.update(_names_of(name, item, reader, config))
    return found


def _names_of(
    name: str, item: object, reader: Reader, config: ModelConfig
) -> Iterator[tuple[int, str]]:
    try:
        triples = reader.features({name: item}, _NOWHERE)
    except ClickfoldError:
        return
    for name_hash, hashed, value in zip(triples.names, triples.hashes, triples.values, strict=True):
        if name_hash != hashed:
            yield hashed, f"{name}={item}"[:TEXT_CHARS]
            continue
        yield hashed, name[:TEXT_CHARS]
        if config.numbers != RAW:
            bin_ = int(bin_hash(np.uint32(name_hash), np.float32(value)))
            yield bin_, f"{name} in {interval_of(value)}"[:TEXT_CHARS]


def interval_of(value: float) -> str:
    """The bin of a number, as text: [2, 3); of a negative one (-3, -2]."""
    (bits,) = struct.unpack("<I", struct.pack("<f", abs(value)))
    place = bits >> (23 - BIN_BITS)
    low, high = (
        struct.unpack("<f", struct.pack("<I", i << (23 - BIN_BITS)))[0] for i in (place, place + 1)
    )
    return f"(-{high:g}, -{low:g}]" if value < 0 else f"[{low:g}, {high:g})"


def _some_features(decoded: Decoded, number: int) -> Iterator[dict[str, Any]]:
    body = decoded.body
    if decoded.kind == NDJSON:
        body = _some_lines(body, number)
    if len(body) > BODY_BYTES_MAX:
        return
    for document in documents_of(body, decoded.kind):
        yield document.get("shared") or {}
        examples = document.get("examples", [document])
        first = number * EXAMPLES % max(1, len(examples))
        for example in examples[first : first + EXAMPLES]:
            yield example["features"]


def _some_lines(body: bytes, number: int) -> bytes:
    """EXAMPLES whole lines, from another place of the body for another number."""
    begin = body.rfind(b"\n", 0, number * STRIDE % max(1, len(body))) + 1
    lines = body[begin : begin + BODY_BYTES_MAX].split(b"\n", EXAMPLES)
    return b"\n".join(lines[:EXAMPLES])
