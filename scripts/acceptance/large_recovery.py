"""A table of 2^24 slots: from kill -9 to ready, and how fast the tail of the log is replayed.

    python -m scripts.acceptance.large_recovery --lanes 1 --runs 5 --examples 1000000

Three ways back, each taken after a kill -9 of the service, with the seconds from its start until
/readyz says 200, kernels and self-test included:

    from a checkpoint   Redis went on; the log holds nothing after the newest checkpoint
    with a tail         Redis went on; the log holds --examples examples more, which are replayed
    embedded            the same as the first on the embedded server, which loads its AOF as well

Replay is the tail's examples over the difference of the first two medians. A start with a table of
2^10 slots, in the same run, says what of it all is not the table's.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from scripts.acceptance.large_table import arguments, config_of, pair
from scripts.acceptance.service import Service
from scripts.benchmarks.examples import example

READY_SECONDS_MAX = 2.0
REPLAY_MIN = 500_000.0
REQUEST_EXAMPLES = 1000
DISTINCT_REQUESTS = 64
NEVER = {
    "CLICKFOLD_CHECKPOINT_IDLE_SECONDS": "3600",
    "CLICKFOLD_CHECKPOINT_LOG_BYTES": "1TiB",
    "CLICKFOLD_LOG_BYTES_MAX": "2GiB",
}


def learn(service: Service, seed: int, examples: int) -> None:
    """Learn so many examples, in requests of REQUEST_EXAMPLES."""
    rng = random.Random(seed)
    bodies = [
        json.dumps({"examples": [example(rng, labelled=True) for _ in range(REQUEST_EXAMPLES)]})
        for _ in range(min(DISTINCT_REQUESTS, examples // REQUEST_EXAMPLES))
    ]
    for number in range(examples // REQUEST_EXAMPLES):
        reply = service.client.post(
            "/learn?predictions=false",
            content=bodies[number % len(bodies)],
            headers={"Content-Type": "application/json"},
        )
        assert reply.status_code == 200, reply.text


def starts(service: Service, runs: int) -> tuple[list[float], bool]:
    """Seconds from start to ready after each kill; whether the digest was always the same."""
    digest = service.json("GET", "/stats")["state_digest"]
    seconds, same = [], True
    for _ in range(runs):
        service.kill()
        service.start()
        seconds.append(round(service.ready_seconds, 2))
        same &= service.json("GET", "/stats")["state_digest"] == digest
    return seconds, same


def measure(folder: Path, config: dict[str, Any], given: Any) -> dict[str, Any]:
    """Seconds of every start, by kind."""
    figures: dict[str, Any] = {}
    kept = []
    with pair(folder / "tiny", {"table_bits": 10}) as tiny:
        figures["tiny"], same = starts(tiny.service, given.runs)
    with pair(folder / "big", config, **NEVER) as big:
        learn(big.service, given.seed, 200 * REQUEST_EXAMPLES)
        big.service.stop()  # in order: writes a checkpoint
        big.service.start()
        figures["from_a_checkpoint"], same = starts(big.service, given.runs)
        kept.append(same)
        learn(big.service, given.seed, given.examples)
        figures["with_a_tail"], same = starts(big.service, given.runs)
        kept.append(same)
    redis = folder / "big" / "redis"
    figures["aof_bytes"] = sum(path.stat().st_size for path in redis.rglob("*.aof"))
    figures["aof_bytes"] += sum(path.stat().st_size for path in redis.rglob("*.rdb"))
    with Service(redis, **NEVER) as service:
        figures["embedded"], same = starts(service, given.runs)
        kept.append(same)
    return {**figures, "state_digests_equal": all(kept)}


def main() -> int:
    """Measure, print one JSON line, and return the exit status."""
    given = arguments(examples=1_000_000)
    with tempfile.TemporaryDirectory(prefix="clickfold-large-", dir=given.folder) as folder:
        figures = measure(Path(folder), config_of(given), given)
    kinds = ("tiny", "from_a_checkpoint", "with_a_tail", "embedded")
    median = {kind: round(float(np.median(figures[kind])), 2) for kind in kinds}
    replaying = max(0.01, median["with_a_tail"] - median["from_a_checkpoint"])
    replay = round(given.examples / replaying)
    good = figures["state_digests_equal"] and replay >= REPLAY_MIN
    report = {
        "run": "large_recovery",
        **vars(given),
        **figures,
        "median_seconds": median,
        "replayed_examples_per_second": replay,
        "load_average": os.getloadavg(),
        "passed": good and median["from_a_checkpoint"] <= READY_SECONDS_MAX,
    }
    print(json.dumps(report))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
