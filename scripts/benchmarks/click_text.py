"""A click log of known size as text, made fast: the same examples as Vowpal Wabbit text and JSON.

39 categorical features an example, values of eight hexadecimal digits as in Criteo's log, ids with
a heavy tail (Pareto, exponent 0.6, as in the other benchmarks), and a click with the probability
that a hidden weight of each value gives. Three layouts of one and the same log:

    namespaces  -1 |C10 9e3779b1 |C11 3c6ef362 ...           a namespace a field
    single      -1 | C10=9e3779b1 C11=3c6ef362 ...           all in the default namespace
    ndjson      {"label":0,"features":{"C10":"9e3779b1",...}}

Every line of a layout is as long as any other, so that whole blocks are filled by columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

FIELDS = 39
BLOCK_ROWS = 50_000
NAMES = [f"C{10 + i}" for i in range(FIELDS)]
LAYOUTS = {"namespaces": ".vw", "single": ".vw", "ndjson": ".ndjson"}
_HEX = np.array([f"{i:02x}" for i in range(256)], "S2").view(np.uint8).reshape(256, 2)
U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]


def template(layout: str, label: int) -> tuple[bytes, list[int]]:
    """A line with zeros for values, and where the values stand."""
    cells = {
        "namespaces": [f"|{name} 00000000 " for name in NAMES],
        "single": ["| ", *(f"{name}=00000000 " for name in NAMES)],
        "ndjson": [f'"{name}":"00000000",' for name in NAMES],
    }[layout]
    line = ("1  " if label else "-1 ") + "".join(cells)[:-1]
    if layout == "ndjson":
        line = f'{{"label":{label},"features":{{' + "".join(cells)[:-1] + "}}"
    places = []
    at = line.find("00000000")
    while at >= 0:
        places.append(at)
        at = line.find("00000000", at + 8)
    return line.encode() + b"\n", places


def block(rng: np.random.Generator, rows: int) -> tuple[U32, npt.NDArray[np.bool_]]:
    """Values uint32[rows, FIELDS] and clicks bool[rows]."""
    ids = np.minimum((1.0 - rng.random((rows, FIELDS))) ** (-1 / 0.6), 2.0**40).astype(np.uint64)
    values = (ids * np.uint64(2654435761)).astype(np.uint32)
    mixed = (ids + np.arange(FIELDS, dtype=np.uint64) * np.uint64(7919)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    weights = ((mixed >> np.uint64(40)).astype(np.float64) / 2.0**24 - 0.5) * 1.2
    p = 1.0 / (1.0 + np.exp(1.5 - weights.sum(axis=1)))
    return values, rng.random(rows) < p


def text(layout: str, values: U32, clicks: npt.NDArray[np.bool_]) -> bytes:
    """The lines of a block."""
    lines: list[U8] = []
    for label in (0, 1):
        line, places = template(layout, label)
        lines.append(np.frombuffer(line, np.uint8))
    table = np.stack(lines)[clicks.astype(np.int64)]
    digits = _HEX[values.astype(">u4").view(np.uint8).reshape(*values.shape, 4)]
    for field, at in enumerate(places):
        table[:, at : at + 8] = digits[:, field].reshape(-1, 8)
    return table.tobytes()


def write(path: Path, layout: str, rows: int, seed: int) -> None:
    """Write the log of `rows` examples."""
    rng = np.random.default_rng(seed)
    with path.open("wb") as file:
        for first in range(0, rows, BLOCK_ROWS):
            file.write(text(layout, *block(rng, min(BLOCK_ROWS, rows - first))))
