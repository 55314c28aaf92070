"""`scripts/attack ingest|application|sockets`: one run, its report as JSON; status 1 for faults."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any


def main() -> int:
    """Run, report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/attack", description="see docs/attacks.md")
    runs = parser.add_subparsers(dest="run", required=True)
    for name, count, says in (
        ("ingest", 1_000_000, "bodies to the decoders"),
        ("application", 100_000, "requests to the application, in process"),
        ("sockets", 100_000, "requests to a service process, over real sockets"),
    ):
        one = runs.add_parser(name, help=says)
        one.add_argument("--count", type=int, default=count)
        one.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the report tells
    print(f"scripts/attack {given.run} --count {given.count} --seed {given.seed}", file=sys.stderr)
    report = _report(given)
    print(json.dumps(report, indent=1))
    return 0 if report["passed"] else 1


def _report(given: argparse.Namespace) -> dict[str, Any]:
    match given.run:
        case "ingest":
            from scripts.attack_run import ingest

            return ingest.attack(given.count, given.seed)
        case "application":
            from scripts.attack_run import application

            return application.attack(given.count, given.seed)
        case _:
            from scripts.attack_run import sockets

            return sockets.attack(given.count, given.seed)


if __name__ == "__main__":
    sys.exit(main())
