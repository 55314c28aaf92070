"""`scripts/differential`: the tables of docs/differential.md, printed as Markdown.

Exit status 1 when a figure is beyond its bound. With --record it writes the file that
tests/ftrl_core/test_recorded.py compares with, and prints no table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/differential", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=100, help="cases a line (TensorFlow)")
    parser.add_argument("--only", choices=("tensorflow", "vw"))
    parser.add_argument("--record", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> int:
    """Print what is asked for."""
    given = arguments()
    if given.record is not None:
        from scripts.differential_run import record

        record.write(given.record, given.seed)
        return 0
    holds = True
    if given.only != "vw":
        from scripts.differential_run import probes, tensorflow_table

        holds &= tensorflow_table.print_table(given.seed, given.cases)
        print()
        probes.print_table()
    if given.only != "tensorflow":
        from scripts.differential_run import vw_table

        print()
        holds &= vw_table.print_table(given.seed)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
