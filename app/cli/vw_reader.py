"""Vowpal Wabbit text, for `learn` and `predict`: one example a line.

As in `ndjson_reader`, only what the command line itself needs is read here, the label and the
weight; the line goes on as it is, as text/x-vw. Blank lines are nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.cli.examples import VW_BODY, VW_BODY_WITH_IDS, NumberedExample, Reject
from ftrl_core.errors import BadExample
from ftrl_core.features import Place, Reader
from ftrl_core.limits import Limits
from ftrl_core.vw_text import BLANKS, vw_header


def read_vw(
    lines: Iterable[bytes], file: str, labelled: bool, id_from_tag: bool, reject: Reject
) -> Iterator[NumberedExample]:
    """The examples of `lines`; a line that is not one is handed to `reject`."""
    reader = Reader(0, labelled, Limits())
    kind = VW_BODY_WITH_IDS if id_from_tag else VW_BODY
    for number, line in enumerate(lines, 1):
        body = line.strip(BLANKS + b"\n")
        if not body:
            continue
        try:
            body.decode()
            example = vw_header(body, Place(None, ""), reader, id_from_tag)
        except UnicodeDecodeError:
            reject(number, "not UTF-8")
            continue
        except BadExample as error:
            reject(number, error.detail)
            continue
        label = example.label if labelled else None
        yield NumberedExample(file, number, body, label, example.weight, kind)
