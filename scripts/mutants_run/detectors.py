"""The harnesses as detectors: how each is run over seeds, and how its report is read.

    crash        scripts/crash: real processes ended at named points; a seed is an episode
    scenarios    scripts/crash_scenarios: nodes in one process, every call at risk; a seed is a run

Each prints one line of JSON and stops at its first finding. A detector that cannot even begin,
since the service does not start or no model loads, has found the bug too, and says so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from scripts.mutants_run.tree import Tree


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector came to."""

    detector: str
    found: bool
    seeds: int  # run, with the one that found it
    seconds: float
    what: str  # the first fault, or why there is none
    where: str = ""  # the seed that shows it


@dataclass(frozen=True, slots=True)
class Detector:
    """One harness."""

    name: str
    command: Callable[[int, int], list[str]]  # first seed, seeds
    read: Callable[[dict[str, Any]], tuple[int, str, str]]  # seeds, fault or '', where

    def run(
        self, tree: Tree, first_seed: int, seeds: int, seconds: float, *options: str
    ) -> Finding:
        """Over at most so many seeds and seconds; options are passed on."""
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", *self.command(first_seed, seeds), *options],
            cwd=tree.path,
            env=tree.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return self._finding(False, 0, began, "out of time")
        try:
            document = json.loads(out.strip().splitlines()[-1])
        except (ValueError, IndexError):
            last = (err.strip().splitlines() or ["it said nothing"])[-1]
            return self._finding(process.returncode != 0, 1, began, f"no report: {last[:200]}")
        run, fault, where = self.read(document)
        return self._finding(bool(fault), run, began, fault[:200] or "nothing found", where)

    def _finding(
        self, found: bool, seeds: int, began: float, what: str, where: str = ""
    ) -> Finding:
        seconds = round(time.monotonic() - began, 1)
        return Finding(self.name, found, seeds, seconds, what, where)


def _crash_command(first_seed: int, seeds: int) -> list[str]:
    options = ["--seed", str(first_seed), "--episodes", str(seeds), "--jobs", "1"]
    return ["scripts.crash_run", *options]


def _crash_read(document: dict[str, Any]) -> tuple[int, str, str]:
    violations = document["violations"]
    where, _, what = violations[0].partition(": ") if violations else ("", "", "")
    return document["episodes"], what, where


def _scenarios_command(first_seed: int, seeds: int) -> list[str]:
    return ["scripts.crash_scenarios", "--seed", str(first_seed), "--seeds", str(seeds)]


def _scenarios_read(document: dict[str, Any]) -> tuple[int, str, str]:
    faults = document["faults"]
    if not faults:
        return document["runs"], "", ""
    return document["runs"], faults[0]["fault"], f"{faults[0]['scenario']} {faults[0]['seed']}"


DETECTORS = {
    "crash": Detector("crash", _crash_command, _crash_read),
    "scenarios": Detector("scenarios", _scenarios_command, _scenarios_read),
}
