"""The Criteo click log: label, 13 integers, 26 categories, separated by tabs, without a header.

An integer v > 0 becomes the category floor(log2(v + 1)), and v <= 0 the category v itself: counts
matter by their magnitude. The logarithm is taken with `int.bit_length`, because a floating-point
log2 is wrong just below large powers of two. An empty cell is no feature. Features are called
I1..I13 and C1..C26. To predict, the label may be missing, as in the log's own test file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from app.cli.examples import NumberedExample, Reject

INTEGER_NAMES = tuple(f"I{i}" for i in range(1, 14))
CATEGORY_NAMES = tuple(f"C{i}" for i in range(1, 27))
_FEATURE_COUNT = len(INTEGER_NAMES) + len(CATEGORY_NAMES)
_LABELS = {"0": 0, "1": 1}


def read_criteo(
    lines: Iterable[bytes], file: str, labelled: bool, reject: Reject
) -> Iterator[NumberedExample]:
    """The examples of `lines`; a line that is not one is handed to `reject`."""
    encode = msgspec.json.Encoder().encode
    for number, line in enumerate(lines, 1):
        text = line.rstrip(b"\r\n")
        if not text:
            continue
        try:
            label, features = _read_line(text.decode(), labelled)
        except ValueError as error:
            reject(number, _reason(error))
            continue
        example = (
            {"features": features} if label is None else {"label": label, "features": features}
        )
        yield NumberedExample(file, number, encode(example), label, 1.0)


def integer_category(cell: str) -> str:
    """The category of an integer column's cell; raises ValueError for what is no integer."""
    digits = cell.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError("an integer column holds something else")
    value = int(cell)
    return str((value + 1).bit_length() - 1) if value > 0 else str(value)


def _read_line(text: str, labelled: bool) -> tuple[int | None, dict[str, str]]:
    cells = text.split("\t")
    label = None
    if labelled or len(cells) > _FEATURE_COUNT:
        label_cell = cells.pop(0)
        label = _LABELS.get(label_cell) if labelled else None
        if labelled and label is None:
            raise ValueError("the label is neither 0 nor 1")
    if len(cells) != _FEATURE_COUNT:
        raise ValueError(f"{_FEATURE_COUNT} feature columns expected, {len(cells)} found")
    integers, categories = cells[: len(INTEGER_NAMES)], cells[len(INTEGER_NAMES) :]
    features = {
        name: integer_category(cell)
        for name, cell in zip(INTEGER_NAMES, integers, strict=True)
        if cell
    }
    features.update(
        (name, cell) for name, cell in zip(CATEGORY_NAMES, categories, strict=True) if cell
    )
    return label, features


def _reason(error: ValueError) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
