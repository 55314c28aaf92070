"""Run episodes and print one line of JSON; the exit status is 1 when a promise was broken.

    scripts/crash --seed 1 --episodes 80              80 episodes of 14 lives each
    scripts/crash --seed 1 --crashes 1000             as many episodes as it takes
    scripts/crash --seed 7 --episodes 3 --points commit.after,drop.pages

The seed decides plans, configurations and what clients send; when the kernel lets which process run
is its own affair, so a seed repeats the pressure and not every byte.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any

from app.failpoints import POINTS
from scripts.crash_run.episode import Outcome
from scripts.crash_run.points import Profile
from scripts.crash_run.worker import run_episode

PROFILES = {
    "fsync": (
        Profile(), Profile(), Profile(services=2), Profile(embedded=True), Profile(proxy=True),
        Profile(services=2, proxy=True),
    ),
    "everysec": (Profile(everysec=True), Profile(everysec=True, services=2)),
}  # fmt: skip


def outcomes(given: argparse.Namespace) -> Iterator[Outcome]:
    """Of all episodes, as they end."""
    chosen = [name for name in given.points.split(",") if name]
    draw = random.Random(given.seed)
    crashes, number = 0, 0
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        running: set[Future[Outcome]] = set()
        while True:
            wanted = number < given.episodes if given.episodes else crashes < given.crashes
            if wanted and len(running) < given.jobs:
                profile = draw.choice(fitting(given.mode, chosen))
                seed = f"{given.seed}.{number}"
                running.add(pool.submit(run_episode, seed, profile, given.lives, chosen))
                number += 1
                continue
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                crashes += outcome.crashes.total()
                yield outcome
                if outcome.verdict.violations and not given.keep_going:
                    for other in running:
                        yield other.result()
                    return


def fitting(mode: str, chosen: list[str]) -> list[Profile]:
    """Profiles in which some chosen point can be reached; all, when none is chosen."""
    return [p for p in PROFILES[mode] if not chosen or any(p.reaches(name) for name in chosen)]


def report(given: argparse.Namespace, found: list[Outcome], seconds: float) -> dict[str, Any]:
    """The document that is printed."""
    crashes: Counter[str] = sum((o.crashes for o in found), Counter())
    trouble: Counter[str] = sum((o.trouble for o in found), Counter())
    answers: Counter[str] = sum((o.answers for o in found), Counter())
    verdicts = [outcome.verdict for outcome in found]
    violations = [f"{o.seed}: {text}" for o in found for text in o.verdict.violations]
    return {
        "run": "crash",
        "seed": given.seed,
        "mode": given.mode,
        "episodes": len(found),
        "crash_points": crashes.total(),
        "of_redis": sum(
            count for name, count in crashes.items() if "edis" in name or "both" in name
        ),
        "distinct_failpoints": len({name.split()[0] for name in crashes} & set(POINTS)),
        "acknowledged": sum(v.acknowledged for v in verdicts),
        "lost": sum(v.lost for v in verdicts),
        "doubled": sum(v.doubled for v in verdicts),
        "lost_by_redis": sum(v.lost_by_redis for v in verdicts),
        "losses_told": sum(outcome.noticed for outcome in found),
        "entries": sum(v.entries for v in verdicts),
        "examples_folded": sum(v.examples for v in verdicts),
        "predictions_compared": sum(v.predictions for v in verdicts),
        "checkpoints_compared": sum(v.digests for v in verdicts),
        "violations": violations[:20],
        "kept": [outcome.directory for outcome in found if outcome.directory],
        "points": dict(sorted(crashes.items())),
        "other_trouble": dict(sorted(trouble.items())),
        "answers": dict(sorted(answers.items())),
        "digests": {outcome.seed: outcome.digest for outcome in found},
        "seconds": round(seconds, 1),
        "passed": not violations,
    }


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="scripts/crash", description="see docs/crashes.md")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=0, help="how many; else by --crashes")
    parser.add_argument("--crashes", type=int, default=1000, help="how many at least")
    parser.add_argument("--lives", type=int, default=14, help="of each episode")
    parser.add_argument("--mode", choices=sorted(PROFILES), default="fsync")
    parser.add_argument("--points", default="", help="only these failpoints, comma-separated")
    parser.add_argument("--jobs", type=int, default=2, help="episodes at a time")
    parser.add_argument("--keep-going", action="store_true", help="also after a violation")
    parser.add_argument("--list", action="store_true", help="print the failpoints")
    given = parser.parse_args()
    unknown = set(filter(None, given.points.split(","))) - set(POINTS)
    if unknown:
        parser.error(f"no such failpoints: {', '.join(sorted(unknown))}")
    return given


def main() -> int:
    """Run, report, and return the exit status."""
    given, began = arguments(), time.monotonic()
    if given.list:
        print("\n".join(POINTS))
        return 0
    found = []
    for outcome in outcomes(given):
        found.append(outcome)
        state = outcome.verdict.violations[0] if outcome.verdict.violations else "ok"
        line = f"{outcome.seed}: {outcome.crashes.total()} crashes, {outcome.seconds} s: {state}"
        print(line, file=sys.stderr, flush=True)
    document = report(given, found, time.monotonic() - began)
    print(json.dumps(document))
    if not document["passed"]:
        print(f"crash: {document['violations'][0]}", file=sys.stderr)
    return 0 if document["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
