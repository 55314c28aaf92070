"""Comma-separated values with a header row.

A column is categorical (name=value) unless it is named numeric; an empty cell is no feature. The
label is the column named with --label, else `label`, else `click`. A row with another number of
cells than the header is a bad line rather than a guess. Quoting is read strictly, by the standard
library: a stray quote in lenient mode swallows the lines up to the next one in silence.

A quoted cell may hold line breaks, so a row is known by the number of its first line. Bytes that
are not UTF-8 are carried as surrogates up to the row they belong to: decoding the file as one text
would end the whole file at the first of them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.cli.examples import NumberedExample, Reject
from app.cli.failures import CommandFailed, bad_usage

_LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
_DEFAULT_LABELS = ("label", "click")


@dataclass(frozen=True)
class CsvColumns:
    """What the user said about the columns, by name."""

    label: str | None = None
    id: str | None = None
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()


@dataclass(frozen=True)
class CsvPlan:
    """What is done with each column, by index; `label` and `id` are None where there is none."""

    width: int
    label: int | None
    id: int | None
    categorical: tuple[tuple[int, str], ...]
    numeric: tuple[tuple[int, str], ...]


def read_csv(
    lines: Iterable[bytes], file: str, columns: CsvColumns, labelled: bool, reject: Reject
) -> Iterator[NumberedExample]:
    """The examples of `lines`; a row that is not one is handed to `reject`.

    Raises typer.BadParameter when the header lacks a column that was named, or a label to learn.
    """
    rows = NumberedRows(lines, reject)
    plan = read_plan(rows, file, columns, labelled)
    yield from read_rows(rows, file, plan, reject)


class NumberedRows(Iterator[tuple[int, list[str]]]):
    """Each row that is not blank, with the number of its first line; bad ones go to `reject`.

    lines_read is the number of lines taken so far. Lines that are not the first of their file
    have no byte order mark to take off.
    """

    def __init__(self, lines: Iterable[bytes], reject: Reject, first_of_file: bool = True) -> None:
        self._reader = csv.reader(decoded_lines(lines, first_of_file), strict=True)
        self._reject = reject

    @property
    def lines_read(self) -> int:
        return self._reader.line_num

    def __next__(self) -> tuple[int, list[str]]:
        while True:
            first_line = self._reader.line_num + 1
            try:
                row = next(self._reader)
            except csv.Error as error:
                self._reject(first_line, str(error))
                continue
            if row:
                return first_line, row


def read_plan(rows: NumberedRows, file: str, columns: CsvColumns, labelled: bool) -> CsvPlan:
    """The plan that the header, the first row, makes; raises as read_csv does."""
    try:
        _, header = next(rows)
    except StopIteration:
        raise CommandFailed(f"{file}: empty, and csv needs a header row") from None
    return _plan(header, columns, labelled, file)


def read_rows(
    rows: Iterable[tuple[int, list[str]]], file: str, plan: CsvPlan, reject: Reject
) -> Iterator[NumberedExample]:
    """The examples of rows after the header."""
    encode = msgspec.json.Encoder().encode
    for number, row in rows:
        try:
            example = _example(row, plan)
            body = encode(example)
        except UnicodeEncodeError:
            reject(number, "not UTF-8")
            continue
        except ValueError as error:
            reject(number, str(error))
            continue
        yield NumberedExample(file, number, body, example.get("label"), 1.0)


def decoded_lines(lines: Iterable[bytes], first_of_file: bool) -> Iterator[str]:
    """Lines as text, the byte order mark of a file taken off."""
    byte_order_mark = "\ufeff"
    for number, line in enumerate(lines):
        text = line.decode(errors="surrogateescape")
        yield text.removeprefix(byte_order_mark) if first_of_file and number == 0 else text


def _plan(header: Sequence[str], columns: CsvColumns, labelled: bool, file: str) -> CsvPlan:
    index = {name: i for i, name in enumerate(header)}
    if len(index) != len(header):
        raise CommandFailed(f"{file}: line 1: a column name comes twice")
    _check_named(index, columns, labelled)
    label = columns.label
    if label is None:
        label = next((name for name in _DEFAULT_LABELS if name in index), None)
    if label is None and labelled:
        raise bad_usage(f"{file} has no column 'label' or 'click'; name the label's", "--label")
    taken = {label, columns.id, *columns.ignore}
    features = [(i, name) for name, i in index.items() if name not in taken]
    return CsvPlan(
        width=len(header),
        label=index[label] if labelled and label is not None else None,
        id=None if columns.id is None else index[columns.id],
        categorical=tuple((i, name) for i, name in features if name not in columns.numeric),
        numeric=tuple((i, name) for i, name in features if name in columns.numeric),
    )


def _check_named(index: dict[str, int], columns: CsvColumns, labelled: bool) -> None:
    named = [("--id", columns.id)] if columns.id is not None else []
    # To predict, the label column that was learned from may well be missing.
    if columns.label is not None and (labelled or columns.label in index):
        named.append(("--label", columns.label))
    named += [("--ignore", name) for name in columns.ignore]
    named += [("--categorical", name) for name in columns.categorical]
    named += [("--numeric", name) for name in columns.numeric]
    option_of: dict[str, str] = {}
    for option, name in named:
        if name not in index:
            raise bad_usage(f"the header has no column {name!r}", option)
        if option_of.setdefault(name, option) != option:
            raise bad_usage(f"column {name!r} is named with {option_of[name]} too", option)


def _example(row: Sequence[str], plan: CsvPlan) -> dict[str, Any]:
    if len(row) != plan.width:
        raise ValueError(f"{plan.width} cells expected, {len(row)} found")
    features: dict[str, str | float] = {name: row[i] for i, name in plan.categorical if row[i]}
    for i, name in plan.numeric:
        if row[i]:
            features[name] = _number(row[i], name)
    example: dict[str, Any] = {"features": features}
    if plan.label is not None:
        label = _LABELS.get(row[plan.label].strip())
        if label is None:
            raise ValueError("the label is neither 0 nor 1")
        example["label"] = label
    if plan.id is not None and row[plan.id]:
        example["id"] = row[plan.id]
    return example


def _number(cell: str, name: str) -> float:
    try:
        number = math.nan if "_" in cell else float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"column {name!r} is numeric and holds no finite number")
    return number
