"""`scripts/sweep aof|cuts|flips`: one sweep, its report as JSON; status 1 when it found a fault."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

from scripts.sweep_run import aof, cuts, flips


def main() -> int:
    """Run, report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/sweep", description="see docs/sweeps.md")
    runs = parser.add_subparsers(dest="run", required=True)
    one = runs.add_parser("aof", help="every prefix of an append-only file")
    one.add_argument("--operations", type=int, default=10_000)
    one.add_argument("--count", type=int, default=10_000, help="random byte cuts")
    one.add_argument("--starts", type=int, default=500, help="of these with a server process")
    one.add_argument("--seed", type=int, default=1)
    one = runs.add_parser("cuts", help="every byte of every command")
    one.add_argument("--count", type=int, default=500, help="offsets inside a long value")
    one.add_argument("--silences", type=int, default=6, help="half-open and late, each")
    one.add_argument("--stages", type=int, default=3, help="servers and services at once")
    one.add_argument("--command", nargs="*", default=[], help="of these only: `append`, ...")
    one.add_argument("--seed", type=int, default=1)
    one = runs.add_parser("flips", help="random bits in Redis, snapshots and the append-only file")
    one.add_argument("--count", type=int, default=10_000, help="in Redis and snapshot files")
    one.add_argument("--starts", type=int, default=500, help="in the append-only file")
    one.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # faults are made on purpose; the report tells
    report = _report(given)
    print(json.dumps(report, indent=1))
    return 0 if report["passed"] else 1


def _report(given: argparse.Namespace) -> dict[str, Any]:
    match given.run:
        case "aof":
            return aof.sweep(given.operations, given.count, given.starts, given.seed)
        case "cuts":
            return cuts.sweep(given.count, given.silences, given.seed, given.command, given.stages)
        case "flips":
            return flips.sweep(given.count, given.starts, given.seed)
    raise AssertionError(given.run)


if __name__ == "__main__":
    sys.exit(main())
