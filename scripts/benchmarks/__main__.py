"""`scripts/bench`: the service beside its limits and its peers, each in its own process, in turn.

    served      requests over HTTP                                            served.py
    in_process  learning in process, from each one's best form                in_process.py
    kernels     the learn kernel beside one that only touches the records     fold.py
    growth      how cost grows                                                growth.py
    mixed       a bulk learner beside a client that predicts                  mixed.py
    train       `clickfold train` beside `vw` on one file                     train.py

Without options: the first three without peers, in a minute or two. Prints Markdown, or with --json
one JSON document. With --into the run is kept in a folder (run.json, tables.md and charts), and
parts that are measured later replace those of the same name in it; --all is everything, into
docs/benchmarks.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import Any

from scripts import data_logs
from scripts.benchmarks import contenders, examples, growth, in_process, machine, served
from scripts.benchmarks.contenders import free_port, wait_ready
from scripts.benchmarks.examples import example
from scripts.benchmarks.report import markdown

__all__ = ["example", "free_port", "wait_ready"]  # for the benchmarks that are programs apart

SHORT = ("served", "in_process", "kernels")
PARTS = (*SHORT, "growth", "mixed", "train")
LIMITS = ("echo", *served.OURS, "XADD")
EVERYBODY = ("echo", *served.OURS, *served.PEERS, "XADD")
FOLDED_EXAMPLES = 100_000
REAL_REPEATS = 5
KEPT = Path("docs/benchmarks")


def arguments() -> argparse.Namespace:
    """Of the command line; what is not given depends on the kind of run."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--peers", action="store_true", help="River, Vowpal Wabbit, TensorFlow too")
    parser.add_argument("--growth", action="store_true", help="how cost grows, and nothing else")
    parser.add_argument("--all", action="store_true", help="everything, into docs/benchmarks")
    parser.add_argument("--parts", nargs="+", choices=PARTS)
    parser.add_argument("--curves", nargs="+", choices=growth.CURVES, default=list(growth.CURVES))
    parser.add_argument("--into", type=Path, help="the folder in which the run is kept")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each contender in each line and round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lock", type=Path, help="a file to lock while something is measured")
    parser.add_argument("--nice", type=int, default=0, help="priority, where others work as well")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.peers = given.peers or given.all
    given.parts = given.parts or (PARTS if given.all else ("growth",) if given.growth else SHORT)
    given.into = given.into or (KEPT if given.all else None)
    given.rounds = given.rounds or (1 if given.quick else 5 if given.peers else 2)
    given.seconds = given.seconds or (1.0 if given.quick else 3.0 if given.peers else 2.0)
    return given


def tell(text: str) -> None:
    """Progress, beside the report."""
    print(text, file=sys.stderr, flush=True)


def run_served(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All rounds over HTTP."""
    lines = served.all_lines(given.seed, given.connections, with_real=given.peers)
    running = served.Served(folder, lines, EVERYBODY if given.peers else LIMITS)
    try:
        rounds = []
        for number in range(1, given.rounds + 1):
            tell(f"over HTTP, round {number} of {given.rounds}")
            found: dict[str, dict[str, Any]] = {}
            for _, part in groupby(running.plan, lambda one: one[0].data):
                with machine.alone(given.lock):
                    for line, name in part:
                        figures = running.measure(line, name, given.seconds)
                        found.setdefault(line.name, {})[name] = figures
            rounds.append(found)
        return {"rounds": rounds, "memory": running.memory()}
    finally:
        running.close()


def run_in_process(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All rounds in process, on generated examples and on the real log's."""
    count = FOLDED_EXAMPLES if given.peers else FOLDED_EXAMPLES // 5
    data = {"generated": examples.generated(count, given.seed)}
    if given.peers and not data_logs.missing("criteo"):
        data["criteo"] = examples.real("criteo", served.REAL_EXAMPLES) * REAL_REPEATS
    found: dict[str, Any] = {}
    for name, rows in data.items():
        in_process.write(folder, rows)
        found[name] = []
        for number in range(1, given.rounds + 1):
            tell(f"in process, {name}, round {number} of {given.rounds}")
            with machine.alone(given.lock):
                found[name].append(in_process.measure_round(folder, with_peers=given.peers))
    return found


def run_kernels(_folder: Path, given: argparse.Namespace) -> Any:
    """Kernel against kernel."""
    with machine.alone(given.lock):
        return in_process.kernels(3 if given.quick else 15, (18, 24))


def run_growth(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """The curves that are wanted."""
    found = {}
    for name in given.curves:
        tell(f"growth: {name}")
        found[name] = growth.measure(given, folder, name)
    return found


def run_program(name: str, given: argparse.Namespace, *words: str) -> dict[str, Any]:
    """What a benchmark that is a program apart prints with --json."""
    if find_spec(f"scripts.benchmarks.{name}") is None:
        return {"missing": "not available"}
    command = [sys.executable, "-m", f"scripts.benchmarks.{name}", "--json", *words]
    with machine.alone(given.lock):
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    if done.returncode:
        return {"missing": f"{name} failed"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_mixed(_folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """A bulk learner beside a client that predicts."""
    return run_program(
        "mixed", given, *(["--rounds", "1", "--seconds", "2"] if given.quick else [])
    )


def run_train(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """`clickfold train` beside `vw`."""
    words = ["--folder", str(folder), "--rounds", "1" if given.quick else "3"]
    words += ["--examples", "100000"] if given.quick else []
    try:
        words += ["--vw", f"{contenders.peers_python()} -m vowpalwabbit"]
    except contenders.Missing:
        words += ["--only", "single", "default", "gzip", "ndjson"]
    return run_program("train", given, *words)


RUNNERS: dict[str, Callable[[Path, argparse.Namespace], Any]] = {
    "served": run_served,
    "in_process": run_in_process,
    "kernels": run_kernels,
    "growth": run_growth,
    "mixed": run_mixed,
    "train": run_train,
}


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, each part with the conditions it was measured under."""
    run: dict[str, Any] = {"machine": machine.described(), "conditions": {}}
    for part in given.parts:
        tell(part)
        place = folder / part
        place.mkdir()
        before, sync = machine.load_average(), machine.sync_ms(place)
        run[part] = RUNNERS[part](place, given)
        run["conditions"][part] = {
            "rounds": given.rounds,
            "seconds": given.seconds,
            "seed": given.seed,
            "nice": given.nice,
            "load_average": [before, machine.load_average()],
            "sync_ms": [sync, machine.sync_ms(place)],
        }
    return run


def keep(run: dict[str, Any], folder: Path) -> None:
    """The run beside what is kept already, its tables, and its charts."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    if "growth" in before and "growth" in run:
        run["growth"] = before["growth"] | run["growth"]
    run["conditions"] = before.get("conditions", {}) | run["conditions"]
    run = before | run
    path.write_text(json.dumps(run, indent=1) + "\n")
    (folder / "tables.md").write_text(
        "# Beside peers and limits: the latest run\n\n" + markdown(run)
    )
    try:
        command = [contenders.peers_python(), "-m", "scripts.benchmarks.peers.chart"]
        subprocess.run([*command, str(path), str(folder)], check=True)
    except (contenders.Missing, subprocess.CalledProcessError) as error:
        tell(f"no charts were drawn: {error}")


def end(_number: int, _frame: FrameType | None) -> None:
    """End in order, once: contenders must not be left behind, frozen."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def main() -> None:
    """Measure, keep, print."""
    given = arguments()
    signal.signal(signal.SIGTERM, end)
    machine.prefer([os.getpid()], given.nice)
    contenders.Contender.nice = given.nice
    with tempfile.TemporaryDirectory(prefix="clickfold-bench-") as name:
        run = measure(Path(name), given)
    if given.into:
        keep(run, given.into)
    print(json.dumps(run) if given.json else markdown(run), end="\n" if given.json else "")


if __name__ == "__main__":
    main()
