"""Short slices of the acceptance runs, and that their meters see what they are to see."""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from scripts.acceptance import retries, soak
from scripts.acceptance.large_table import longest
from scripts.benchmarks.load import write_requests

UNANSWERED = 5


def test_nothing_is_doubled_with_keys_and_bare_ids_count_by_the_rule(seed: int) -> None:
    given = argparse.Namespace(seed=seed, seconds=2.0)
    keys, ids = retries.with_keys(given), retries.with_ids(given)
    assert keys["faults"] == ids["faults"] == []
    learned = keys["rows_learned_by_the_service"]
    assert learned == keys["rows_acknowledged_once"] == keys["rows_learned_by_the_oracle"]
    assert ids["duplicates_by_the_service"] == ids["duplicates_by_the_oracle"]
    assert ids["counted_again_by_the_service"] == ids["counted_again_by_the_oracle"]
    assert ids["requests_whose_reply_differs"] == 0


def test_a_short_soak_has_no_faults(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "SAMPLE_SECONDS", 0.005)
    report = soak.soak(argparse.Namespace(seed=seed, examples=40_000), tmp_path)
    assert report["faults"] == []
    assert report["done"]["learn"] > 0
    assert report["orphaned_keys"] == 0
    assert report["figures"].keys() == soak.LIMITS.keys()


def test_a_leak_is_told_from_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hours = np.linspace(0, 1, 800)
    noise = rng.normal(0, 4 * soak.MIB, hours.size)
    leaking = 5e8 + 20 * soak.MIB * hours + noise
    b, half = soak.slope(hours, leaking)
    assert abs(b - 20 * soak.MIB) < 2 * half < 20 * soak.MIB
    samples = [dict.fromkeys(soak.LIMITS, 7.0) for _ in hours]
    for sample, value in zip(samples, leaking, strict=True):
        sample["service_rss_bytes"] = float(value)
    verdicts = {n: f["flat"] for n, f in soak.judged(hours.tolist(), samples).items()}
    assert verdicts.pop("service_rss_bytes") is False
    assert all(verdicts.values())


def test_the_prober_asks_on_though_it_is_not_answered(tmp_path: Path) -> None:
    """The server answers only once it was asked UNANSWERED times; every one of these is late."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    write_requests(requests, [b"PING\r\n"])
    words = [str(tmp_path / "s"), "0.01", str(requests), str(answers)]
    command = [sys.executable, "-m", "scripts.acceptance.prober", *words]
    prober = subprocess.Popen(command, stdin=subprocess.PIPE)
    connection, _ = listener.accept()
    connection.settimeout(30)
    asked = 0
    while asked < UNANSWERED:
        asked += connection.recv(4096).count(b"PING")
    answering = threading.Thread(target=_answer, args=(connection, asked))
    answering.start()
    prober.communicate()
    connection.close()
    listener.close()
    answering.join()
    found = np.fromfile(answers).reshape(-1, 2)
    assert prober.returncode == 0
    assert len(found) >= UNANSWERED
    assert np.allclose(np.diff(found[:, 0]), 0.01)
    assert found[0, 1] >= 0.01 * (UNANSWERED - 1), "the first waited for the last"


def _answer(connection: socket.socket, owed: int) -> None:
    """Answer what is owed, then each as it comes."""
    while owed:
        connection.sendall(b"+PONG\r\n" * owed)
        try:
            owed = connection.recv(4096).count(b"PING")
        except OSError:
            return


def test_the_longest_delay_is_of_the_window() -> None:
    answers = np.array([[1.0, 0.5], [2.0, 0.1], [3.0, 0.2], [4.0, 0.9]])
    assert longest(answers, 2.0, 4.0) == 200.0
