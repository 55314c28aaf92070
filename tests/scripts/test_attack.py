"""Short seeded slices of `scripts/attack`, and that each of its judges can find a fault."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import Unavailable
from app.ingest import rows
from app.problems import Problem
from ftrl_core import example_fields
from scripts.attack_run import application, ingest, sockets
from scripts.attack_run.cases import Case
from scripts.attack_run.memory import Memory
from scripts.attack_run.wire import Reply


def test_bodies(seed: int) -> None:
    report = ingest.attack(4000, seed)
    assert not report["faults"], report
    assert report["accepted"] > 200
    assert report["compared_with_the_slow_reading"] > 300


def test_a_label_that_is_let_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = example_fields.settle_fields

    def accepting(*given: Any) -> tuple[Any, ...]:
        return *settle(*given)[:3], len(given[1])

    monkeypatch.setattr(rows, "settle_fields", accepting)
    assert ingest.attack(1500, 1)["faults"]


def test_an_error_of_another_kind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("features")

    monkeypatch.setattr(ingest, "decode_body", broken)
    report = ingest.attack(10, 1)
    assert "KeyError" in report["first_faults"][0]


def test_requests(seed: int) -> None:
    report = application.attack(960, seed)
    assert not report["faults"], report
    assert len(report["statuses"]) > 6


def test_a_problem_that_is_in_no_catalogue_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def made_up(*_: Any) -> Problem:
        return Problem("made-up", "QZXJ", status=422)

    monkeypatch.setattr("app.hot_path.learn_problem", made_up)
    report = application.attack(160, 1)
    assert "made-up" in str(report["first_faults"]) or "echo" in str(report["first_faults"])


def test_learning_what_is_refused_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any) -> bytes:
        raise Unavailable("lost on the way", "busy")

    monkeypatch.setattr("app.hot_path.learn_reply", lost)
    report = application.attack(320, 1)
    assert report["faults"]


def test_sockets(seed: int) -> None:
    report = sockets.attack(700, seed)
    assert not report["faults"], report
    assert report["twins_compared"] > 40


def _reply(status: int) -> Reply:
    return Reply(status, {}, b"")


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ([200, 200, 400], "replies"),
        ([500], "statuses"),
        ([404], "not answered"),
        ([200, 302], "no refusal"),
    ],
)
def test_a_wrong_end_of_a_connection_is_found(statuses: list[int], words: str) -> None:
    case = Case("x", "broken", (b"",), 1)
    fault = sockets._fault_of_end(case, [_reply(status) for status in statuses])
    assert fault is not None
    assert words in fault
    assert sockets._fault_of_end(case, [_reply(200), _reply(400)]) is None


def test_a_process_that_grows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(1)
    memory._samples = [(n, 10_000_000 + 3 * n) for n in range(0, 10_000_000, 100_000)]
    assert memory.grows()
    memory._samples = [(n, 10_000_000 + n % 7) for n in range(0, 10_000_000, 100_000)]
    assert not memory.grows()
