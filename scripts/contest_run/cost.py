"""What nothing to tune costs: the default mixture's fold beside that of one learning rate.

    .venv/bin/python -m scripts.contest_run.cost [streams]

Both models learn the same batches in turn, `--rounds` times over the stream; a figure is processor
time of `Model.learn`, so batches are made beforehand. The bound is 2.5.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from itertools import islice

import app  # noqa: F401 - chooses the kernel cache, before numba is imported
from ftrl_core import ExampleBatch, Model
from scripts.contest_run.sources import STREAMS, Stream

BATCH_ROWS = 1_000
ROWS_MAX = 20_000
BOUND = 2.5
ONE_RATE = {"optimizer": {"learning_rate": 0.1}}


def seconds_of(model: Model, batch: ExampleBatch) -> float:
    """Processor seconds that learning the batch took."""
    began = time.thread_time()
    model.learn(batch)
    return time.thread_time() - began


def ratios(stream: Stream, rounds: int) -> list[float]:
    """The mixture's time over one rate's, for each round over the stream."""
    examples, batches = islice(stream.read(), ROWS_MAX), []
    while rows := list(islice(examples, BATCH_ROWS)):
        batches.append(ExampleBatch.from_examples(rows))
    mixture, single = Model(), Model(ONE_RATE)
    found = []
    for _ in range(rounds + 1):
        spent = [0.0, 0.0]
        for batch in batches:
            spent[0] += seconds_of(mixture, batch)
            spent[1] += seconds_of(single, batch)
        found.append(spent[0] / spent[1])
    return found[1:]  # the first round touches the memory


def main(arguments: Sequence[str]) -> int:
    """Print a Markdown table; exit status 1 when a median is over the bound."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("streams", nargs="*")
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args(arguments)
    over = False
    print("| stream | mixture / one rate, median | least | greatest |\n|---|---|---|---|")
    for stream in STREAMS:
        if stream.missing() or (given.streams and stream.name not in given.streams):
            continue
        found = ratios(stream, given.rounds)
        median = statistics.median(found)
        over = over or median > BOUND
        print(f"| {stream.name} | {median:.2f} | {min(found):.2f} | {max(found):.2f} |", flush=True)
    return int(over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
