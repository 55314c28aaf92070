"""A short slice of the crash harness: docs/crashes.md has the long run.

One episode of a few lives at the test's seed, and one in which Redis loses what it had
acknowledged. The harness compares everything itself; what must hold here is its exit status.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "scripts.crash_run", "--episodes", "1", "--jobs", "1"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("mode", "lives"), [("fsync", 6), ("everysec", 4)])
def test_a_seeded_slice(seed: int, mode: str, lives: int) -> None:
    for attempt in range(3):
        arguments = ["--mode", mode, "--lives", str(lives), "--seed", str(seed + attempt)]
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if "could not be judged" not in done.stdout:  # a server that did not come back in time
            break
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["lost"] == report["doubled"] == 0
    assert report["acknowledged"] > 0
    assert report["crash_points"] > 0  # a step that is not reached in time is no crash
