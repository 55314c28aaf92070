"""Vowpal Wabbit in process: a text file in one pass, or the same lines through Python.

    text FILE     its own parser and its own threads, as on its command line; start not counted
    lines FILE    `learn` of each line, as an application would call it

Prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pylibvw
from vowpalwabbit import Workspace

FTRL = "--ftrl --ftrl_alpha 0.1 --ftrl_beta 1 --loss_function logistic -b 22 --quiet"


def text(path: Path) -> dict[str, float]:
    """One pass over the file; a Workspace that is given a file makes it when it is made."""
    found: dict[str, float] = {}
    run_parser = pylibvw.vw.run_parser

    def timed(learner: pylibvw.vw) -> None:
        began, worked = time.perf_counter(), time.process_time()
        run_parser(learner)
        found.update(figures(learner.get_weighted_examples(), began, worked))

    pylibvw.vw.run_parser = timed
    Workspace(f"{FTRL} --no_stdin -d {path}").finish()
    return found


def lines(path: Path) -> dict[str, float]:
    """Each line by a call."""
    learner = Workspace(FTRL)
    given = path.read_text().splitlines()
    began, worked = time.perf_counter(), time.process_time()
    for line in given:
        learner.learn(line)
    return figures(len(given), began, worked)


def figures(examples: float, began: float, worked: float) -> dict[str, float]:
    """What all contenders in process print."""
    seconds = time.perf_counter() - began
    return {
        "examples": examples,
        "seconds": seconds,
        "processor_seconds": time.process_time() - worked,
        "examples_per_second": examples / seconds,
    }


if __name__ == "__main__":
    print(json.dumps({"text": text, "lines": lines}[sys.argv[1]](Path(sys.argv[2]))))
