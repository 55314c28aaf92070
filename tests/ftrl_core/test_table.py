"""The table: pages, their checksums kept and refreshed, and what is dirty."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash

from ftrl_core.table import PAGE_SLOTS, WeightTable


@pytest.mark.parametrize(
    ("bits", "lanes", "pages", "page_bytes"),
    [(1, 1, 1, 16), (8, 1, 1, 2048), (12, 1, 1, 32768), (13, 1, 2, 32768), (22, 1, 1024, 32768),
     (13, 2, 4, 32768), (13, 4, 8, 32768), (13, 3, 8, 24576), (3, 4, 1, 256)],
)  # fmt: skip
def test_geometry(bits: int, lanes: int, pages: int, page_bytes: int) -> None:
    table = WeightTable(bits, lanes)
    assert (table.page_count, table.page_bytes) == (pages, page_bytes)
    assert table.raw.size == pages * page_bytes == 8 * lanes << bits
    assert 1 << table.page_shift == table.page_slots <= PAGE_SLOTS


@pytest.mark.parametrize(
    ("bits", "align"), [(4, 64), (15, 64), (17, 64), (18, 2 << 20), (20, 2 << 20)]
)
def test_records_begin_where_memory_does(bits: int, align: int) -> None:
    tables = [WeightTable(bits) for _ in range(3)]
    assert all(table.cells.ctypes.data % align == 0 for table in tables)
    assert not any(table.cells.any() for table in tables)


def test_checksums_follow_the_pages(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = WeightTable(15)
    assert not table.checksums().any()
    for seq in range(1, 60):
        for slot in rng.integers(0, 1 << 15, int(rng.integers(0, 4))):
            table.cells[2 * slot] = rng.choice([0.0, 1.0, -2.5])
            table.page_seqs[slot >> table.page_shift] = seq
        if rng.random() < 0.7:  # at times several changes lie between two looks
            for i, checksum in enumerate(table.checksums().tolist()):
                content = bytes(table.page(i))
                assert checksum == (xxhash.xxh64_intdigest(content) if any(content) else 0)


def test_a_page_that_becomes_zero_again_has_no_checksum() -> None:
    table = WeightTable(13)
    for seq, value in enumerate((1.0, 0.0), 1):
        table.cells[0] = value
        table.page_seqs[0] = seq
        assert bool(table.checksums()[0]) is bool(value)
    assert table.dirty(1).tolist() == [0]


def test_dirty() -> None:
    table = WeightTable(14)
    table.page_seqs[:] = [5, 0, 7, 6]
    assert table.dirty(-1).tolist() == [0, 2, 3], "a page that no entry touched is all zero"
    assert table.dirty(0).tolist() == [0, 2, 3]
    assert table.dirty(5).tolist() == [2, 3]
    assert table.dirty(7).tolist() == []


def test_put_takes_the_given_checksum() -> None:
    table = WeightTable(13)
    content = bytes(range(256)) * 128
    table.put(1, content, 9, 77)
    assert bytes(table.page(1)) == content
    assert table.checksums().tolist() == [0, 77]
    assert table.page_seqs.tolist() == [0, 9]


def test_touch_all_marks_what_is_not_zero() -> None:
    table = WeightTable(14)
    table.cells[2 * PAGE_SLOTS] = 1.0
    table.page_seqs[:2] = 3
    before = table.checksums().copy()
    table.touch_all(8)
    assert table.page_seqs.tolist() == [3, 8, 0, 0]
    assert (table.checksums() == before).all()
    assert table.dirty(7).tolist() == [1]
