"""The Markdown of a run: its conditions, its tables, and what was to be reached.

python -m scripts.benchmarks.report FILE.json     prints it again from a kept run
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.acceptance import verdicts
from scripts.benchmarks.figures import Figures, of_line, rates, ratios, spread

OURS = ("ours", "ours, one rate")
RATIOS = ("learn / touch", "fold / learn", "apply / learn")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def conditions(run: Figures) -> str:
    """Where and how it was measured."""
    m = run["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    return (
        f"{m['cores']} cores of {m['processor']}, {m['memory_gib']} GiB, Linux {m['kernel']},"
        f" Python {m['python']}; {versions}. Load generator, service and Redis share the cores. A"
        " figure is the median of the rounds (the least to the greatest); a ratio is taken inside"
        " each round. Load averages are of a minute and include the measured processes."
    )


def heading(run: Figures, part: str, text: str) -> str:
    """Of a part, with its conditions."""
    c = run["conditions"][part]
    load, sync = c["load_average"], c["sync_ms"]
    return (
        f"## {text}\n\n{c['rounds']} rounds, {c['seconds']:g} s a line, seed {c['seed']}, priority"
        f" {c['nice']}; load average {load[0]} before and {load[1]} after; a sync of 16 KiB to the"
        f" disk took {sync[0]} ms before and {sync[1]} ms after (median)."
    )


def _ratio(rounds: Sequence[dict[str, Figures]], of: str, to: str) -> str:
    found = ratios(rounds, of, to) if of != to else []
    return spread(found, 2) if found else ""


def served(run: Figures) -> str:
    """Requests over HTTP."""
    rows = []
    rounds = run["served"]["rounds"]
    for line in rounds[0]:
        of = of_line(rounds, line)
        for name, first in of[0].items():
            if "missing" in first:
                rows.append([line, name, first["missing"], *[""] * 6])
                continue
            figures = [r[name] for r in of]
            cells = [spread([f[k] for f in figures]) for k in ("per_second", "examples_per_second")]
            cells += [spread([f[k] for f in figures], 2) for k in ("p50_ms", "p99_ms")]
            shares = [
                f"{statistics.median(f[k] for f in figures):.2f}"
                for k in ("processor_share", "generator_share")
            ]
            ours = [_ratio(of, mine, name) for mine in OURS]
            rows.append([line, name, *cells, *ours, " / ".join(shares)])
    head = ["line", "contender", "requests/s", "examples/s", "p50 ms", "p99 ms"]
    return table([*head, "ours / it", "ours, one rate / it", "processors: it / generator"], rows)


def in_process(rounds: Sequence[dict[str, Figures]]) -> str:
    """Learning in process."""
    rows = []
    for name, first in rounds[0].items():
        if "missing" in first:
            rows.append([name, first["missing"], "", "", ""])
            continue
        work = [r[name]["examples"] / r[name]["processor_seconds"] for r in rounds]
        ours = ["", ""] if "JSON" in name else [_ratio(rounds, mine, name) for mine in OURS]
        rows.append([name, spread(rates(rounds, name)), spread(work), *ours])
    head = ["contender", "examples/s", "examples/s of one processor"]
    return table([*head, "ours / it", "ours, one rate / it"], rows)


def kernels(run: Figures) -> str:
    """Kernel against kernel."""
    keys = ["touch_ns", "learn_ns", "fold_ns", "apply_ns", *RATIOS]
    rows = [
        [str(f["lanes"]), f"2^{f['table_bits']}", *(f"{f[key]:.2f}" for key in keys)]
        for f in run["kernels"]
    ]
    head = ["rates", "slots", "touch, ns a feature", "learn", "fold", "apply"]
    return table([*head, *RATIOS], rows)


def memory(run: Figures) -> str:
    """Resident memory after the last round."""
    rows = [
        [name, program, f"{f['now']:,.0f}", f"{f['most']:,.0f}"]
        for name, programs in run["served"]["memory"].items()
        for program, f in programs.items()
    ]
    return table(["contender", "program", "MiB", "at the most"], rows)


def reached(run: Figures) -> str:
    """What was to be reached, and whether it was."""
    rows = [
        [
            v.what,
            v.bound,
            v.shown,
            "not measured" if v.met is None else "yes" if v.met else "**no**",
        ]
        for v in verdicts(run)
    ]
    return table(["what", "to be reached", "measured", "met"], rows)


def growth(run: Figures) -> str:
    """Every curve as a table."""
    parts = []
    for name, rows in run["growth"].items():
        if rows:
            cells = [[_shown(value) for value in row.values()] for row in rows]
            parts.append(f"### {name}\n\n{table(list(rows[0]), cells)}")
    return "\n\n".join(parts)


def mixed(run: Figures) -> str:
    """Delays of predictions at 500 a second, with and without a bulk learner."""
    if "missing" in run["mixed"]:
        return str(run["mixed"]["missing"])
    columns = {"p50_ms": 2, "p99_ms": 2, "p99.9_ms": 2, "echo_p99_ms": 2, "examples_per_second": 0}
    rows = []
    for name, loads in run["mixed"].items():
        for load, rounds in loads.items():
            found = [[r[key] for r in rounds if key in r] for key in columns]
            cells = [
                spread(v, digits) if v else ""
                for v, digits in zip(found, columns.values(), strict=True)
            ]
            rows.append([name, load, *cells])
    head = ["model, workers", "load", "p50 ms", "p99 ms", "p99.9 ms", "echo's p99 ms"]
    return table([*head, "learned examples/s"], rows)


def train(run: Figures) -> str:
    """Whole processes over one file."""
    if "missing" in run["train"]:
        return str(run["train"]["missing"])
    rows = [
        [
            name,
            f"{f['seconds']:.2f} ({f['least']:.2f} to {f['greatest']:.2f})",
            f"{f['examples_per_second']:,}",
            f"{f['examples_per_cpu_second']:,}",
            str(f.get("times_faster_than_vw", "")),
            f"{f['log_loss']:.5f}",
            str(f["memory_mib"]),
        ]
        for name, f in run["train"]["lines"].items()
    ]
    head = ["", "s", "examples/s", "of one processor", "times vw", "log loss", "MiB"]
    return f"{run['train']['examples']:,} examples.\n\n{table(head, rows)}"


TABLES: dict[str, Callable[[Figures], str]] = {"mixed": mixed, "train": train}


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def markdown(run: Figures) -> str:
    """The whole report, of the parts that were measured."""
    parts = [conditions(run), "## What was to be reached", reached(run)]
    if "served" in run:
        parts += [heading(run, "served", "Over HTTP"), served(run), memory(run)]
    if "in_process" in run:
        parts.append(heading(run, "in_process", "In process"))
        for data, rounds in run["in_process"].items():
            parts += [f"### {data} examples", in_process(rounds)]
    if "kernels" in run:
        parts += [heading(run, "kernels", "Kernels"), kernels(run)]
    if "growth" in run:
        parts += [heading(run, "growth", "How cost grows"), growth(run)]
    for name, text in (("mixed", "Predictions beside a bulk learner"), ("train", "Training")):
        if name in run:
            parts += [heading(run, name, text), TABLES[name](run)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Print the report of a kept run."""
    run: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    print(markdown(run), end="")


if __name__ == "__main__":
    main()
