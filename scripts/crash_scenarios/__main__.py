"""Run scenarios over seeds; see the package.

The report is one line of JSON: seeds run, and the first fault with the seed that shows it. Exit
status 1 when there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from app import recovery
from ftrl_core import warmup
from scripts.crash_scenarios.clients import Journal
from scripts.crash_scenarios.cluster import Cluster, Fault, hasten
from scripts.crash_scenarios.scenarios import calls, emptied, lag, rollback
from scripts.crash_scenarios.scenarios_of_content import damage, restore, upload

SCENARIOS = {run.__name__: run for run in (calls, rollback, lag, damage, restore, upload, emptied)}
SEED_SECONDS = 120.0
# Where there is one, a disk in memory: a process that is killed loses nothing that it wrote, so
# waiting for a real disk would show nothing and cost most of the time.
MEMORY = Path("/dev/shm")  # noqa: S108
DISK = MEMORY if MEMORY.is_dir() else None


async def run_seed(name: str, seed: int) -> tuple[str | None, dict[str, int]]:
    """The first fault of this seed, None when there is none; and counts of outcomes."""
    draw, journal = random.Random(f"{name}-{seed}"), Journal()
    with tempfile.TemporaryDirectory(prefix="cf-", dir=DISK) as folder:
        cluster = Cluster(Path(folder), draw, {})
        try:
            async with asyncio.timeout(SEED_SECONDS):
                await SCENARIOS[name](cluster, journal, draw)
        except Fault as fault:
            return str(fault), journal.counts
        except TimeoutError:
            where = traceback.format_exc().strip().splitlines()[-1]
            return f"it hangs: {where}", journal.counts
        except Exception as error:  # noqa: BLE001  whatever breaks is what is looked for
            last = traceback.extract_tb(error.__traceback__)[-1]
            return f"{error!r} in {last.name}:{last.lineno}", journal.counts
        finally:
            with contextlib.suppress(Exception):
                await cluster.close()
    return (journal.faults[0] if journal.faults else None), journal.counts


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", default=[*SCENARIOS])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--keep-going", action="store_true", help="past the first fault")
    parser.add_argument("--logs", action="store_true", help="what the service logs, to stderr")
    return parser.parse_args()


def main() -> int:
    """Run, report, and return the exit status."""
    given = arguments()
    logging.basicConfig(level=logging.WARNING if given.logs else logging.CRITICAL + 1)
    recovery.log.setLevel(logging.ERROR)  # what loaders refuse is looked at
    recovery.log.propagate = given.logs
    # What a planted bug does is to be found, and not that a self-test sees it.
    warmup.SELF_TESTS = ()  # type: ignore[assignment]
    warmup.warm_up()
    hasten()
    started, faults, counts, run = time.monotonic(), [], dict[str, int](), 0
    seeds = range(given.seed, given.seed + given.seeds)
    for seed, name in itertools.product(seeds, given.scenarios):
        fault, seen = asyncio.run(run_seed(name, seed))
        run += 1
        for what, count in seen.items():
            counts[what] = counts.get(what, 0) + count
        if fault is not None:
            faults.append({"scenario": name, "seed": seed, "fault": fault[:400]})
            if not given.keep_going:
                break
    report = {
        "run": "crash_scenarios",
        "scenarios": given.scenarios,
        "first_seed": given.seed,
        "runs": run,
        "outcomes": counts,
        "faults": faults,
        "seconds": round(time.monotonic() - started, 1),
        "passed": not faults,
    }
    print(json.dumps(report))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
