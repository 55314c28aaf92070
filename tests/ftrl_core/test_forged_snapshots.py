"""Snapshots with right checksums that no fold has made: who writes the file writes these too."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ftrl_core.checkpoint import BINS, CORE, NAMES, RING, Cut, cut
from ftrl_core.errors import BadSnapshot
from ftrl_core.hashing import xxh64
from ftrl_core.model import Model
from ftrl_core.snapshot_file import MAGIC, read_header, read_snapshot, write_snapshot
from tests.oracle.streams import folded, payloads

RATES = {"optimizer": {"learning_rate": [0.1, 0.2]}}
DEEP = b"[" * 200_000 + b"]" * 200_000


def model_of(**config: Any) -> Model:
    return folded({"table_bits": 10, "deduplication_window": 50, **config}, payloads(1, 2, ids=99))


def written(taken: Cut) -> bytes:
    pieces = write_snapshot(taken, name="x", incarnation="0" * 16, created_ms=1, examples=1)
    return b"".join(pieces)


def refused(content: bytes) -> None:
    with pytest.raises(BadSnapshot):
        read_snapshot(io.BytesIO(content))


def with_header(change: Callable[[dict[str, Any]], bytes]) -> bytes:
    """A snapshot whose header is what `change` makes of it, sealed."""
    content = written(cut(model_of(), -1))
    size = int.from_bytes(content[8:12], "little")
    text = change(json.loads(content[12 : 12 + size]))
    opening = MAGIC + len(text).to_bytes(4, "little") + text
    chain, out, at = xxh64(opening), [opening], 12 + size
    while at < len(content):
        stored = int.from_bytes(content[at + 9 : at + 13], "little")
        head, body = content[at : at + 13], content[at + 21 : at + 21 + stored]
        chain = xxh64(head + body, chain)
        out += [head, chain.to_bytes(8, "little"), body]
        at += 21 + stored
    return b"".join(out)


def test_a_header_that_is_resealed_is_read() -> None:
    content = with_header(lambda header: json.dumps({**header, "name": "other"}).encode())
    assert read_snapshot(io.BytesIO(content))[0].name == "other"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created_ms", "Infinity"), ("created_ms", "-1"), ("created_ms", "1.5"), ("examples",
        "1e999"),
        ("examples", '"7"'), ("examples", "true"), ("examples", "9" * 30), ("name", '"\\ud800"'),
        ("name", "7"), ("name", '"' + "x" * 300 + '"'), ("incarnation", '"\\udc00"'), ("digest",
        "[]"),
        ("position", "7"), ("position", '"1-"'), ("config", "[]"), ("config", "7"), ("config",
        "{}"),
        ("config", '{"optimizer":[]}'), ("config", '{"optimizer":{"learning_rate":NaN}}'),
    ],
)  # fmt: skip
def test_headers(name: str, value: str) -> None:
    def change(header: dict[str, Any]) -> bytes:
        text = json.dumps({**header, name: "@"})
        return text.replace('"@"', value).encode()

    refused(with_header(change))


def test_a_header_that_is_nested_deeply() -> None:
    refused(with_header(lambda _: DEEP))
    content = with_header(lambda _: DEEP)
    with pytest.raises(BadSnapshot):
        read_header(io.BytesIO(content))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_coefficients_that_are_no_numbers(value: float) -> None:
    for place in (0, 1):
        model = model_of()
        model.table.cells[place] = value
        model.table.page_seqs[0] += 1
        refused(written(cut(model, -1)))
        model = model_of()
        model.bias[place] = value
        refused(written(cut(model, -1)))


@pytest.mark.parametrize("config", [{}, RATES])
def test_sums_of_squares_below_zero(config: dict[str, Any]) -> None:
    model = model_of(**config)
    lanes = model.config.lanes
    model.table.cells[lanes] = -1.0
    model.table.page_seqs[0] += 1
    refused(written(cut(model, -1)))
    model = model_of(**config)
    model.bias[lanes] = -1e-9
    refused(written(cut(model, -1)))


@pytest.mark.parametrize("posterior", [[0.0, 0.0], [2.0, -1.0], [np.nan, 1.0], [0.9, 0.9]])
def test_posteriors(posterior: list[float]) -> None:
    model = model_of(**RATES)
    model.coefficients.posterior[:] = posterior
    refused(written(cut(model, -1)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("examples", -1), ("examples", 1.5), ("examples", "1"), ("examples", True),
        ("examples", 1 << 63), ("duplicates", None), ("scored", 1 << 70), ("remembered", -3),
        ("remembered", 1 << 64), ("carried", "x"), ("bias", ["0x1p99999", "0x0p0"]),
        ("bias", ["nan", "0x0p0"]), ("bias", []), ("bias", 7), ("sums", ["inf"] * 5), ("sums",
        [7] * 5),
    ],
)  # fmt: skip
def test_counts_and_sums(name: str, value: Any) -> None:
    taken = cut(model_of(), -1)
    core = json.loads(taken.segments[CORE])
    taken.segments[CORE] = json.dumps({**core, name: value}).encode()
    refused(written(taken))


@pytest.mark.parametrize(
    ("segment", "content"),
    [
        (CORE, DEEP), (CORE, b"[]"), (CORE, b"\xff"), (NAMES, DEEP), (NAMES, b"[7]"),
        (NAMES, b'{"a":1}'), (NAMES, b'["\\ud800"]'), (NAMES, b"7"),
    ],
)  # fmt: skip
def test_documents(segment: int, content: bytes) -> None:
    taken = cut(model_of(), -1)
    taken.segments[segment] = content
    refused(written(taken))


def test_scores() -> None:
    for segment, number in (
        (BINS, np.float64(np.nan)), (BINS, np.float64(-1)), (RING, np.float32(np.inf)),
    ):  # fmt: skip
        taken = cut(model_of(), -1)
        taken.segments[segment] = number.tobytes() + taken.segments[segment][number.nbytes :]
        refused(written(taken))


def test_the_writer_of_these_tests_is_right() -> None:
    for config in ({}, RATES):
        model = model_of(**config)
        content = written(cut(model, -1))
        assert read_snapshot(io.BytesIO(content))[1].state_digest() == model.state_digest()
