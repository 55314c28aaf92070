"""A seed of each scenario of the crash harness, in a process of its own: it shortens limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_a_seed_of_each_scenario(seed: int) -> None:
    command = [sys.executable, "-m", "scripts.crash_scenarios", "--seeds", "1"]
    done = subprocess.run(
        [*command, "--seed", str(seed % 1_000_000)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["runs"] == len(report["scenarios"]) == 7
    assert report["outcomes"]["ack"] > 100
