"""Two services on one Redis: learn on both at once, then compare; read your own writes elsewhere.

    .venv/bin/python -m scripts.acceptance.two_servers --examples 200000 --reads 1000

1. Clients of both services send the log at the same time. A few times they pause, and at the equal
   position then reached the state digests of both services must be equal.
2. An example is learned on one service, and the other is asked at once, with `min_position` of the
   acknowledgement: it must answer from that position or a later one, and with the probability that
   the first one gives.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.cli.demo_log import generate
from app.embedded_server import EmbeddedServer
from ftrl_core.position import Position
from scripts.acceptance.service import Service

BATCH_ROWS = 250
PAUSES = 5
CLIENTS_EACH = 2
SETTLE_SECONDS = 30.0


def learn_on_both(services: Sequence[Service], log: Sequence[dict[str, Any]]) -> int:
    """Send the log in batches, each by the next client that is free; examples accepted."""
    batches = [log[i : i + BATCH_ROWS] for i in range(0, len(log), BATCH_ROWS)]
    lock, accepted = threading.Lock(), 0

    def client(service: Service) -> None:
        nonlocal accepted
        while True:
            with lock:
                if not batches:
                    return
                batch = batches.pop()
            body = {"examples": batch}
            told = service.json("POST", "/learn?predictions=false", body)
            with lock:
                accepted += told["accepted"]

    threads = [
        threading.Thread(target=client, args=(s,)) for s in services for _ in range(CLIENTS_EACH)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return accepted


def states(services: Sequence[Service]) -> list[tuple[str, str]]:
    """(position, state digest) of each, once their positions are equal."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        stats = [service.json("GET", "/stats") for service in services]
        if len({one["position"] for one in stats}) == 1 or time.monotonic() > deadline:
            return [(one["position"], one["state_digest"]) for one in stats]
        time.sleep(0.02)


def read_own_writes(services: Sequence[Service], reads: int, seed: int) -> int:
    """How often the other service answered from the acknowledged position, rightly."""
    draw = random.Random(seed)
    right = 0
    for number in range(reads):
        one, other = draw.sample(list(services), 2)
        features = {"visitor": f"new-{number}", "ad": f"a{draw.randrange(50)}"}
        told = one.json("POST", "/learn", {"examples": [{"features": features, "label": 1}]})
        path = f"/predict?min_position={told['position']}"
        elsewhere = other.json("POST", path, {"examples": [{"features": features}]})
        here = one.json("POST", "/predict", {"examples": [{"features": features}]})
        wanted, answered = Position.parse(told["position"]), Position.parse(elsewhere["position"])
        seen = elsewhere["predictions"] == here["predictions"] != told["predictions"]
        right += answered.seq >= wanted.seq and seen
    return right


def main() -> int:
    """Run, report, and return the exit status."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--examples", type=int, default=200_000)
    parser.add_argument("--reads", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    log = [example for example, _ in generate(seed=given.seed, examples=given.examples)]
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-accept-") as folder,
        EmbeddedServer.start(Path(folder, "redis")) as redis,
        Service(Path(folder, "one"), "--redis-url", redis.url) as one,
        Service(Path(folder, "two"), "--redis-url", redis.url) as two,
    ):
        services, part = [one, two], -(-len(log) // PAUSES)
        accepted, compared, started = 0, [], time.monotonic()
        for first in range(0, len(log), part):
            accepted += learn_on_both(services, log[first : first + part])
            compared.append(states(services))
        seconds = time.monotonic() - started
        right = read_own_writes(services, given.reads, given.seed)
        last = states(services)
        stats = [service.json("GET", "/stats") for service in services]
    equal = sum(len(set(pair)) == 1 for pair in [*compared, last])
    good = equal == len(compared) + 1 and right == given.reads and accepted == given.examples
    report = {
        "run": "two_servers",
        "seed": given.seed,
        "examples": accepted,
        "seconds_learning": round(seconds, 1),
        "digests_compared": len(compared) + 1,
        "digests_equal": equal,
        "reads": given.reads,
        "reads_right": right,
        "log_regressions": sum(one["log_regressions"] for one in stats),
        "position": last[0][0],
        "state_digest": last[0][1],
        "passed": good,
    }
    print(json.dumps(report))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
