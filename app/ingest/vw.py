"""Vowpal Wabbit text to batches: `text/x-vw` bodies, and the lines of files.

The kernel (`ftrl_core.vw_scan`) reads all lines, `ftrl_core.vw_text` those that it left. What is
done with a line that is wrong is the caller's: a request is refused whole, with the index of its
first bad line (blank ones counted); a file's reader may drop the line and go on.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from app.ingest.lines import LineError, OnBadLine, close_text, lines_to_batch
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, BadExample, TooLarge
from ftrl_core.features import Example, Place, Reader, Triples
from ftrl_core.limits import Limits
from ftrl_core.vw_scan import scan_vw
from ftrl_core.vw_text import vw_example

_DEFAULT_LIMITS = Limits()


def decode_vw(
    body: bytes,
    limits: Limits = _DEFAULT_LIMITS,
    hash_seed: int = 0,
    require_labels: bool = True,
    id_from_tag: bool = False,
) -> ExampleBatch:
    """The batch of a `text/x-vw` body. Raises BadBody, BadExample or TooLarge."""
    if len(body) > limits.decompressed_bytes:
        raise TooLarge(f"a body has at most {limits.decompressed_bytes} bytes")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise BadBody("the body is not valid UTF-8") from None
    if body.count(b"\n") > limits.examples:
        raise TooLarge(f"a request has at most {limits.examples} lines")
    reader = Reader(hash_seed, require_labels, limits)
    batch, _ = vw_batch(bytearray(body), reader, id_from_tag, _refuse)
    if batch.rows == 0:
        raise BadExample("there are no examples", None, "")
    if batch.rows > limits.examples:  # the last line may have no end
        raise TooLarge(f"a request has at most {limits.examples} lines")
    return batch


def vw_batch(
    text: bytearray, reader: Reader, id_from_tag: bool, on_bad_line: OnBadLine
) -> tuple[ExampleBatch, int]:
    """The examples of all lines but the bad ones, and the number of lines.

    `text` is valid UTF-8 and is added to. Raises TooLarge, and what on_bad_line raises.
    """
    close_text(text)
    limits = reader.limits
    lines = scan_vw(
        np.frombuffer(text, np.uint8), reader.hash_seed, reader.require_labels, id_from_tag, limits
    )
    if lines is None:
        raise _too_many_features(limits)

    def read_line(line: bytes, number: int) -> tuple[Example, Triples]:
        return vw_example(line, Place(number, ""), reader, id_from_tag)

    batch = lines_to_batch(lines, text, read_line, on_bad_line)
    if batch.nnz > limits.request_features:
        raise _too_many_features(limits)
    return batch, lines.lines


def _too_many_features(limits: Limits) -> TooLarge:
    return TooLarge(f"a request has at most {limits.request_features} features in all its examples")


def _refuse(_: int, error: LineError) -> NoReturn:
    raise error
