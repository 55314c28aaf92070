"""Starts a service, runs schemathesis on its document, and passes on what it says."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.acceptance.service import Service

ROOT = Path(__file__).parent.parent.parent
SCHEMATHESIS = ROOT / ".venv-schemathesis" / "bin" / "schemathesis"
KEY = "the-key-of-this-run"
SMALL = {"table_bits": 8, "deduplication_window": 256}


def main() -> int:
    """The exit status of schemathesis: 0 when it finds nothing."""
    parser = argparse.ArgumentParser(prog="scripts/schemathesis", description="see docs/attacks.md")
    parser.add_argument("--examples", type=int, default=100, help="of each operation and phase")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"scripts/schemathesis --examples {given.examples} --seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="clickfold-schemathesis-") as folder:
        data = Path(folder) / "data"
        options = ("--config", json.dumps(SMALL), "--memory-limit", "64MiB")
        keys = f"ops admin,learn,predict * {KEY}"
        with Service(data, *options, CLICKFOLD_KEYS=keys) as service:
            status = _run(service.port, given.examples, given.seed)
        log = data.with_suffix(".log").read_text(errors="replace")
    failed = [line for line in log.splitlines() if "failed" in line or "unforeseen" in line]
    print("\n".join(failed[:20]))
    return 1 if failed else status


def _run(port: int, examples: int, seed: int) -> int:
    command = [
        str(SCHEMATHESIS), "--config-file", str(Path(__file__).with_name("schemathesis.toml")),
        "run", f"http://127.0.0.1:{port}/openapi.json", "--header", f"Authorization: Bearer {KEY}",
        "--max-examples", str(examples), "--seed", str(seed), "--request-timeout", "10",
        "--continue-on-failure",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
