"""`clickfold train` beside `vw --ftrl`, whole processes over the same text files.

    ./scripts/contest 0001                                    makes .venv-contest, which has vw
    .venv/bin/python -m scripts.benchmarks.train [--examples 3000000] [--rounds 3] [--json]

    vw             vw --ftrl, from Vowpal Wabbit text in the layout that it reads faster
    single         clickfold train with the same learning rate, from the same file
    default        clickfold train with the untouched default, a mixture of four rates
    gzip           as `single`, from the compressed file
    ndjson         as `single`, from the same examples as lines of JSON

Wall time from the start of a process to its end, start of the interpreter included; processor time
of the whole process beside it. Every round runs all in turn; figures are medians, with the least
and the greatest. Nobody writes a model. The progressive log loss of both sides is compared.

Both use 2^22 slots, alpha .1, beta 1, and no regularisation. The files are made with a seed
(click_text.py), and are in the page cache when they are read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks import click_text

ROOT = Path(__file__).resolve().parents[2]
VW = f"{ROOT / '.venv-contest/bin/python'} -m vowpalwabbit"
BITS, ALPHA, BETA = 22, 0.1, 1.0
CONFIG = {
    "table_bits": BITS,
    "optimizer": {"learning_rate": ALPHA, "beta": BETA, "initial_accumulator_value": 0.0},
}
VW_OPTIONS = (
    f"--ftrl --ftrl_alpha {ALPHA} --ftrl_beta {BETA} --l1 0 --l2 0 "
    f"--loss_function logistic -b {BITS}"
)
VW_LOSS = re.compile(r"^average loss = ([0-9.]+)", re.MULTILINE)


class Run:
    """What one process took and said."""

    def __init__(self, command: Sequence[str]) -> None:
        began = time.perf_counter()
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.seconds = time.perf_counter() - began
            output.seek(0)
            self.output = output.read().decode()
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.memory_mib = usage.ru_maxrss / 1024
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{self.output}")

    @property
    def log_loss(self) -> float:
        """The progressive log loss that the process said."""
        found = VW_LOSS.search(self.output)
        if found:
            return float(found[1])
        return float(json.loads(self.output.splitlines()[-1])["log_loss"])


def commands(folder: Path, layout: str, vw: str) -> dict[str, list[str]]:
    """What is run, by name."""
    train = [str(Path(sys.executable).parent / "clickfold"), "train"]
    plain = str(folder / f"{layout}.vw")
    config = ["--config", json.dumps(CONFIG), "--json"]
    return {
        "vw": [*vw.split(), *VW_OPTIONS.split(), "-d", plain],
        "single": [*train, plain, *config],
        "default": [*train, plain, "--json"],
        "gzip": [*train, f"{plain}.gz", *config],
        "ndjson": [*train, str(folder / "all.ndjson"), *config],
    }


def make_files(folder: Path, layout: str, examples: int, seed: int) -> None:
    """The log in every form that is needed."""
    plain = folder / f"{layout}.vw"
    click_text.write(plain, layout, examples, seed)
    click_text.write(folder / "all.ndjson", "ndjson", examples, seed)
    with plain.open("rb") as file, gzip.open(f"{plain}.gz", "wb", compresslevel=1) as packed:
        shutil.copyfileobj(file, packed, 1 << 20)


def figures(runs: dict[str, list[Run]], examples: int) -> dict[str, Any]:
    """Medians and spreads of each, and the ratios."""
    lines = {
        name: {
            "seconds": round(statistics.median(run.seconds for run in all_runs), 3),
            "least": round(min(run.seconds for run in all_runs), 3),
            "greatest": round(max(run.seconds for run in all_runs), 3),
            "cpu_seconds": round(statistics.median(run.cpu_seconds for run in all_runs), 3),
            "memory_mib": round(max(run.memory_mib for run in all_runs)),
            "log_loss": all_runs[-1].log_loss,
        }
        for name, all_runs in runs.items()
    }
    for line in lines.values():
        line["examples_per_second"] = round(examples / line["seconds"])
        line["examples_per_cpu_second"] = round(examples / line["cpu_seconds"])
        if "vw" in lines:
            line["times_faster_than_vw"] = round(lines["vw"]["seconds"] / line["seconds"], 2)
    return {"examples": examples, "features": click_text.FIELDS, "lines": lines}


def shown(result: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    rows = ["| | s | least to greatest | cpu s | examples/s | times vw | log loss | MiB |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    for name, line in result["lines"].items():
        rows.append(
            f"| {name} | {line['seconds']:.2f} | {line['least']:.2f} to {line['greatest']:.2f} "
            f"| {line['cpu_seconds']:.2f} | {line['examples_per_second']:,} "
            f"| {line.get('times_faster_than_vw', '')} | {line['log_loss']:.6f} "
            f"| {line['memory_mib']} |"
        )
    return "\n".join(rows)


def main(arguments: Sequence[str]) -> None:
    """Make the files, run everything, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layout", choices=("namespaces", "single"), default="namespaces")
    parser.add_argument("--only", nargs="+", help="names of the commands to run (default: all)")
    parser.add_argument("--vw", default=VW, help="the command for Vowpal Wabbit")
    parser.add_argument("--folder", type=Path, help="keep the files here, or find them here")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / f"{options.layout}.vw.gz").exists():
            folder.mkdir(parents=True, exist_ok=True)
            make_files(folder, options.layout, options.examples, options.seed)
        chosen = commands(folder, options.layout, options.vw)
        if options.only:
            chosen = {name: chosen[name] for name in options.only}
        runs: dict[str, list[Run]] = {name: [] for name in chosen}
        for _ in range(options.rounds):
            for name, command in chosen.items():
                runs[name].append(Run(command))
    result = figures(runs, options.examples)
    print(json.dumps(result) if options.json else shown(result))


if __name__ == "__main__":
    main(sys.argv[1:])
