"""How exact and how robust the fold's arithmetic is: `python -m scripts.numerics RUN`.

    zipf         log loss of the float32 fold beside a float64 fold, 10 million examples by default
    adversarial  10 million legal extreme examples: all state finite, every p inside (0, 1)
    exp          exp and sigmoid beside the correctly rounded float32 result, for every float32
    fma          one fold's digest with the processor's features and without

Each prints its figures and exits with 1 when a bound is broken. docs/numerics.md holds the figures.
"""

from __future__ import annotations

import argparse
import sys

import app  # noqa: F401 - chooses the kernel cache, before numba is imported
from scripts.numerics_run import adversarial, exp, fma, zipf

EXAMPLES = 10_000_000


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/numerics.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", choices=("zipf", "adversarial", "exp", "fma"))
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    """Run one of them; 0 when its bounds hold."""
    given = arguments()
    if given.run == "zipf":
        holds = zipf.report(given.examples, given.seed)
    elif given.run == "adversarial":
        holds = adversarial.report(given.examples, given.seed)
    elif given.run == "exp":
        holds = exp.report()
    else:
        holds = fma.report(given.seed)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
