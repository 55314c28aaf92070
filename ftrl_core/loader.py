"""Making a model from a checkpoint whose pages arrive one by one.

The caller reads what `missing_pages` and `missing_segments` name, in any order, and puts it here;
every checksum is compared. When a page is gone because a newer checkpoint was committed meanwhile,
`retarget` moves on to the newer manifest and keeps each page that both name with the same
generation and checksum: so a slow loader always finishes.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import numpy as np

from ftrl_core.checkpoint import (
    BINS,
    CORE,
    IDS,
    NAMES,
    RING,
    Manifest,
    page_checksum,
    segment_checksum,
)
from ftrl_core.constants import F64
from ftrl_core.errors import BadCheckpoint
from ftrl_core.model import Model
from ftrl_core.observed import load_observed

Document = TypeVar("Document", dict[str, Any], list[Any])

ROUNDED = 1e-6  # far more than a sum of probabilities is ever off


class Loader:
    """A model under construction."""

    def __init__(self, manifest: Manifest) -> None:
        self._begin(manifest)

    def _begin(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._model = Model(manifest.config)
        table = self._model.table
        segments = IDS + self._model.deduplication.segment_seqs.size
        segments += self._model.coefficients.admission.segment_count
        if (table.page_count, segments) != (
            manifest.page_generation.size,
            manifest.segment_generation.size,
        ):
            raise BadCheckpoint("the manifest's counts are not those of its configuration")
        self._have: set[int] = set()
        self._segments: dict[int, bytes] = {}

    def missing_pages(self) -> list[tuple[str, int]]:
        """(generation, index) of each page still to be put."""
        wanted = np.flatnonzero(self.manifest.page_generation >= 0).tolist()
        of, names = self.manifest.page_generation, self.manifest.generations
        return [(names[of[i]], i) for i in wanted if i not in self._have]

    def missing_segments(self) -> list[tuple[str, int]]:
        """(generation, index) of each segment still to be put."""
        wanted = np.flatnonzero(self.manifest.segment_generation >= 0).tolist()
        of, names = self.manifest.segment_generation, self.manifest.generations
        return [(names[of[i]], i) for i in wanted if i not in self._segments]

    def put_page(self, index: int, content: bytes | memoryview) -> None:
        """Fill a page; BadCheckpoint when its size or checksum is not the manifest's."""
        expected = int(self.manifest.page_checksums[index])
        right_size = len(content) == self._model.table.page_bytes
        if not right_size or page_checksum(content) != expected:
            raise BadCheckpoint(f"page {index} has another checksum than the manifest")
        self._model.table.put(index, content, self.manifest.position.seq, expected)
        self._have.add(index)

    def put_segment(self, index: int, content: bytes) -> None:
        """Keep a segment; BadCheckpoint when its checksum is not the manifest's."""
        if segment_checksum(content) != int(self.manifest.segment_checksums[index]):
            raise BadCheckpoint(f"segment {index} has another checksum than the manifest")
        self._segments[index] = content

    def retarget(self, newer: Manifest) -> None:
        """Go for a newer manifest, keeping the pages and segments that it names unchanged."""
        older, model, have = self.manifest, self._model, self._have
        segments = self._segments
        self._begin(newer)
        if older.config != newer.config:
            return
        for i in have & _unchanged(older, newer, "page"):
            seq, expected = newer.position.seq, int(newer.page_checksums[i])
            self._model.table.put(i, model.table.page(i).data, seq, expected)
            self._have.add(i)
        kept = _unchanged(older, newer, "segment")
        self._segments = {i: c for i, c in segments.items() if i in kept}

    def finish(self) -> Model:
        """The model at the manifest's position; BadCheckpoint when its digest is another."""
        assert not self.missing_pages()
        assert not self.missing_segments()
        model = self._model
        try:
            fill_state(model, self._segments, self.manifest.position.seq)
        except (ValueError, KeyError, TypeError) as error:
            raise BadCheckpoint(f"the state cannot be read: {type(error).__name__}") from error
        model.position = self.manifest.position
        if model.digest() != self.manifest.digest:
            raise BadCheckpoint("the checkpoint's digest differs from its manifest's")
        return model


def _unchanged(older: Manifest, newer: Manifest, kind: str) -> set[int]:
    def identity(m: Manifest) -> list[Any]:
        of = getattr(m, f"{kind}_generation").tolist()
        sums = getattr(m, f"{kind}_checksums").tolist()
        return [(m.generations[g], s) if g >= 0 else None for g, s in zip(of, sums, strict=True)]

    pairs = zip(identity(older), identity(newer), strict=True)
    return {i for i, (a, b) in enumerate(pairs) if a is not None and a == b}


def fill_state(model: Model, segments: dict[int, bytes], seq: int) -> None:
    """Put the state segments into a model whose pages are there, in place.

    Raises ValueError, KeyError or TypeError when they do not fit, or hold what no fold can make.
    """
    core = _document(segments[CORE], dict)
    lanes = model.config.lanes
    model.bias[:] = _numbers(core["bias"], 2 * lanes)
    if (model.bias[lanes:] < 0).any():
        raise ValueError("a sum of squares is negative")
    if lanes > 1:
        model.coefficients.posterior[:] = _probabilities(core["posterior"], lanes)
    model.examples = _count(core["examples"])
    model.duplicates = _count(core["duplicates"])
    sums = _numbers(core["sums"], model.metrics.sums.size)
    bins = segments.get(BINS, b"") or model.metrics.bins.tobytes()
    model.metrics.load(sums, _count(core["scored"]), bins, segments.get(RING, b""))
    load_observed(model, core.get("observed", {}))
    names = _document(segments.get(NAMES, b"[]"), list)
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a name is no text")
    model.names.add(names)
    model.names_seq = seq
    window = model.deduplication
    ids = [segments.get(IDS + k, b"") for k in range(window.segment_seqs.size)]
    window.load(_count(core["remembered"]), _count(core["carried"]), ids, seq)
    admission, first = model.coefficients.admission, IDS + len(ids)
    admission.load([segments.get(first + i, b"") for i in range(admission.segment_count)])


def _document(content: bytes, kind: type[Document]) -> Document:
    """The JSON document of this kind; ValueError, TypeError."""
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, kind):
        raise TypeError("a document of another kind")
    return document


def _numbers(texts: list[str], count: int) -> F64:
    """float64[count], all finite, of hexadecimal texts."""
    try:
        numbers = np.array([float.fromhex(text) for text in texts])
    except OverflowError as error:
        raise ValueError("a number is too large") from error
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError("another count of numbers, or one that is not finite")
    return numbers


def _probabilities(texts: list[str], count: int) -> F64:
    numbers = _numbers(texts, count)
    if (numbers < 0).any() or abs(numbers.sum() - 1) > ROUNDED:
        raise ValueError("probabilities do not sum to one")
    return numbers


def _count(value: object) -> int:
    """A whole number that 63 bits hold."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("no count")
    return value
