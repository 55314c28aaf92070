"""Newline-delimited JSON: one example a line, in the shape of POST /learn.

Only what the command line itself needs is decoded here: the label and the weight. The line goes
on as it is, because the service (or, offline, its decoder) judges features and ids, and answers
with the row, which becomes the line's number again. Blank lines are nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from app.cli.examples import NumberedExample, Reject


class _Labelled(msgspec.Struct):
    """An example to learn; the rest of it is not looked at."""

    features: msgspec.Raw
    label: float
    weight: float = 1.0


class _Unlabelled(msgspec.Struct):
    """An example to predict: a label may stand there and may be anything."""

    features: msgspec.Raw


def read_ndjson(
    lines: Iterable[bytes], file: str, labelled: bool, reject: Reject
) -> Iterator[NumberedExample]:
    """The examples of `lines`; a line that is not one is handed to `reject`."""
    read_line = _labelled_line if labelled else _unlabelled_line
    for number, line in enumerate(lines, 1):
        body = line.strip()
        if not body:
            continue
        try:
            body.decode()  # msgspec does not look at what it hands on raw
            label, weight = read_line(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            reject(number, _reason(error))
            continue
        yield NumberedExample(file, number, body, label, weight)


def _labelled_line(body: bytes) -> tuple[int, float]:
    example = msgspec.json.decode(body, type=_Labelled)
    if example.label not in (0.0, 1.0):
        raise ValueError("the label is neither 0 nor 1")
    return int(example.label), example.weight


def _unlabelled_line(body: bytes) -> tuple[None, float]:
    msgspec.json.decode(body, type=_Unlabelled)
    return None, 1.0


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error)
