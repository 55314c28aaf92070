"""Arrow bodies are the JSON bodies of the same rows; what is wrong or damaged is refused."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest

from app.ingest import UnsupportedMediaType
from app.ingest.field_names import field_names
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, BadExample, ClickfoldError, TooLarge
from ftrl_core.limits import Limits
from tests.oracle.slow_ingest import LIMITS, SEED, outcome

pa = pytest.importorskip("pyarrow")
arrow = pytest.importorskip("app.ingest.arrow")
decode_arrow, text_hashes = arrow.decode_arrow, arrow.text_hashes
ARROW = "application/vnd.apache.arrow.stream"


def body_of(table: Any, chunk: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return bytes(sink.getvalue())


COLUMNS = {
    "label": pa.array([1, 0, 0, 1]),
    "weight": pa.array([0.5, None, 0.0, 2.0]),
    "id": pa.array(["e1", None, "é", "17"]),
    "text": pa.array(["a9", "", None, "日本"]),
    "large": pa.array(["x", None, "y", "x"], pa.large_string()),
    "dictionary": pa.array(["u1", "u2", "u1", None]).dictionary_encode(),
    "float": pa.array([3.5, None, -0.0, 1e-40]),
    "single": pa.array([0.1, 2.5, None, -7.0], pa.float32()),
    "integer": pa.array([2**53 + 1 - 2**53, None, -3, 0]),
    "small": pa.array([1, 2, None, 255], pa.uint8()),
    "flag": pa.array([True, False, None, True]),
    "nothing": pa.nulls(4),
    "tags": pa.array([["x", "y", None], [], None, ["x", "x"]]),
    "numbers": pa.array([[1.5, None], None, [], [2.0, 3.0]], pa.large_list(pa.float64())),
    "flags": pa.array([[True, False], None, [], [None]], pa.list_(pa.bool_())),
    "categories": pa.array(
        [["a"], ["b", "a"], None, []], pa.list_(pa.dictionary(pa.int8(), pa.string()))
    ),
}
TABLE = pa.table(COLUMNS)
TEXTS = pa.table(
    {"label": [0, 1, 1], **{name: pa.array(["a9", "", "日本"]) for name in ("x", "y", "z")}}
)


def examples_of(table: Any) -> list[dict[str, Any]]:
    """The rows in the JSON shape: what is null is left out."""
    made = []
    for row in table.to_pylist():
        fields = {k: row.pop(k) for k in ("label", "weight", "id") if k in row}
        example = {k: v for k, v in fields.items() if v is not None}
        made.append({**example, "features": {k: v for k, v in row.items() if v is not None}})
    return made


def of_examples(table: Any) -> Any:
    return outcome(lambda _: ExampleBatch.from_examples(examples_of(table), hash_seed=SEED), b"")


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_every_type_is_as_in_json(chunk: int | None) -> None:
    said = outcome(decode_arrow, body_of(TABLE, chunk), LIMITS, SEED)
    assert len(said) == 7
    assert said == of_examples(TABLE)


@pytest.mark.parametrize("chunk", [None, 2])
def test_columns_of_texts_are_read_in_one_go(
    monkeypatch: pytest.MonkeyPatch, chunk: int | None
) -> None:
    read = []

    def asked(*given: Any) -> Any:
        read.append(text_hashes(*given))
        return read[-1]

    monkeypatch.setattr(arrow, "text_hashes", asked)
    choose = random.Random(5)
    texts = ["", "a", "é", "日本", "x" * 9, "y" * 1024]
    for width in (1, 2, 7):
        columns = {
            f"c{i}": pa.array([choose.choice(texts) for _ in range(6)]) for i in range(width)
        }
        table = pa.table({"label": pa.array([0, 1] * 3), **columns})
        for part in (table, table.slice(2, 3)):
            assert outcome(decode_arrow, body_of(part, chunk), LIMITS, SEED) == of_examples(part)
    assert [hashes is not None for hashes in read] == [chunk is None] * 6


def test_slices_and_integer_ids() -> None:
    table = TABLE.set_column(2, "id", pa.array([1, None, 2**63, 3], pa.uint64())).slice(1, 2)
    assert outcome(decode_arrow, body_of(table), LIMITS, SEED) == of_examples(table)


def test_names_and_no_labels() -> None:
    table = TABLE.drop_columns(["label"])
    batch = decode_arrow(body_of(table), LIMITS, SEED, require_labels=False)
    assert batch.labels.tolist() == [255] * 4
    names = set(COLUMNS) - {"label", "weight", "id"}
    assert field_names(body_of(table), ARROW) == names


def test_random_tables_equal_json(seed: int) -> None:
    choose = random.Random(seed)
    makers: dict[str, Callable[[], Any]] = {
        "s": lambda: choose.choice(["", "a", "é", "x" * 9, None]),
        "d": lambda: choose.choice(["u1", "u2", "u3", None]),
        "n": lambda: choose.choice([None, choose.uniform(-1e7, 1e7), 0.0]),
        "l": lambda: [choose.choice(["p", "q", None]) for _ in range(choose.randrange(4))],
    }
    for _ in range(100):
        count = choose.randrange(1, 30)
        columns = {"label": pa.array([choose.randrange(2) for _ in range(count)])}
        for i in range(choose.randrange(6)):
            kind = choose.choice("sdnl")
            types = {"n": pa.float64(), "l": pa.list_(pa.string())}
            data = pa.array([makers[kind]() for _ in range(count)], types.get(kind, pa.string()))
            columns[f"{kind}{i}"] = data.dictionary_encode() if kind == "d" else data
        table = pa.table(columns)
        said = outcome(decode_arrow, body_of(table, choose.choice([None, 3])), LIMITS, SEED)
        assert said == of_examples(table)


@pytest.mark.parametrize(
    ("column", "data", "row", "pointer"),
    [
        ("label", pa.array([1, 0, 2, 1]), 2, "/label"),
        ("label", pa.array([1, None, 0, 1]), 1, "/label"),
        ("label", pa.array([True, False, True, True]), None, "/label"),
        ("label", pa.array([float("nan")] * 4), 0, "/label"),
        ("weight", pa.array([1.0, -1.0, 1.0, 1.0]), 1, "/weight"),
        ("weight", pa.array(["1"] * 4), None, "/weight"),
        ("id", pa.array(["a", "x" * 129, "b", "c"]), 1, "/id"),
        ("id", pa.array(["a", "", "b", "c"]), 1, "/id"),
        ("id", pa.array([1.5] * 4), None, "/id"),
        ("float", pa.array([1.0, 1e8, 0.0, 0.0]), 1, "/features/float"),
        ("float", pa.array([1.0, 1.0, float("inf"), 0.0]), 2, "/features/float"),
        ("text", pa.array(["a", "b", None, "v" * 1025]), 3, "/features/text"),
        ("text", pa.array(["a", "v" * 1025, "a", "b"]).dictionary_encode(), 1, "/features/text"),
        ("text", pa.array([b"a", b"b", b"c", b"d"]), None, "/features/text"),
        ("text", pa.array(["a"] * 4, pa.string_view()), None, "/features/text"),
        ("text", pa.array([[["a"]]] * 4), None, "/features/text"),
        ("text", pa.array([{"a": 1}] * 4), None, "/features/text"),
        ("n" * 257, pa.array([1] * 4), None, ""),
    ],
)
def test_refusals_name_row_and_column(
    column: str, data: Any, row: int | None, pointer: str
) -> None:
    names = list(COLUMNS)
    place = names.index(column) if column in names else len(names)
    table = TABLE.remove_column(place) if column in names else TABLE
    with pytest.raises(BadExample) as raised:
        decode_arrow(body_of(table.add_column(place, column, data)))
    assert (raised.value.row, raised.value.pointer) == (row, pointer)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(examples=3),
        Limits(features=5),
        Limits(request_features=20),
        Limits(decompressed_bytes=100),
    ],
)
def test_limits(limits: Limits) -> None:
    with pytest.raises(TooLarge):
        decode_arrow(body_of(TABLE), limits)


def test_no_rows_no_stream_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadExample, match="no examples"):
        decode_arrow(body_of(TABLE.slice(0, 0)))
    for body in (b"", b"nonsense", body_of(TABLE)[:100]):
        with pytest.raises(BadBody):
            decode_arrow(body)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnsupportedMediaType, match="clickfold"):
        decode_arrow(b"")


@pytest.mark.parametrize("table", [TABLE, TEXTS], ids=["every type", "texts"])
def test_damaged_streams_are_errors_of_our_own(seed: int, table: Any) -> None:
    choose = random.Random(seed)
    good = body_of(table)
    for _ in range(1500):
        body = bytearray(good)
        for _ in range(choose.randrange(1, 4)):
            body[choose.randrange(len(body))] = choose.randrange(256)
        try:
            batch = decode_arrow(bytes(body[: choose.choice([len(body)] * 9 + [len(body) // 2])]))
        except ClickfoldError:
            continue
        assert batch.row_offsets[-1] == batch.values.size
