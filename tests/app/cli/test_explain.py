"""`clickfold explain`: the table of an explanation, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from tests.app.cli.stub_service import Refusal, StubService, running_stub

ITEM = {"x": 1.0, "n": 2.0, "learning_rate": 0.1, "slot": 7, "held_at_zero": False}
EXPLANATION = {
    "logit": -1.25,
    "bias": -1.0,
    "contributions": [
        {**ITEM, "name": "ad", "value": "[red]a9[/red]", "weight": -0.125, "contribution": -0.125},
        {**ITEM, "name": "user", "value": "u1", "weight": 0.0, "contribution": 0.0,
         "held_at_zero": True},
        {**ITEM, "name": "price", "value": 2.5, "view": "bin", "weight": [-0.5, 0.25],
         "contribution": -0.25},
        {"name": "mixture", "contribution": 0.125},
    ],
}  # fmt: skip


@pytest.fixture
def stub() -> Iterator[StubService]:
    with running_stub() as service:
        document = {"predictions": [0.222], "explanations": [EXPLANATION]}
        service.faults.append(Refusal(200, {"model": "m", "position": "1-1", **document}))
        yield service


def run(*words: str, given: str | None = None) -> Any:
    return CliRunner().invoke(app, ["explain", *words], input=given)


def test_the_table_is_sorted_by_size_and_shows_names_as_they_are(stub: StubService) -> None:
    result = run('{"ad": "a9"}', "--url", stub.url)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines[1:]] == [
        "price", "ad", "mixture", "user", "bias", "logit", "probability",
    ]  # fmt: skip
    assert "[red]a9[/red]" in result.stdout
    assert "-0.5 to 0.25" in result.stdout
    assert "(held at zero)" in result.stdout
    assert "0.222000" in result.stdout


def test_json_is_the_explanation_and_examples_come_whole_or_from_standard_input(
    stub: StubService,
) -> None:
    result = run("-", "--url", stub.url, "--json", given='{"features": {"ad": "a9"}, "label": 1}')
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"prediction": 0.222, **EXPLANATION}


@pytest.mark.parametrize("example", ["", "{", "[1]", '{"features": 3}'])
def test_what_is_no_example_is_bad_usage(example: str) -> None:
    assert run(example).exit_code == 2
