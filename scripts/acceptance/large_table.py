"""A table of 2^24 slots: the longest stall of a /predict during checkpoints, and start to ready.

    .venv/bin/python -m scripts.acceptance.large_table [TABLE_BITS]

A learner sends batches without a pause and a prober predicts one example at a time, first without
and then with checkpoints; each prediction's time is taken. The service and both clients share the
machine's cores, so the figures without a checkpoint are the measure for those with one.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from scripts.acceptance.service import Service
from scripts.benchmarks.__main__ import example
from scripts.benchmarks.load import post, write_requests

SECONDS = 60.0
CONNECTIONS = 2


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    """count, p50, p99 and the longest, in milliseconds."""
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {
        "predictions": len(milliseconds),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
        "longest_ms": round(max(milliseconds), 2),
    }


def start_learner(port: int, folder: Path) -> subprocess.Popen[bytes]:
    """The load generator of the benchmarks, on the learn route."""
    rng = random.Random(6)
    bodies = [{"examples": [example(rng, labelled=True) for _ in range(100)]} for _ in range(64)]
    path = "/models/big/learn?predictions=false"
    write_requests(folder / "learn", [post(path, json.dumps(body).encode()) for body in bodies])
    words = [str(port), str(CONNECTIONS), str(SECONDS), str(folder / "learn")]
    command = [sys.executable, "-m", "scripts.benchmarks.load", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def probe(service: Service, example: dict[str, Any], seconds: float) -> list[float]:
    """Milliseconds of each prediction, one after the other."""
    taken = []
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        service.json("POST", "/models/big/predict", example)
        taken.append((time.perf_counter() - started) * 1000)
    return taken


def probe_beside(
    service: Service, probed: dict[str, Any], learner: subprocess.Popen[bytes]
) -> tuple[list[float], int]:
    """Probe as long as the learner runs; also how many checkpoints were committed meanwhile."""
    taken: list[float] = []
    seqs = set()
    while learner.poll() is None:
        taken += probe(service, probed, 1.0)
        metrics = service.client.get("/models/big/metrics").text
        seqs.add(next(x for x in metrics.splitlines() if x.startswith("clickfold_checkpoint_seq")))
    return taken, len(seqs) - 1


def main() -> None:
    """Measure and print one JSON line."""
    bits = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    probed = example(random.Random(7), labelled=False)
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-accept-") as folder,
        Service(
            Path(folder) / "data", CLICKFOLD_CHECKPOINT_LOG_BYTES="16MiB", CLICKFOLD_MODELS="big"
        ) as service,
    ):
        service.json("PUT", "/models/big", {"table_bits": bits}, expect=201)
        alone = probe(service, probed, SECONDS / 10)
        learner = start_learner(service.port, Path(folder))
        learning, checkpoints = probe_beside(service, probed, learner)
        idle = probe(service, probed, SECONDS / 5)
        stats = service.json("GET", "/models/big/stats")
        service.kill()
        service.start()
        started = time.monotonic()
        digest = service.json("GET", "/models/big/stats")["digest"]
        loading = time.monotonic() - started
    print(
        json.dumps(
            {
                "table_bits": bits,
                "examples": stats["examples"],
                "checkpoints_while_learning": checkpoints,
                "last_checkpoint_seconds": round(stats["checkpoint"]["seconds"] or 0, 2),
                "predict_alone": percentiles(alone),
                "predict_while_learning": percentiles(learning),
                "predict_while_the_idle_checkpoint_is_written": percentiles(idle),
                "same_digest_after_kill": digest == stats["digest"],
                "start_to_ready_seconds": round(service.ready_seconds, 2),
                "first_answer_after_ready_seconds": round(loading, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
