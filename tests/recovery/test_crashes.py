"""A short slice of the crash harness: docs/crashes.md has the long run.

Two episodes of five lives each at the test's seed, and one in which Redis loses what it had
acknowledged. The harness compares everything itself; what must hold here is its exit status.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "scripts.crash_run", "--lives", "5", "--jobs", "2"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("mode", "episodes"), [("fsync", 2), ("everysec", 1)])
def test_a_seeded_slice(seed: int, mode: str, episodes: int) -> None:
    arguments = ["--mode", mode, "--episodes", str(episodes), "--seed", str(seed)]
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["lost"] == report["doubled"] == 0
    assert report["acknowledged"] > 0
    assert report["crash_points"] >= 5 * episodes
