"""The commands against a stub of the service: order, keys, retries, bad lines, exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.failures import CommandFailed
from app.cli.main import app
from app.cli.service import Service, ServiceProblem
from tests.app.cli.stub_service import LOSE, Refusal, StubService, running_stub

AWAY = {"title": "Unavailable", "detail": "redis is away", "outcome": "not_learned"}
UNSURE = {"title": "Unavailable", "detail": "not confirmed", "outcome": "unknown"}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubService]:
    for name in ("CLICKFOLD_URL", "CLICKFOLD_KEY", "CLICKFOLD_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with running_stub() as service:
        yield service


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Ten examples, the third line of the file blank."""
    path = tmp_path / "log.ndjson"
    rows = [{"label": i % 2, "features": {"a": f"v{i}"}} for i in range(10)]
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join([*lines[:2], "", *lines[2:]]) + "\n")
    return path


def run(*words: object, stdin: str | None = None) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin)


def learned_order(stub: StubService) -> list[str]:
    return [row["features"]["a"] for row in stub.learned]


def test_learn_sends_in_order_with_a_key_each(stub: StubService, log: Path) -> None:
    result = run(
        "learn", log, "--url", stub.url, "--key", "k", "--model", "m", "--batch", 4, "--json"
    )
    assert result.exit_code == 0, result.output
    assert learned_order(stub) == [f"v{i}" for i in range(10)]
    posts = [request for request in stub.requests if request[0] == "POST"]
    assert [path for _, path, _, _ in posts] == ["/models/m/learn"] * 3
    assert len({headers["idempotency-key"] for _, _, headers, _ in posts}) == 3
    assert {headers["authorization"] for _, _, headers, _ in posts} == {"Bearer k"}
    figures = json.loads(result.stdout)
    assert figures["examples"] == 10
    assert figures["digest"] == "digest-of-10"
    assert figures["position"] == "1-10"
    assert 0.5 < figures["log_loss"] < 1.5
    assert {"auc", "normalized_entropy", "calibration", "examples_per_second"} <= set(figures)
    assert "since last" in result.stderr


@pytest.mark.parametrize(
    "fault", [Refusal(503, AWAY), Refusal(503, UNSURE), LOSE, Refusal(429, {})]
)
def test_a_request_without_an_answer_is_sent_again_under_its_key(
    stub: StubService, log: Path, fault: Refusal | str
) -> None:
    stub.faults = [fault]
    result = run("learn", log, "--url", stub.url, "--batch", 5, "--json")
    assert result.exit_code == 0, result.output
    assert learned_order(stub) == [f"v{i}" for i in range(10)]
    keys = [r[2]["idempotency-key"] for r in stub.requests if r[0] == "POST"]
    # A refusal in place of the work is not in `requests`; a lost answer is, and comes twice.
    assert len(keys) == (3 if fault == LOSE else 2)
    assert len(set(keys)) == 2
    figures = json.loads(result.stdout)
    assert (figures["examples"], figures["duplicates"]) == ((5, 5) if fault == LOSE else (10, 0))


def test_retry_after_is_waited_for(stub: StubService) -> None:
    waits: list[float] = []
    stub.faults = [Refusal(503, AWAY, retry_after=7), Refusal(503, AWAY)]
    with Service(stub.url, None, retry_seconds=60, sleep=waits.append) as service:
        service.stats()
    assert waits[0] == 7.0
    assert 0 < waits[1] <= 0.2


def test_retries_end_and_say_what_is_known(stub: StubService, log: Path) -> None:
    stub.faults = [Refusal(503, AWAY)] * 100
    result = run("learn", log, "--url", stub.url, "--batch", 5, "--retry-seconds", 0.3)
    assert result.exit_code == 1
    assert "redis is away" in result.stderr
    assert "line 1 to line 6 may or may not have been learned" in result.stderr


def test_unreachable_service_fails_with_status_1(log: Path) -> None:
    result = run("learn", log, "--url", "http://127.0.0.1:9", "--retry-seconds", 0)
    assert result.exit_code == 1
    assert "no answer from http://127.0.0.1:9" in result.stderr


def test_line_that_the_service_refuses_is_named(stub: StubService, log: Path) -> None:
    stub.refused_name = "bad"
    log.write_text(log.read_text() + '{"label": 1, "features": {"bad": 1}}\n')
    result = run("learn", log, "--url", stub.url)
    assert result.exit_code == 1
    assert "line 12: a name is refused" in result.stderr
    assert not stub.learned


def test_skipped_lines_are_counted_and_the_rest_is_learned(stub: StubService, log: Path) -> None:
    stub.refused_name = "bad"
    bad = '{"label": 1, "features": {"bad": 1}}\nnot json\n{"label": 3, "features": {}}\n'
    log.write_text(bad + log.read_text() + bad)
    result = run("learn", log, "--url", stub.url, "--skip-bad-lines", "--batch", 3, "--json")
    assert result.exit_code == 0, result.output
    assert learned_order(stub) == [f"v{i}" for i in range(10)]
    assert json.loads(result.stdout)["skipped_lines"] == 6
    keys = [r[2]["idempotency-key"] for r in stub.requests if r[0] == "POST"]
    assert len(set(keys)) == len(keys)  # another body never goes under a used key


def test_body_over_the_limit_is_sent_in_halves(stub: StubService, log: Path) -> None:
    stub.examples_max = 3
    result = run("learn", log, "--url", stub.url)
    assert result.exit_code == 0, result.output
    assert learned_order(stub) == [f"v{i}" for i in range(10)]


def test_duplicates_are_counted_and_not_scored(stub: StubService, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("label,id,a\n1,e1,x\n0,e2,x\n1,e1,x\n")
    result = run("learn", path, "--id", "id", "--url", stub.url, "--json")
    figures = json.loads(result.stdout)
    assert (figures["examples"], figures["duplicates"]) == (2, 1)


def test_learn_from_standard_input(stub: StubService, log: Path) -> None:
    result = run("learn", "-", "--url", stub.url, "--json", stdin=log.read_text())
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["examples"] == 10


def test_predict_prints_one_probability_a_line(stub: StubService, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n,3\n4,\n")
    result = run("predict", path, "--url", stub.url, "--batch", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout == "0.75\n0.25\n0.75\n"


@pytest.mark.parametrize(
    "words",
    [
        ("learn",),
        ("learn", "missing.csv"),
        ("learn", __file__),
        ("learn", __file__, "--format", "nonsense"),
        ("learn", __file__, "--format", "csv", "--batch", "0"),
        ("learn", __file__, "--format", "ndjson", "--url", "ftp://there"),
        ("skip", "42"),
        ("models", "create", "m", "--config", "{"),
        ("models", "create", "m", "--config", "[]"),
        ("models", "create", "m", "--config", "missing.json"),
        ("nonsense",),
    ],
)
def test_bad_usage_has_status_2(words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_admin_commands_ask_what_they_should(stub: StubService) -> None:
    at = ("--url", stub.url)
    for words in (
        ("snapshot", "--name", "one", "--model", "m"),
        ("restore", "one"),
        ("skip", "1-42"),
        ("models", "create", "new", "--config", '{"table_bits": 20}'),
        ("models", "create", "new", "--from-snapshot", "m/one"),
        ("models", "show", "new"),
        ("models", "delete", "new"),
    ):
        result = run(*words, *at)
        assert result.exit_code == 0, result.output
    assert [(m, p, b.decode()) for m, p, _, b in stub.requests] == [
        ("POST", "/models/m/admin/snapshots", '{"name":"one"}'),
        ("POST", "/models/default/admin/snapshots/one/restore", ""),
        ("POST", "/models/default/admin/skip", '{"position":"1-42"}'),
        ("PUT", "/models/new", '{"table_bits":20}'),
        ("PUT", "/models/new", '{"from_snapshot":"m/one"}'),
        ("GET", "/models/new", ""),
        ("DELETE", "/models/new", ""),
    ]


def test_restore_uploads_a_file_first(stub: StubService, tmp_path: Path) -> None:
    path = tmp_path / "one.snapshot"
    path.write_bytes(b"content")
    assert run("restore", "one", "--file", path, "--url", stub.url).exit_code == 0
    assert [(m, p, b) for m, p, _, b in stub.requests] == [
        ("PUT", "/models/default/admin/snapshots/one/file", b"content"),
        ("POST", "/models/default/admin/snapshots/one/restore", b""),
    ]


def test_models_lists_and_stats_prints_json(stub: StubService) -> None:
    assert run("models", "--url", stub.url).stdout == "default\nother\n"
    assert run("models", "list", "--url", stub.url).stdout == "default\nother\n"
    assert json.loads(run("stats", "--json", "--url", stub.url).stdout)["model"] == "m"
    assert "digest" in run("stats", "--url", stub.url).stdout


def test_refusals_have_status_1_and_their_detail(stub: StubService) -> None:
    result = run("models", "show", "missing", "--url", stub.url)
    assert result.exit_code == 1
    assert "404: no such model" in result.stderr


def test_a_refusal_is_not_tried_again(stub: StubService) -> None:
    with Service(stub.url, None, retry_seconds=60) as service, pytest.raises(ServiceProblem):
        service.ask("GET", "/models/missing")
    assert len(stub.requests) == 1


def test_an_answer_of_something_else_is_a_failure(stub: StubService) -> None:
    stub.faults = [Refusal(200, {"hello": "world"})]
    with Service(stub.url, None) as service, pytest.raises(CommandFailed, match="not that of"):
        service.learn(b"{}", "k")


def test_help_and_version() -> None:
    assert run("--help").exit_code == 0
    assert run("version").stdout.startswith("clickfold ")
