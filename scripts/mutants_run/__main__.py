"""Plant each bug in turn, run the detectors, and tell which found it.

    scripts/mutants                                all of them; the first detector that finds, ends
    scripts/mutants --every-detector               all detectors on each, also when one has found it
    scripts/mutants --only window-off-by-one       some
    scripts/mutants --sound                        no bug: all detectors must find nothing

Progress goes to standard error. The report is a JSON file, written after each bug, and a run with
--resume leaves out what is in it; standard output gets the table of docs/mutants.md. Exit status 1
when a bug was not found.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.mutants_run import MUTATIONS
from scripts.mutants_run.detectors import DETECTORS, Finding
from scripts.mutants_run.mutation import Mutation
from scripts.mutants_run.tree import Tree

ROOT = Path(__file__).parent.parent.parent
SOUND = Mutation("none", "nothing is planted", ())


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", help="names, comma-separated")
    parser.add_argument("--detectors", default="scenarios,crash", help="in this order")
    parser.add_argument("--every-detector", action="store_true")
    parser.add_argument("--sound", action="store_true", help="the tree as it is")
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--seeds", type=int, default=25, help="of scenarios at most")
    parser.add_argument("--scenarios", default="", help="only these, in this order")
    parser.add_argument("--episodes", type=int, default=12, help="of the crash harness at most")
    parser.add_argument("--seconds", type=float, default=600.0, help="for one bug and detector")
    parser.add_argument("--report", type=Path, default=Path("mutants.json"))
    parser.add_argument("--resume", action="store_true", help="leave out what the report has")
    parser.add_argument("--copy", type=Path, default=ROOT / ".mutants", help="where it is planted")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[Mutation]:
    """The bugs to plant."""
    if given.sound:
        return [SOUND]
    names = [name for name in given.only.split(",") if name]
    unknown = set(names) - {one.name for one in MUTATIONS}
    if unknown:
        raise SystemExit(f"no such mutation: {', '.join(sorted(unknown))}")
    return [one for one in MUTATIONS if not names or one.name in names]


def hunt(tree: Tree, mutation: Mutation, given: argparse.Namespace) -> list[Finding]:
    """What the detectors say of one bug."""
    findings = []
    with tree.planted(mutation):
        for name in (mutation.detector or given.detectors).split(","):
            seeds = given.episodes if name == "crash" else given.seeds
            options = given.scenarios.split() if name == "scenarios" else []
            finding = DETECTORS[name].run(tree, given.seed, seeds, given.seconds, *options)
            findings.append(finding)
            said = f"{'FOUND' if finding.found else 'not found'} by {name}"
            said = f"{mutation.name}: {said} in {finding.seeds} seeds, {finding.seconds} s"
            print(f"{said}: {finding.what} [{finding.where}]", file=sys.stderr, flush=True)
            if finding.found and not given.every_detector:
                break
    return findings


def table(report: dict[str, Any]) -> str:
    """The report as the table of docs/mutants.md."""
    lines = ["| bug | why it is one | found by, seeds, seconds |", "|---|---|---|"]
    for name, row in report.items():
        cells = [
            f"{one['detector']} {one['seeds']}, {one['seconds']:.0f} s"
            for one in row["findings"]
            if one["found"]
        ]
        lines.append(f"| {name} | {row['why']} | {'; '.join(cells) or '**not found**'} |")
    return "\n".join(lines)


def main() -> int:
    """Run, report, and return the exit status."""
    given = arguments()
    tree = Tree(ROOT, given.copy.absolute())
    tree.refresh()
    report: dict[str, Any] = {}
    if given.resume and given.report.exists():
        report = json.loads(given.report.read_text())
    for mutation in chosen(given):
        if mutation.name in report:
            continue
        findings = hunt(tree, mutation, given)
        row = {"why": mutation.why, "findings": [asdict(one) for one in findings]}
        report[mutation.name] = row
        given.report.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    found = [any(one["found"] for one in row["findings"]) for row in report.values()]
    if given.sound:
        return 1 if any(found) else 0
    print(f"\n{sum(found)} of {len(found)} found", file=sys.stderr)
    return 0 if all(found) else 1


if __name__ == "__main__":
    sys.exit(main())
