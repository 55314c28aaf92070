"""kill -9 of the service after a real log was learned: restarted, it must be the same to the bit.

    .venv/bin/python -m scripts.acceptance.restart

Killed at once after the last acknowledgement (the tail is replayed from the log), and again after a
checkpoint was written while idle.
"""

from __future__ import annotations

import json
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from scripts.acceptance.service import Service
from scripts.data_logs import read

PROBES = 1000
BATCH = 1000
IDLE_SECONDS = 6.0


def state(service: Service, probes: list[dict[str, Any]]) -> tuple[Any, Any, Any]:
    """Digests and the probe predictions."""
    stats = service.json("GET", "/stats")
    predictions = service.json("POST", "/predict", {"examples": probes})["predictions"]
    return stats["digest"], stats["state_digest"], predictions


def main() -> None:
    """Learn, kill, compare, twice; print one JSON line."""
    log = list(read("criteo"))
    probes = [{"features": example["features"]} for example in islice(log, PROBES)]
    report: dict[str, Any] = {"examples": len(log), "probes": len(probes)}
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-accept-") as folder,
        Service(Path(folder) / "data") as service,
    ):
        for first in range(0, len(log), BATCH):
            service.json("POST", "/learn", {"examples": log[first : first + BATCH]})
        for kind in ("from_the_log", "from_a_checkpoint"):
            before = state(service, probes)
            service.kill()
            service.start()
            report[f"{kind}_is_identical"] = state(service, probes) == before
            report[f"{kind}_ready_seconds"] = round(service.ready_seconds, 2)
            time.sleep(IDLE_SECONDS)
        report["checkpoint_seq"] = service.json("GET", "/stats")["checkpoint"]["seq"]
    print(json.dumps(report))
    if not (report["from_the_log_is_identical"] and report["from_a_checkpoint_is_identical"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
