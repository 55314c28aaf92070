"""Vowpal Wabbit 9.11.9: its default SGD, --ftrl and --coin, on its own text format.

A category is the feature `name=value`, a number `name:number`, in one namespace, with the constant
and with 2^22 slots. Its default SGD is adaptive, normalised and importance-aware, and so has a
remedy of its own for scales. The loss is the program's own progressive validation loss: logistic,
in nats, predictions cut to [-50, 50] as it does by default.
"""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vowpalwabbit import Workspace

from scripts.contest_run.peer import Example, Loss, Peer, Point, categories, numbers

_SPECIAL = re.compile(r"[\s:|]")
_COMMON = "--quiet --no_stdin --loss_function logistic -b 22"

SGD_GRID: tuple[Point, ...] = tuple(
    {"-l": rate, "--power_t": power, "--initial_t": t}
    for rate, power, t in itertools.product(
        (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50), (0, 0.3, 0.5), (0, 1)
    )
)
FTRL_GRID: tuple[Point, ...] = tuple(
    {"--ftrl_alpha": alpha, "--ftrl_beta": beta, "--l1": strength, "--l2": strength}
    for alpha, beta, strength in itertools.product(
        (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5), (0, 0.1, 1), (0, 0.01)
    )
)
COIN_GRID: tuple[Point, ...] = tuple(
    {"--ftrl_alpha": alpha, "--ftrl_beta": beta}
    for alpha, beta in itertools.product(
        (0.3, 0.5, 1, 2, 4, 6, 10, 15, 20, 30, 40, 100), (0.1, 0.3, 1, 3, 10)
    )
)


def line(example: Example) -> str:
    """An example in the text format."""
    names = [_SPECIAL.sub("_", name) for name in categories(example)]
    pairs = [f"{_SPECIAL.sub('_', name)}:{number!r}" for name, number in numbers(example).items()]
    return f"{1 if example['label'] else -1} | {' '.join(names + pairs)}\n"


class _File:
    """The stream as a file, which goes when this does."""

    def __init__(self, examples: Sequence[Example], flags: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "stream.vw"
        self._path.write_text("".join(line(example) for example in examples))
        self._flags = flags

    def __call__(self, point: Point) -> float:
        arguments = " ".join(f"{name} {value}" for name, value in point.items())
        learner = Workspace(f"{_COMMON} -d {self._path} {self._flags} {arguments}")
        learner.run_parser()
        loss = learner.get_sum_loss() / learner.get_weighted_examples()
        learner.finish()
        return float(loss)


def _peer(name: str, flags: str, grid: tuple[Point, ...]) -> Peer:
    def prepare(examples: Sequence[Example], dense: bool) -> Loss:
        del dense  # it has its own remedy, or has none and is known to have none
        return _File(examples, flags)

    return Peer(name, prepare, grid, default={})


PEERS = (
    _peer("VW SGD", "", SGD_GRID),
    _peer("VW --ftrl", "--ftrl", FTRL_GRID),
    _peer("VW --coin", "--coin", COIN_GRID),
)
