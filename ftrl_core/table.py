"""The weight table: slot records in pages, and for each page the seq of its last change.

    cells      float32[2 * lanes * slots]; the record of slot s begins at 2 * lanes * s and is
               z of every lane, then n of every lane
    page       consecutive records, 32 KiB (4,096 slots when lanes = 1); the unit of a checkpoint
    page_seqs  int64[pages]: seq of the last entry that touched the page, 0 when none ever did

A page is dirty against a checkpoint when its seq is greater than the checkpoint's: a number, not
a bit, so that it stays right whoever wrote the checkpoint. An untouched slot is all zero, and a
page of zeros is not stored anywhere: its checksum is 0.

A page's checksum is XXH64 of its bytes (0 moved to 1), kept until the page changes: the digest of
a large table after a little learning costs only the pages touched.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import F32, I64, U8, U64
from ftrl_core.hashing import xxh64_kernel
from ftrl_core.jit import kernel

PAGE_SLOTS = 4096
CACHE_LINE_BYTES = 64
HUGE_PAGE_BYTES = 2 << 20
_PAGE_CELLS = 1024  # float32 numbers in a page of memory, 4 KiB


@kernel
def _is_zero(buf: U8, start: int, end: int) -> bool:
    for i in range(start, end):
        if buf[i]:
            return False
    return True


@kernel
def checksum(buf: U8, start: int, end: int) -> np.uint64:
    """XXH64 of buf[start:end], never 0; 0 when all of it is zero."""
    if _is_zero(buf, start, end):
        return np.uint64(0)
    h = xxh64_kernel(buf, start, end, np.uint64(0))
    return h or np.uint64(1)


@kernel
def _refresh(buf: U8, page_bytes: int, page_seqs: I64, known_seqs: I64, checksums: U64) -> None:
    for i in range(page_seqs.size):
        if page_seqs[i] != known_seqs[i]:
            checksums[i] = checksum(buf, i * page_bytes, (i + 1) * page_bytes)
            known_seqs[i] = page_seqs[i]


@kernel
def _copy_pages(buf: U8, page_bytes: int, indices: I64, out: U8) -> None:
    for place in range(indices.size):
        start, to = indices[place] * page_bytes, place * page_bytes
        out[to : to + page_bytes] = buf[start : start + page_bytes]


@kernel
def _altered(buf: U8, page_bytes: int, page_seqs: I64, known_seqs: I64, checksums: U64) -> int:
    for i in range(page_seqs.size):
        if page_seqs[i] != known_seqs[i]:
            continue
        if checksum(buf, i * page_bytes, (i + 1) * page_bytes) != checksums[i]:
            return i
    return -1


def aligned_zeros(count: int) -> F32:
    """float32[count] of zeros that begins at a cache line, if large at a huge page (2 MiB).

    NumPy's own arrays begin 16 bytes after one: then every second record of four lanes lies in two
    cache lines, and the first and last records of a large table in pages of 4 KiB. At 2^24 slots
    of four lanes a feature took twice as long.
    """
    align = (HUGE_PAGE_BYTES if 4 * count >= HUGE_PAGE_BYTES else CACHE_LINE_BYTES) // 4
    room = np.zeros(count + align, np.float32)  # memory that is never touched costs nothing
    first = -(room.ctypes.data // 4) % align
    return room[first : first + count]


class WeightTable:
    """Slot records of a model; `cells` and `page_seqs` are changed in place by the learn kernel."""

    def __init__(self, table_bits: int, lanes: int = 1) -> None:
        slots = 1 << table_bits
        self.lanes = lanes
        self.page_slots = min(slots, PAGE_SLOTS // (1 << (lanes - 1).bit_length()))
        self.page_shift = self.page_slots.bit_length() - 1
        self.page_bytes = self.page_slots * 8 * lanes
        self.page_count = slots // self.page_slots
        self.cells: F32 = aligned_zeros(2 * lanes * slots)
        self.page_seqs: I64 = np.zeros(self.page_count, np.int64)
        self._checksums: U64 = np.zeros(self.page_count, np.uint64)
        self._known_seqs: I64 = np.zeros(self.page_count, np.int64)

    @property
    def raw(self) -> U8:
        """All records as bytes, a view."""
        return self.cells.view(np.uint8)

    def page(self, index: int) -> U8:
        """The bytes of a page, a view."""
        return self.raw[index * self.page_bytes : (index + 1) * self.page_bytes]

    def copy_pages(self, indices: I64, out: U8) -> None:
        """Copy pages one after the other to the front of `out`, which must be large enough.

        One kernel and no loop of Python's, since it runs in a thread beside the event loop: a
        thread that loses its processor while it holds the interpreter stops every request.
        """
        assert out.size >= indices.size * self.page_bytes
        _copy_pages(self.raw, self.page_bytes, indices, out)

    def checksums(self) -> U64:
        """uint64[page_count]: each page's checksum, 0 for a page of zeros. Do not change it."""
        _refresh(self.raw, self.page_bytes, self.page_seqs, self._known_seqs, self._checksums)
        return self._checksums

    def altered_page(self) -> int | None:
        """A page that is not what its checksum says though nothing touched it since: the memory is
        at fault. Hashes the whole table."""
        seqs = self.page_seqs, self._known_seqs
        index = int(_altered(self.raw, self.page_bytes, *seqs, self._checksums))
        return None if index < 0 else index

    def dirty(self, base_seq: int) -> npt.NDArray[np.int64]:
        """Indices of the pages touched after base_seq; below 0 it means ever touched."""
        return np.flatnonzero(self.page_seqs > max(base_seq, 0))

    def put(self, index: int, content: bytes | memoryview, seq: int, page_checksum: int) -> None:
        """Fill a page while loading; the caller has compared the checksum."""
        self.page(index)[:] = np.frombuffer(content, np.uint8)
        self.page_seqs[index] = self._known_seqs[index] = seq
        self._checksums[index] = page_checksum

    def copy(self, seq: int) -> WeightTable:
        """A table with the same records, of which every page counts as changed at seq."""
        other = WeightTable((self.page_slots * self.page_count).bit_length() - 1, self.lanes)
        other.cells[:] = self.cells
        other.page_seqs[:] = seq
        return other

    def touch_memory(self) -> None:
        """Have the system give all of the memory now; no number changes.

        Fresh memory comes with the first write to it: a first batch of random slots would wait for
        128 MiB at once (130 ms with huge pages). May run in a thread.
        """
        self.cells[::_PAGE_CELLS] = self.cells[::_PAGE_CELLS].copy()

    def touch_all(self, seq: int) -> None:
        """Make every page that is not zero dirty at seq, as after a restore."""
        self._known_seqs[:] = np.where(self.checksums() != 0, seq, self.page_seqs)
        self.page_seqs[:] = self._known_seqs
