"""Arrow files and streams: the same examples for train and for learn, bad rows numbered."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.bulk import Decoder, offline_limits
from app.cli.csv_reader import CsvColumns
from app.cli.examples import BadLines
from app.cli.failures import CommandFailed
from app.cli.formats import Sources
from ftrl_core.batch import ExampleBatch
from tests.app.ingest.test_arrow import TABLE, body_of, examples_of
from tests.oracle.slow_ingest import SEED, outcome

pa = pytest.importorskip("pyarrow")


def file_of(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def sources(path: Path, skip: bool = False) -> tuple[Sources, BadLines]:
    bad_lines = BadLines(skip)
    return Sources([str(path)], None, CsvColumns(), True, bad_lines), bad_lines


def batch_of(path: Path, skip: bool = False) -> ExampleBatch:
    batches = list(sources(path, skip)[0].batches(Decoder(SEED, offline_limits())))
    return ExampleBatch.concatenate(batches)


@pytest.mark.parametrize("name", ["f.arrow", "f.arrows", "f.arrows.gz"])
def test_batches_and_lines_are_the_rows(tmp_path: Path, name: str) -> None:
    data = file_of(TABLE) if name == "f.arrow" else body_of(TABLE, 3)
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    expected = ExampleBatch.from_examples(examples_of(TABLE), hash_seed=SEED)
    assert outcome(lambda _: batch_of(path), b"") == outcome(lambda _: expected, b"")
    read = list(sources(path)[0].examples())
    decoded = ExampleBatch.from_examples([json.loads(e.body) for e in read], hash_seed=SEED)
    assert outcome(lambda _: decoded, b"") == outcome(lambda _: expected, b"")
    assert [(e.line, e.label, e.weight) for e in read] == [
        (1, 1, 0.5),
        (2, 0, 1.0),
        (3, 0, 0.0),
        (4, 1, 2.0),
    ]


def test_bad_rows_are_named_or_skipped(tmp_path: Path) -> None:
    path = tmp_path / "f.arrows"
    numbers = pa.array([1.0, 2.0, float("nan"), 4.0, 5.0])
    path.write_bytes(body_of(pa.table({"label": [1, 7, 0, 0, 1], "n": numbers})))
    for read in (lambda: batch_of(path), lambda: list(sources(path)[0].examples())):
        with pytest.raises(CommandFailed, match=r"f\.arrows: line 2: "):
            read()
    assert batch_of(path, skip=True).labels.tolist() == [1, 0, 1]
    lenient, bad_lines = sources(path, skip=True)
    assert [e.line for e in lenient.examples()] == [1, 4, 5]
    assert bad_lines.skipped_count == 2


@pytest.mark.parametrize("data", [b"", b"nonsense" * 9, b"ARROW1\0\0nonsense"])
def test_what_is_no_arrow_is_a_failure(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "f.arrow"
    path.write_bytes(data)
    with pytest.raises(CommandFailed, match="no Arrow file or stream"):
        batch_of(path)


def test_a_column_of_another_type_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "f.arrow"
    path.write_bytes(file_of(pa.table({"label": [1], "b": [b"bytes"]})))
    with pytest.raises(CommandFailed, match="a column is of text"):
        list(sources(path)[0].examples())
