"""Failpoints: off unless allowed, listed in full, and doing what a plan says."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app import failpoints
from app.failpoints import ALLOW, PLAN, POINTS, SCRIPTS, Armed, bound, parse

APP = Path(failpoints.__file__).parent
CALLED = re.compile(r"\bfailpoint\(f?\"([^\"]+)\"\)")


def test_they_are_off_in_every_process_that_is_not_told_otherwise() -> None:
    assert ALLOW not in os.environ
    assert bound({}) is bound({PLAN: ""}) is failpoints.failpoint
    failpoints.failpoint("no such point")  # not even looked up


def test_a_plan_alone_is_ignored_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert bound({PLAN: "append.after 1 exit"}) is failpoints.failpoint
    assert "ignored" in caplog.text


def test_being_allowed_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        assert bound({ALLOW: "allowed", PLAN: "append.after 2 exit"}) is not failpoints.failpoint
    assert "may end itself" in caplog.text
    failpoints.armed.follow("")


def test_the_list_is_what_the_code_calls() -> None:
    files = [path for path in APP.rglob("*.py") if path.name != "failpoints.py"]
    called = [name for path in files for name in CALLED.findall(path.read_text())]
    called.remove("drop.{step}")
    scripts = [f"{name}.{side}" for name in SCRIPTS for side in ("before", "after")]
    drops = ["drop.pages", "drop.retire", "drop.bury"]
    assert sorted([*called, *scripts, *drops]) == sorted(POINTS)  # each once
    lua = {path.stem for path in (APP / "lua").glob("*.lua")} - {"common"}
    assert set(SCRIPTS) == lua


@pytest.mark.parametrize(
    "plan", ["append.after", "nowhere 1 exit", "append.after 0 exit", "fold.own 1 raise", "a b c"]
)
def test_what_is_no_plan_is_refused(plan: str) -> None:
    with pytest.raises(ValueError):
        parse(plan)


def test_steps_are_taken_one_after_the_other() -> None:
    armed = Armed()
    armed.follow("redis.sent 2 raise; redis.sent 1 raise; fold.own 1 sleep 0")
    armed.reached("redis.sent")
    armed.reached("fold.own")
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            armed.reached("redis.sent")
    armed.reached("redis.sent")
    with pytest.raises(ValueError):
        armed.reached("no such point")


@pytest.mark.parametrize("action", ["exit", "kill-both"])
def test_a_process_ends_where_the_plan_says(action: str, tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "60"])
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(other.pid))
    program = (
        "from app.failpoints import failpoint\n"
        "failpoint('fold.own'); print('once', flush=True); failpoint('fold.own'); print('twice')"
    )
    plan = f"fold.own 2 {action} {pid_file if action == 'kill-both' else ''}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, ALLOW: "allowed", PLAN: plan},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        assert (done.returncode, done.stdout) == (-signal.SIGKILL, "once\n")
        assert "failpoint reached: fold.own 2" in done.stderr
        if action == "kill-both":
            assert other.wait(10) == -signal.SIGKILL
        else:
            assert other.poll() is None
    finally:
        other.kill()
        other.wait()
