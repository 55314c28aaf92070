"""A checkpoint: all state of a model at one position, as pages, segments and a manifest.

Cut. Between two entries the dirty pages are copied out, so the fold goes on while they are written.
Segments hold the fold's state that is not pages:

    0  core    JSON: counts, bias and sums (floats as hexadecimal), so that bits survive; and
               what was observed (observed.py), which is written anew with every checkpoint
    1  bins    counts of scores for AUC (metrics)
    2  ring    the latest scores (metrics)
    3  names   JSON: the field names told so far, in order
    4+ ids     the window of ids (deduplication), SEGMENT_IDS to a segment
    then       the filters of Bloom admission, where a model has them (admission.py)

Manifest. For each page and each segment: the generation that wrote it and its checksum; pages that
did not change since the base manifest keep its generation. Bytes, little-endian:

    4s   magic "CFM1"
    u32  bytes of the JSON header: position, nonce, digest, config, generations, pages, segments
         header
         pages     x i32   index into generations, -1 for a page of zeros
         segments  x i32   the same, -1 for an empty segment
         pages     x u64   checksum, 0 for a page of zeros
         segments  x u64   checksum, 0 for an empty segment
    u64  XXH64 of all before it

Page bytes at a position are a function of the log, so a clean page whose checksum is not the base
manifest's is proof of a fault, and `advance` refuses.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import U8, U64
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadCheckpoint, UnknownVersion
from ftrl_core.hashing import xxh64
from ftrl_core.model import Model
from ftrl_core.observed import observed_text
from ftrl_core.position import Position
from ftrl_core.table import checksum

I32 = npt.NDArray[np.int32]
MAGIC = b"CFM1"
CORE, BINS, RING, NAMES, IDS = range(5)


def segment_checksum(content: bytes) -> int:
    """XXH64, never 0; 0 when the segment is empty."""
    return (xxh64(content) or 1) if content else 0


def page_checksum(content: bytes | memoryview) -> int:
    """XXH64, never 0; 0 when the page is all zero."""
    return int(checksum(np.frombuffer(content, np.uint8), 0, len(content)))


def state_segments(model: Model) -> list[bytes]:
    """All segments of a model's state, by their numbers."""
    return [_core(model), *agreed_segments(model)[1:]]


def agreed_segments(model: Model) -> list[bytes]:
    """The same without what was observed: what every version that folds the model agrees on."""
    ids = [model.deduplication.segment(i) for i in range(model.deduplication.segment_seqs.size)]
    first = [json.dumps(_agreed_core(model)).encode(), *_first_segments(model)]
    return [*first, *ids, *model.coefficients.admission.segments()]


def _first_segments(model: Model) -> list[bytes]:
    """Those between the core and the window of ids."""
    bins = model.metrics.bins.tobytes() if model.metrics.scored else b""
    return [bins, model.metrics.ring_bytes(), _names(model)]


def _changed_segments(
    model: Model, base_seq: int, damaged: Collection[int]
) -> tuple[dict[int, bytes], U64]:
    """The segments changed after base_seq, or damaged; and the checksums of all.

    A full window of ids is 20 MB, of which little changes between two cuts: its other segments are
    neither copied nor summed again.
    """
    window, filters = model.deduplication, model.coefficients.admission.segments()
    filters_at = IDS + window.segment_seqs.size
    first = [_core(model), *_first_segments(model)]
    others = dict(enumerate(first)) | dict(enumerate(filters, filters_at))
    seqs = np.full(filters_at + len(filters), model.position.seq, np.int64)
    seqs[NAMES], seqs[IDS:filters_at] = model.names_seq, window.segment_seqs
    segments, checksums = {}, np.zeros(seqs.size, np.uint64)
    for i in range(seqs.size):
        if seqs[i] > base_seq or i in damaged:
            segments[i] = others[i] if i in others else window.segment(i - IDS)
    for i, content in others.items():
        checksums[i] = segment_checksum(content)
    checksums[IDS:filters_at] = window.checksums(segment_checksum)
    return {i: content for i, content in segments.items() if content}, checksums


def _core(model: Model) -> bytes:
    return json.dumps({**_agreed_core(model), "observed": observed_text(model)}).encode()


def _agreed_core(model: Model) -> dict[str, Any]:
    core: dict[str, Any] = {
        "bias": [x.hex() for x in model.bias.tolist()],
        "examples": model.examples,
        "duplicates": model.duplicates,
        "remembered": model.deduplication.count,
        "carried": model.deduplication.carried,
        "scored": model.metrics.scored,
        "sums": [x.hex() for x in model.metrics.sums.tolist()],
    }
    if model.config.lanes > 1:
        core["posterior"] = [x.hex() for x in model.coefficients.posterior.tolist()]
    return core


def _names(model: Model) -> bytes:
    names = model.names.in_order()
    return json.dumps(names).encode() if names else b""


@dataclass(slots=True)
class Cut:
    """A copy of what changed after base_seq, at one position.

    pages            index to bytes (views of one buffer of this cut)
    page_checksums   uint64[pages of the table], 0 for a page of zeros
    """

    config: ModelConfig
    position: Position
    digest: str
    base_seq: int
    pages: dict[int, memoryview]
    page_checksums: U64
    segments: dict[int, bytes]
    segment_checksums: U64


def cut(
    model: Model,
    base_seq: int,
    buffer: U8 | None = None,
    damaged: Collection[int] = (),
    damaged_segments: Collection[int] = (),
) -> Cut:
    """Copy the pages and segments changed after base_seq; -1 copies all.

    buffer is memory to copy into if it is large enough: touched beforehand it takes a tenth of
    the time of fresh memory. `damaged` pages, and segments, are copied though clean. The model is
    not changed.
    """
    digest = model.digest()  # refreshes the checksums
    checksums = model.table.checksums().copy()
    wanted = sorted({*model.table.dirty(base_seq).tolist(), *damaged})
    dirty = [i for i in wanted if i < checksums.size and checksums[i]]
    size = model.table.page_bytes
    if buffer is None or buffer.size < size * len(dirty):
        buffer = np.empty(size * len(dirty), np.uint8)
    model.table.copy_pages(np.array(dirty, np.int64), buffer)
    copies = buffer.data
    pages = {i: copies[at * size : (at + 1) * size] for at, i in enumerate(dirty)}
    segments, segment_checksums = _changed_segments(model, base_seq, damaged_segments)
    return Cut(
        model.config,
        model.position,
        digest,
        base_seq,
        pages,
        checksums,
        segments,
        segment_checksums,
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which generation holds each page and segment of a checkpoint, and their checksums."""

    position: Position
    nonce: str  # of the entry at the position
    digest: str
    config: ModelConfig
    generations: tuple[str, ...]
    page_generation: I32
    segment_generation: I32
    page_checksums: U64
    segment_checksums: U64

    @staticmethod
    def advance(base: Manifest | None, taken: Cut, generation: str, nonce: str) -> Manifest:
        """The manifest of a cut whose dirty pages and segments `generation` will hold.

        base is the manifest at the cut's base_seq. Raises BadCheckpoint when a clean page or
        segment is not what the base says.
        """
        written = (list(taken.pages), list(taken.segments))
        sums = (taken.page_checksums, taken.segment_checksums)
        olds: tuple[Any, Any] = ((None, None), (None, None))
        if base is not None:
            olds = (
                (base.page_generation, base.page_checksums),
                (base.segment_generation, base.segment_checksums),
            )
        known = (base.generations if base else ()) + (generation,)
        both = [
            _advanced(old, new, wrote, len(known) - 1)
            for old, new, wrote in zip(olds, sums, written, strict=True)
        ]
        generations, (pages, segments) = _compact(known, both)
        return Manifest(
            taken.position, nonce, taken.digest, taken.config, generations, pages, segments, *sums
        )

    def encode(self) -> bytes:
        """The bytes drawn above."""
        header = {
            "position": str(self.position),
            "nonce": self.nonce,
            "digest": self.digest,
            "config": self.config.to_dict(),
            "generations": list(self.generations),
            "pages": self.page_generation.size,
            "segments": self.segment_generation.size,
        }
        text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
        arrays = (
            self.page_generation,
            self.segment_generation,
            self.page_checksums,
            self.segment_checksums,
        )
        body = MAGIC + len(text).to_bytes(4, "little") + text
        body += b"".join(a.tobytes() for a in arrays)
        return body + xxh64(body).to_bytes(8, "little")

    @staticmethod
    def decode(content: bytes) -> Manifest:
        """The manifest of these bytes; BadCheckpoint when they are damaged, UnknownVersion when the
        model is one that this version cannot fold."""
        if len(content) < 16 or content[:3] != MAGIC[:3]:
            raise BadCheckpoint("the manifest does not begin with its magic")
        if xxh64(content[:-8]) != int.from_bytes(content[-8:], "little"):
            raise BadCheckpoint("the manifest's checksum differs")
        if content[:4] != MAGIC:
            raise UnknownVersion("the manifest's format is not known to this version")
        end = 8 + int.from_bytes(content[4:8], "little")
        try:
            return _read_manifest(json.loads(content[8:end]), content[end:-8])
        except UnknownVersion:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise BadCheckpoint(f"the manifest cannot be read: {type(error).__name__}") from error


def _read_manifest(header: Mapping[str, Any], arrays: bytes) -> Manifest:
    pages, segments = header["pages"], header["segments"]
    counts = (pages, segments, pages, segments)
    read, at = [], 0
    for dtype, count in zip((np.int32, np.int32, np.uint64, np.uint64), counts, strict=True):
        read.append(np.frombuffer(arrays[at : at + count * np.dtype(dtype).itemsize], dtype))
        at += count * np.dtype(dtype).itemsize
    if at != len(arrays) or any(a.size != c for a, c in zip(read, counts, strict=True)):
        raise ValueError("sizes")
    config = ModelConfig.stored(header["config"])
    position = Position.parse(header["position"])
    generations = tuple(header["generations"])
    return Manifest(
        position, header["nonce"], header["digest"], config, generations,
        read[0], read[1], read[2], read[3],
    )  # fmt: skip


def _advanced(old: Any, sums: U64, written: list[int], generation: int) -> I32:
    """Generation index of each item: the base's where clean, `generation` where written."""
    old_generation, old_sums = old
    result = np.full(sums.size, -1, np.int32)
    same = min(sums.size, 0 if old_sums is None else old_sums.size)
    if same:
        result[:same] = old_generation[:same]
    result[written] = generation
    result[sums == 0] = -1
    clean = result != generation
    clean[sums == 0] = False
    if (result[clean] < 0).any() or clean[same:].any():
        raise BadCheckpoint("a page that was not written is not in the base manifest")
    if same and (sums[:same][clean[:same]] != old_sums[:same][clean[:same]]).any():
        raise BadCheckpoint("a page changed that no entry touched")
    return result


def _compact(known: tuple[str, ...], arrays: list[I32]) -> tuple[tuple[str, ...], list[I32]]:
    """Drop generations that nothing names."""
    used = sorted({int(i) for a in arrays for i in np.unique(a) if i >= 0})
    places = np.full(len(known) + 1, -1, np.int32)
    places[used] = np.arange(len(used), dtype=np.int32)
    return tuple(known[i] for i in used), [places[a] for a in arrays]
