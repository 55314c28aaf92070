"""A short slice of scripts/bench: its structure and its meters, and no timed assertion.

The peers are in no test environment, so their modules are not imported here.
"""

from __future__ import annotations

import argparse
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks import contenders, examples, growth, in_process, open_loop, report, served
from scripts.benchmarks.__main__ import RUNNERS, keep, measure
from scripts.benchmarks.acceptance import verdicts
from scripts.benchmarks.load import http_length, post, redis_length, write_requests

NAMES = ("echo", "ours", "River", "XADD")
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def given(seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> argparse.Namespace:
    monkeypatch.setattr(contenders, "PEERS_PYTHON", tmp_path / "none" / "bin" / "python")
    return argparse.Namespace(
        quick=True, rounds=1, seconds=0.1, connections=2, seed=seed, nice=0, lock=tmp_path / "lock"
    )


def test_every_contender_answers_every_line_or_says_why_not(
    given: argparse.Namespace, tmp_path: Path
) -> None:
    lines = served.lines_of(examples.generated(200, given.seed), "", 2)
    running = served.Served(tmp_path, lines, NAMES)
    try:
        found: dict[str, dict[str, Any]] = {line.name: {} for line in lines}
        for line, name in running.plan:
            found[line.name][name] = running.measure(line, name, given.seconds)
        memory = running.memory()
    finally:
        running.close()
    assert {name: set(of) for name, of in found.items()} == {
        "predict": {"echo", "ours", "River"},
        "learn": {"ours", "River", "XADD"},
        "learn_packed": {"ours"},
        "learn_arrow": {"ours"},
        "learn_msgpack": {"ours"},
        "learn_1": {"ours", "River"},
    }
    for name in ("predict", "learn", "learn_1"):
        assert "scripts/bench --peers" in found[name].pop("River")["missing"]
        for figures in found[name].values():
            assert figures["statuses"].keys() == {"200"}
            assert figures["examples_per_second"] > 0
    assert memory["ours"].keys() == {"clickfold", "valkey-server"}
    run = {"machine": {}, "served": {"rounds": [found], "memory": memory}}
    measured = {v.what: v.met for v in verdicts(run)}
    assert measured["/predict to echo, ours"] is not None
    assert measured["/predict to the better peer, ours"] is None
    assert "| learn | XADD |" in report.served(run)


def test_what_is_kept_is_replaced_part_by_part(given: argparse.Namespace, tmp_path: Path) -> None:
    given.parts, given.curves = ("growth",), ("tables",)
    run = measure(tmp_path, given)
    row = run["growth"]["tables"][0]
    assert row["slots"] == "2^10"
    assert row["at the most MiB"] >= row["learned MiB"] > 0
    conditions = {"train": run["conditions"]["growth"]}
    trained = {"missing": "not available"}
    before = {"growth": {"slots": [], "tables": []}, "train": trained, "conditions": conditions}
    (tmp_path / "run.json").write_text(json.dumps(before))
    keep(run, tmp_path)
    kept = json.loads((tmp_path / "run.json").read_text())
    assert kept["train"] == trained
    assert kept["growth"] == {"slots": [], "tables": run["growth"]["tables"]}
    assert "### tables" in (tmp_path / "tables.md").read_text()


def test_learning_in_process(given: argparse.Namespace, tmp_path: Path) -> None:
    in_process.write(tmp_path, examples.generated(1_600, given.seed))
    found = in_process.measure_round(tmp_path, with_peers=True)
    assert found["ours"]["examples"] == found["ours, one rate"]["examples"] == 1_600
    assert found["TensorFlow op"].keys() == found["River"].keys() == {"missing"}
    assert (tmp_path / "examples.vw").read_text().count("\n") == 1_600


def test_verdicts_are_of_medians_inside_rounds() -> None:
    line = {"examples": 1, "seconds": 1, "processor_seconds": 1}
    rounds = [
        {name: {**line, "examples_per_second": v} for name, v in one.items()}
        for one in (
            {"ours": 40, "Vowpal Wabbit, text file": 1, "TensorFlow op, batches of 2": 10},
            {"ours": 10, "Vowpal Wabbit, text file": 2, "TensorFlow op, batches of 2": 1},
            {"ours": 42, "Vowpal Wabbit, text file": 2, "TensorFlow op, batches of 2": 6},
        )
    ]
    lines = {
        "vw": {"log_loss": 0.5},
        "single": {"log_loss": 0.502, "times_faster_than_vw": 6.5},
        "ndjson": {"examples_per_cpu_second": 500_000},
    }
    run = {
        "kernels": [{"lanes": 1, "table_bits": 18, "learn / touch": 1.6, "apply / learn": 1.3}],
        "in_process": {"generated": rounds},
        "train": {"lines": lines},
        "mixed": {"single rate, 2": {"learning": [{"p99_ms": 4.0}, {"p99_ms": 6.0}]}},
        "growth": {"slots": [], "tables": []},
    }
    found = {v.what: (v.shown, v.met) for v in verdicts(run)}
    assert found["learn kernel to touch-only, 1 rate, 2^18 slots"] == ("1.60", False)
    assert found["apply to learn kernel, 1 rate, 2^18 slots"] == ("1.30", True)
    assert found["fold to Vowpal Wabbit from text, generated, ours"] == ("21.00", True)
    assert found["fold to TensorFlow's op at its best, generated, ours"] == ("7.00", False)
    assert found["fold to TensorFlow's summed at its best, generated, ours"] == ("", None)
    assert found["clickfold train to vw, one rate"] == ("6.50", True)
    assert found["its log loss less vw's, thousandths"] == ("2.00", False)
    assert found["p99 ms of /predict beside a bulk learner, single rate, 2 workers"] == (
        "5.00",
        True,
    )


def test_parts_and_curves_have_runners() -> None:
    assert RUNNERS.keys() == {"served", "in_process", "kernels", "growth", "mixed", "train"}
    assert set(growth.CURVES) >= {"slots", "features", "batch", "connections", "workers", "rates"}


def test_lengths_of_replies() -> None:
    assert http_length(REPLY) == len(REPLY)
    assert http_length(REPLY[:20]) < 0
    assert redis_length(b"$3\r\n1-1\r\n") == 9
    assert redis_length(b"$3") < 0
    assert redis_length(b"-ERR no\r\n") == 9


def test_an_open_loop_counts_from_when_a_request_was_due(tmp_path: Path) -> None:
    """A server that answers nothing for a while makes all late that were due meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_late, args=(listener, 0.3), daemon=True)
        thread.start()
        write_requests(tmp_path / "r", [post("/predict", b"{}")])
        found = open_loop.run(listener.getsockname()[1], 100, 0.5, tmp_path / "r", 1)
        thread.join()
    assert found["answered_share"] == 1
    assert found["statuses"] == {"200": 50}
    p50, p99 = found["p50_ms"], found["p99_ms"]
    assert isinstance(p50, float)
    assert isinstance(p99, float)
    assert p99 > 250, "the first was due 300 ms before it was answered"
    assert p50 > 20, "requests that waited for the first are late as well"


def _answer_late(listener: socket.socket, seconds: float) -> None:
    """Answer whole requests of one connection, the first one late."""
    connection, _ = listener.accept()
    with connection:
        time.sleep(seconds)
        while got := connection.recv(1 << 16):
            connection.sendall(REPLY * got.count(b"\r\n\r\n"))
