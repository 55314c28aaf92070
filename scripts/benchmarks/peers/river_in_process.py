"""River in process: learn_one of examples that are dicts already. Prints one JSON line."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from river import linear_model, optim


def main(path: Path) -> dict[str, float]:
    """Learn the examples of a file of JSON lines, once."""
    examples = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [
        ({f"{n}={v}": 1.0 for n, v in e["features"].items()}, bool(e["label"])) for e in examples
    ]
    model = linear_model.LogisticRegression(optim.FTRLProximal(alpha=0.1, beta=1.0, l1=0.0, l2=0.0))
    began, worked = time.perf_counter(), time.process_time()
    for row, label in rows:
        model.learn_one(row, label)
    seconds = time.perf_counter() - began
    return {
        "examples": len(rows),
        "seconds": seconds,
        "processor_seconds": time.process_time() - worked,
        "examples_per_second": len(rows) / seconds,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
