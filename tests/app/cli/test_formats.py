"""Readers of click-log files: rules of each format, numbered bad lines, compression, guessing."""

from __future__ import annotations

import gzip
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from app.cli.criteo_reader import CATEGORY_NAMES, INTEGER_NAMES, integer_category, read_criteo
from app.cli.csv_reader import CsvColumns, read_csv
from app.cli.examples import (
    NDJSON_BODY,
    VW_BODY,
    VW_BODY_WITH_IDS,
    BadLines,
    Format,
    NumberedExample,
)
from app.cli.failures import CommandFailed
from app.cli.formats import Sources, format_of
from app.cli.learn import batches
from app.cli.ndjson_reader import read_ndjson
from app.cli.vw_reader import read_vw

DATA = Path(__file__).parents[4] / "shared" / "data"


class Rejected:
    """Keeps what a reader rejects."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def __call__(self, line: int, reason: str) -> None:
        self.lines.append((line, reason))


def csv_examples(
    text: str | bytes, columns: CsvColumns | None = None, labelled: bool = True
) -> tuple[list[NumberedExample], Rejected]:
    content = text.encode() if isinstance(text, str) else text
    rejected = Rejected()
    lines = content.splitlines(keepends=True)
    read = read_csv(lines, "f.csv", columns or CsvColumns(), labelled, rejected)
    return list(read), rejected


def decoded(examples: list[NumberedExample]) -> list[dict[str, Any]]:
    return [json.loads(example.body) for example in examples]


@pytest.mark.parametrize(
    ("cell", "category"),
    [("0", "0"), ("-1", "-1"), ("-3", "-3"), ("1", "1"), ("2", "1"), ("3", "2"), ("6", "2"),
     ("7", "3"), ("1382", "10"), ("-0", "0"), ("007", "3")],
)  # fmt: skip
def test_criteo_integer_category(cell: str, category: str) -> None:
    assert integer_category(cell) == category


@given(st.integers(min_value=1, max_value=2**80))
def test_criteo_logarithm_is_exact(value: int) -> None:
    category = int(integer_category(str(value)))
    assert Fraction(2) ** category <= value + 1 < Fraction(2) ** (category + 1)


def test_criteo_logarithm_where_floating_point_is_wrong() -> None:
    value = 2**53 - 2
    assert math.floor(math.log2(value + 1)) == 53
    assert integer_category(str(value)) == "52"


@pytest.mark.parametrize("cell", ["", "1.5", "x", "1_0", "+1", "--1", " 1", "²"])
def test_criteo_integer_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="integer column"):
        integer_category(cell)


def criteo_line(label: str, cells: dict[str, str]) -> bytes:
    return "\t".join([label] + [cells.get(n, "") for n in INTEGER_NAMES + CATEGORY_NAMES]).encode()


def test_criteo_empty_cells_are_no_features_and_bad_lines_are_numbered() -> None:
    lines = [
        criteo_line("1", {"I1": "7", "I13": "-2", "C1": "68fd1e64", "C26": "z"}) + b"\r\n",
        b"\n",
        criteo_line("2", {}),
        b"1\t2\t3\n",
        criteo_line("0", {"I2": "x"}),
        criteo_line("0", {"C2": "?"}).replace(b"?", b"\xff"),
        criteo_line("0", {}),
    ]
    rejected = Rejected()
    examples = list(read_criteo(lines, "f", True, rejected))
    assert decoded(examples) == [
        {"label": 1, "features": {"I1": "3", "I13": "-2", "C1": "68fd1e64", "C26": "z"}},
        {"label": 0, "features": {}},
    ]
    assert [e.line for e in examples] == [1, 7]
    assert [line for line, _ in rejected.lines] == [3, 4, 5, 6]


def test_criteo_without_label_to_predict() -> None:
    labelled = criteo_line("1", {"C3": "a"})
    bare = labelled.split(b"\t", 1)[1]
    rejected = Rejected()
    examples = list(read_criteo([labelled, bare], "f", False, rejected))
    assert decoded(examples) == [{"features": {"C3": "a"}}] * 2
    assert not rejected.lines


def test_csv_columns_by_rule() -> None:
    text = 'click,id,ad,price,note,skip\n1,e1,a9,3.5,,x\n0,,a7,,"two\nlines",y\n1,e3,a9,1e3,n,z\n'
    columns = CsvColumns(id="id", ignore=("skip",), numeric=("price",), categorical=("ad",))
    examples, rejected = csv_examples(text, columns)
    assert decoded(examples) == [
        {"label": 1, "id": "e1", "features": {"ad": "a9", "price": 3.5}},
        {"label": 0, "features": {"ad": "a7", "note": "two\nlines"}},
        {"label": 1, "id": "e3", "features": {"ad": "a9", "price": 1000.0, "note": "n"}},
    ]
    assert [e.line for e in examples] == [2, 3, 5]
    assert not rejected.lines


def test_csv_prefers_label_over_click() -> None:
    examples, _ = csv_examples("click,label\n1,0\n")
    assert decoded(examples) == [{"label": 0, "features": {"click": "1"}}]


def test_csv_bad_rows_are_numbered_and_the_rest_is_read() -> None:
    text = (
        b'\xef\xbb\xbflabel,n,c\n2,1,a\n1,x,a\n1,nan,a\n1,1\n1,1,"a"b\n1,1_0,a\n1,2,\xff\n\n1,2,b\n'
    )
    examples, rejected = csv_examples(text, CsvColumns(numeric=("n",)))
    assert decoded(examples) == [{"label": 1, "features": {"n": 2.0, "c": "b"}}]
    assert [line for line, _ in rejected.lines] == [2, 3, 4, 5, 6, 7, 8]
    assert examples[0].line == 10


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("a,b", CsvColumns()),
        ("a,label", CsvColumns(label="missing")),
        ("a,label", CsvColumns(id="missing")),
        ("a,label", CsvColumns(ignore=("missing",))),
        ("a,label", CsvColumns(numeric=("missing",))),
        ("a,label", CsvColumns(numeric=("a",), categorical=("a",))),
        ("a,label", CsvColumns(numeric=("label",), label="label")),
    ],
)
def test_csv_columns_refused(header: str, columns: CsvColumns) -> None:
    with pytest.raises(typer.BadParameter):
        csv_examples(f"{header}\n1,1\n", columns)


def test_csv_needs_no_label_to_predict() -> None:
    examples, _ = csv_examples("a,b\n1,2\n", CsvColumns(label="click"), labelled=False)
    assert decoded(examples) == [{"features": {"a": "1", "b": "2"}}]


@pytest.mark.parametrize("text", ["", "a,a\n1,2\n"])
def test_csv_header_refused(text: str) -> None:
    with pytest.raises(CommandFailed):
        csv_examples(text)


def test_ndjson_lines_go_on_as_they_are() -> None:
    lines = [
        b'{"label": 1.0, "weight": 2, "features": {"a": "x", "a": "y"}}\n',
        b"  \n",
        b'{"label": true, "features": {}}\n',
        b'{"label": "1", "features": {}}\n',
        b'{"label": 0.5, "features": {}}\n',
        b'{"label": 1}\n',
        b"[]\n",
        b'{"label": 0, "features": {"a": "\xff"}}',
        b'{"label": 0, "features": {}',
    ]
    rejected = Rejected()
    examples = list(read_ndjson(lines, "f", True, rejected))
    assert [(e.line, e.body, e.label, e.weight) for e in examples] == [
        (1, lines[0].strip(), 1, 2.0)
    ]
    assert [line for line, _ in rejected.lines] == [3, 4, 5, 6, 7, 8, 9]


def test_ndjson_label_is_anything_to_predict() -> None:
    lines = [b'{"label": "?", "features": {"a": 1}}', b'{"features": {}}']
    assert len(list(read_ndjson(lines, "f", False, Rejected()))) == 2


@pytest.mark.parametrize(
    ("name", "chosen", "expected"),
    [
        ("a.ndjson", None, Format.NDJSON),
        ("a.jsonl.gz", None, Format.NDJSON),
        ("a.vw.gz", None, Format.VW),
        ("a.arrow", None, Format.ARROW),
        ("A.CSV.GZ", None, Format.CSV),
        ("-", None, Format.NDJSON),
        ("a.tsv", Format.CRITEO, Format.CRITEO),
        ("a.ndjson", Format.CSV, Format.CSV),
    ],
)
def test_format_of_name(name: str, chosen: Format | None, expected: Format) -> None:
    assert format_of(name, chosen) is expected


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("a.tsv", None), ("a", None)],
)
def test_format_refused(name: str, chosen: Format | None) -> None:
    with pytest.raises(typer.BadParameter):
        format_of(name, chosen)


def sources(*names: Path, skip: bool = False) -> Sources:
    texts = [str(name) for name in names]
    return Sources(texts, None, CsvColumns(), True, BadLines(skip))


def test_files_follow_each_other_compressed_or_not(tmp_path: Path) -> None:
    line = b'{"label": 1, "features": {"a": "%d"}}\n'
    plain, packed = tmp_path / "a.ndjson", tmp_path / "b.ndjson.gz"
    plain.write_bytes(line % 1 + line % 2)
    packed.write_bytes(gzip.compress(line % 3))
    read = sources(plain, packed)
    assert [(e.line, json.loads(e.body)["features"]["a"]) for e in read.examples()] == [
        (1, "1"),
        (2, "2"),
        (1, "3"),
    ]
    assert read.bytes_read == read.bytes_total == plain.stat().st_size + packed.stat().st_size


def test_cut_off_gzip_is_a_failure_that_names_the_file(tmp_path: Path) -> None:
    packed = tmp_path / "b.ndjson.gz"
    content = gzip.compress(b'{"label": 1, "features": {}}\n' * 100)
    packed.write_bytes(content[:-12])
    with pytest.raises(CommandFailed, match=r"b\.ndjson\.gz"):
        list(sources(packed).examples())


def test_missing_file_is_found_before_the_first_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label\n1\n")
    with pytest.raises(typer.BadParameter):
        sources(tmp_path / "a.csv", tmp_path / "missing.csv")


def test_bad_line_names_file_and_number_or_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("label,a\n1,x\n7,x\n0,x\n")
    with pytest.raises(CommandFailed, match=r"a\.csv: line 3: the label"):
        list(sources(path).examples())
    bad_lines = BadLines(skip=True)
    read = Sources([str(path)], None, CsvColumns(), True, bad_lines)
    assert [e.line for e in read.examples()] == [2, 4]
    assert bad_lines.skipped_count == 1


@pytest.mark.skipif(not DATA.exists(), reason="the shared click logs are not here")
@pytest.mark.parametrize(
    ("name", "file_format", "columns", "rows", "clicks"),
    [
        ("criteo/train.tsv.gz", Format.CRITEO, CsvColumns(), 7200, 1549),
        ("avazu/train.csv.gz", None, CsvColumns(label="click", ignore=("id",)), 8087, 1397),
    ],
)
def test_real_logs(
    name: str, file_format: Format | None, columns: CsvColumns, rows: int, clicks: int
) -> None:
    read = Sources([str(DATA / name)], file_format, columns, True, BadLines(skip=False))
    examples = list(read.examples())
    assert len(examples) == rows
    assert sum(e.label or 0 for e in examples) == clicks  # counted with awk, not by these readers


def test_vowpal_wabbit_lines_go_on_as_they_are(tmp_path: Path) -> None:
    lines = [
        b"1 0.5 'e1|ad a9\r\n",
        b" \n",
        b"-1 |ad a8 | n:2\n",
        b"2 |ad a9\n",
        b"\xff |a\n",
        b"1",
    ]
    rejected = Rejected()
    examples = list(read_vw(lines, "f", True, True, rejected))
    assert [(e.line, e.body, e.label, e.weight, e.kind) for e in examples] == [
        (1, b"1 0.5 'e1|ad a9", 1, 0.5, VW_BODY_WITH_IDS),
        (3, b"-1 |ad a8 | n:2", 0, 1.0, VW_BODY_WITH_IDS),
    ]
    assert [line for line, _ in rejected.lines] == [4, 5, 6]
    unlabelled = list(read_vw([b"|ad a9"], "f", False, False, rejected))
    assert [(e.label, e.kind) for e in unlabelled] == [(None, VW_BODY)]


def test_a_batch_has_one_kind_of_body() -> None:
    json_lines = [NumberedExample("f", i, b"{}", 1, 1.0) for i in range(3)]
    vw_lines = [NumberedExample("g", i, b"1 |", 1, 1.0, VW_BODY) for i in range(2)]
    cut = list(batches([*json_lines, *vw_lines], 2))
    assert [(len(batch), batch[0].kind) for batch in cut] == [
        (2, NDJSON_BODY),
        (1, NDJSON_BODY),
        (2, VW_BODY),
    ]
