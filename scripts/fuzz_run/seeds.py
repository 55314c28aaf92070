"""What each target begins with: a few inputs that are right, and the words of its format."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import msgspec.msgpack
import numpy as np

from ftrl_core.batch import ExampleBatch, canonicalise
from ftrl_core.config import ModelConfig
from ftrl_core.entry import RequestPart, encode_control, encode_examples, request_table
from ftrl_core.model import Model
from ftrl_core.position import Position
from scripts.fuzz_run.targets import parts_of
from tests.oracle import json_text, vw_lines

_SEEDS = 60
_JSON_WORDS = (
    '"features":', '"label":', '"examples":', '"shared":', '"weight":', '"id":', "{}", "[]",
    "true", "false", "null", "1e-30", "1e7", "1e999", "-0.0", "\\\\u0000", "\\\\ud83d\\\\ude00",
    "\\\\ud800", '\\\\"', "NaN", "Infinity", "\\xef\\xbb\\xbf", "\\xf0\\x9f\\x98\\x80", "0.1e-5",
    "12345678901234567890",
)  # fmt: skip
_MSGPACK_WORDS = (
    "\\xa8features", "\\xa5label", "\\xa8examples", "\\xa6shared", "\\xa6weight", "\\xa2id",
    "\\xc0",
    "\\xc2", "\\xc3", "\\xca\\x7f\\xc0\\x00\\x00", "\\xcb", "\\xd9", "\\xda\\xff\\xff",
    "\\xdd\\xff\\xff\\xff\\xff",
    "\\xde", "\\xcf", "\\xd3\\x80", "\\xc4\\x01", "\\xed\\xa0\\x80",
)  # fmt: skip
_VW_WORDS = ("|a ", " |", ":1.5", ":1e7", "'t|", "1 2 ", "-1 ", "=", "\\x0a", "\\x0d\\x0a", "||")
_HEADER_WORDS = (
    '"config":', '"position":', '"examples":', '"table_bits":', '"bias":', '"sums":', '"scored":',
    '"remembered":', '"carried":', '"duplicates":', '"posterior":', "1-42", "0x1p+1", "inf", "nan",
    "1e999", "-1", "null", "[]", "{}",
)  # fmt: skip
WORDS = {
    "entry": _HEADER_WORDS,
    "json": _JSON_WORDS,
    "msgpack": _MSGPACK_WORDS,
    "snapshot": _HEADER_WORDS,
    "vw": _VW_WORDS,
}


def seeds_of(target: str) -> Iterator[bytes]:
    """The inputs."""
    choose = random.Random(1)
    for number in range(_SEEDS):
        if target == "json":
            yield bytes([choose.randrange(256)]) + _json_body(choose).encode()
        elif target == "msgpack":
            yield bytes([choose.randrange(256)]) + _msgpack_body(choose)
        elif target == "vw":
            lines = "\n".join(vw_lines.line(choose) for _ in range(choose.randrange(1, 4)))
            yield bytes([choose.randrange(4)]) + lines.encode("utf-8", "ignore")
        elif target == "entry":
            yield _entry(np.random.default_rng(number), number)
        elif number < 4:
            yield parts_of(_model(number))


def _json_body(choose: random.Random) -> str:
    row = '{{"label":{},"weight":{},"id":{},"features":{}}}'
    rows = [
        row.format(
            choose.choice("01"), json_text.number(choose, 1e5), choose.choice(['"x"', "7"]),
            json_text.features(choose, 3),
        )
        for _ in range(choose.randrange(1, 3))
    ]  # fmt: skip
    if choose.random() < 0.3:
        return rows[0]
    shared = f'"shared":{json_text.features(choose, 2)},' if choose.random() < 0.3 else ""
    return f'{{{shared}"examples":[{",".join(rows)}]}}'


def _msgpack_body(choose: random.Random) -> bytes:
    values = ("x", "città", 1, -7, 2**40, 0.5, 1e-40, True, None, ["x", 2.5, None], [])
    rows = [
        {
            "label": choose.randrange(2),
            "features": {f"f{choose.randrange(5)}": choose.choice(values) for _ in range(4)},
            "weight": choose.choice((1, 0.5)),
            "id": choose.choice(("e1", 7)),
        }
        for _ in range(choose.randrange(1, 3))
    ]
    whole = rows[0] if choose.random() < 0.3 else {"examples": rows, "shared": {"u": "v"}}
    return msgspec.msgpack.encode(whole)


def _entry(draw: np.random.Generator, number: int) -> bytes:
    if number % 5 == 0:
        return encode_control("names", {"names": ["ad", "città"]})
    rows = int(draw.integers(1, 5))
    counts = draw.integers(0, 5, rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    total = int(offsets[-1])
    names = draw.integers(1, 6, total).astype(np.uint32)
    hashes = np.where(draw.random(total) < 0.4, names, draw.integers(0, 2**32, total))
    values = np.where(draw.random(total) < 0.5, 1, draw.normal(0, 2, total)).astype(np.float32)
    batch = ExampleBatch(
        *canonicalise(offsets, names, hashes.astype(np.uint32), values),
        draw.integers(0, 2, rows).astype(np.uint8),
        draw.choice([1, 0.5], rows).astype(np.float32),
        (draw.integers(0, 3, rows) * 77).astype(np.uint64),
    )
    parts = [RequestPart(rows - 1, 1, 5, 6), RequestPart(1, 2, continues=bool(number % 2))]
    return encode_examples(batch, request_table(parts))


def _model(number: int) -> Model:
    optimizer = {"learning_rate": [0.1, 0.2] if number % 2 else 0.1}
    window = 4 if number < 2 else 0
    config = {"optimizer": optimizer, "table_bits": 2, "deduplication_window": window}
    model = Model(ModelConfig.from_dict(config))
    model.table.cells[:] = 0.25
    model.table.page_seqs[:] = 1
    model.bias[:] = 0.5
    model.position, model.examples, model.names_seq = Position(1, 3), 2, 1
    model.names.add(["ad", "city"])
    if window:
        model.deduplication.count = 2
        model.deduplication.segment_seqs[:] = 1
    return model


def dictionary(target: str) -> str:
    """The words as libFuzzer reads them."""
    quoted = (word if "\\" in word else json.dumps(word)[1:-1] for word in WORDS[target])
    return "".join(f'"{word}"\n' for word in quoted)
