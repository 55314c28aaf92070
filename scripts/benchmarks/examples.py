"""The examples that every contender learns: generated, and of a real log.

An example is in the JSON shape of the HTTP interface and is written for each contender in its own
form: JSON bodies, Vowpal Wabbit text, arrays of slots. Generated ones are like Criteo's: 39 short
names, hexadecimal values with a heavy tail, one label in five a click.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from scripts import data_logs
from scripts.benchmarks.load import post

FIELDS = 39
Example = dict[str, Any]


def example(rng: random.Random, *, labelled: bool, fields: int = FIELDS) -> Example:
    """A generated example."""
    features = {
        f"C{i}": f"{int(rng.paretovariate(0.6)) * 2654435761 % 2**32:08x}" for i in range(fields)
    }
    return (
        {"label": int(rng.random() < 0.2), "features": features}
        if labelled
        else {"features": features}
    )


def generated(count: int, seed: int) -> list[Example]:
    """So many labelled examples."""
    rng = random.Random(seed)
    return [example(rng, labelled=True) for _ in range(count)]


def real(log: str, count: int) -> list[Example]:
    """The first examples of a log beside the checkout."""
    return list(islice(data_logs.read(log), count))


def chunks(examples: Sequence[Example], size: int) -> Iterator[Sequence[Example]]:
    """Whole chunks; what is left over is dropped."""
    for first in range(0, len(examples) - size + 1, size):
        yield examples[first : first + size]


def json_bodies(examples: Sequence[Example], size: int, *, labelled: bool) -> list[bytes]:
    """JSON bodies of `size` examples each."""
    rows = examples if labelled else [{"features": e["features"]} for e in examples]
    return [json.dumps({"examples": list(chunk)}).encode() for chunk in chunks(rows, size)]


def json_posts(path: str, examples: Sequence[Example], size: int) -> list[bytes]:
    """Whole HTTP requests of `size` examples each."""
    bodies = json_bodies(examples, size, labelled=path.startswith("/learn"))
    return [post(path, body) for body in bodies]


def vw_line(one: Example) -> str:
    """A line of Vowpal Wabbit text: a category is the feature name=value, a number name:value."""
    words = [
        f"{name}={value}" if isinstance(value, str) else f"{name}:{value!r}"
        for name, value in one["features"].items()
    ]
    return f"{1 if one['label'] else -1} | {' '.join(words)}"
