"""`clickfold train`: the service's fold offline, and a snapshot that reads back as the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.demo_log import generate
from app.cli.main import app
from ftrl_core.batch import ExampleBatch
from ftrl_core.model import Model
from ftrl_core.snapshot_file import read_snapshot

DATA = Path(__file__).parents[4] / "shared" / "data"
CONFIG = {"table_bits": 16, "optimizer": {"l1_regularization_strength": 0.5}}


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.ndjson"
    path.write_text("".join(json.dumps(example) + "\n" for example, _ in generate(2, 2500)))
    return path


def test_digest_and_figures_are_those_of_the_library(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "made.snapshot"
    result = run("train", log, "--out", out, "--config", json.dumps(CONFIG), "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    model = Model(CONFIG)
    model.learn(ExampleBatch.from_examples([json.loads(x) for x in log.read_text().splitlines()]))
    assert figures["examples"] == 2500
    assert figures["digest"] == model.digest()
    assert figures["log_loss"] == pytest.approx(model.stats()["log_loss"], rel=1e-12)
    for name in ("auc", "normalized_entropy", "calibration", "examples_per_second"):
        assert figures[name] > 0
    with out.open("rb") as file:
        header, loaded = read_snapshot(file)
    assert (header.name, header.examples) == ("made", 2500)
    assert loaded.digest() == figures["digest"]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_digest_does_not_depend_on_the_batch(log: Path) -> None:
    digests = {
        json.loads(run("train", log, "--batch", size, "--json").stdout)["digest"]
        for size in (1, 7, 1000, 10_000)
    }
    assert len(digests) == 1


def test_configuration_from_a_file(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    of_file = json.loads(run("train", log, "--config", path, "--json").stdout)
    of_text = json.loads(run("train", log, "--config", json.dumps(CONFIG), "--json").stdout)
    assert of_file["digest"] == of_text["digest"]
    assert run("train", log, "--config", '{"nonsense": 1}').exit_code == 2


def test_bad_line_that_only_the_decoder_sees_is_named_or_skipped(log: Path) -> None:
    good = json.loads(run("train", log, "--json").stdout)
    text = log.read_text()
    log.write_text(text + '{"label": 1, "features": {"a": {"nested": 1}}}\n' + text)
    result = run("train", log)
    assert result.exit_code == 1
    assert "line 2501: " in result.stderr
    skipped = json.loads(run("train", log, "--skip-bad-lines", "--json").stdout)
    assert (skipped["skipped_lines"], skipped["examples"]) == (1, 2 * good["examples"])


def test_unwritable_snapshot_is_a_failure(log: Path, tmp_path: Path) -> None:
    result = run("train", log, "--out", tmp_path / "no" / "such" / "x.snapshot")
    assert result.exit_code == 1
    assert "cannot write" in result.stderr


@pytest.mark.skipif(not DATA.exists(), reason="the shared click logs are not here")
@pytest.mark.parametrize(
    ("words", "examples", "better_than"),
    [
        (("criteo/train.tsv.gz", "--format", "criteo"), 7200, 0.475),
        (("avazu/train.csv.gz", "--label", "click", "--ignore", "id"), 8087, 0.44),
    ],
)
def test_real_logs(words: tuple[str, ...], examples: int, better_than: float) -> None:
    result = run("train", DATA / words[0], *words[1:], "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["examples"] == examples
    assert figures["log_loss"] < better_than
    assert 0.9 < figures["calibration"] < 1.1


def vw_line(example: dict[str, Any]) -> str:
    parts = [f"{example['label']} {example.get('weight', 1)}"]
    numbers = []
    for name, value in example["features"].items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str):
                parts.append(f"|{name} {item}")
            elif item is not None and item is not False:
                numbers.append(f"{name}:{float(item)!r}")
    return " ".join([*parts, "|", *numbers]) + "\n"


def test_vowpal_wabbit_text_is_the_same_log(log: Path, tmp_path: Path) -> None:
    examples = [json.loads(line) for line in log.read_text().splitlines()]
    path = tmp_path / "log.vw"
    path.write_text("".join(vw_line(example) for example in examples))
    of_json = run("train", log, "--json")
    of_vw = run("train", path, "--json")
    assert of_vw.exit_code == 0, of_vw.output
    assert json.loads(of_vw.stdout)["digest"] == json.loads(of_json.stdout)["digest"]
    lines = [row.split()[:3] for row in of_vw.stderr.splitlines()]
    assert lines == [row.split()[:3] for row in of_json.stderr.splitlines()]
    assert [row[0] for row in lines[1:5]] == ["1", "2", "4", "8"]
    path.write_text(path.read_text() + "3 |a x\n")
    bad = run("train", path)
    assert bad.exit_code == 1
    assert "line 2501: label must be 1, -1 or 0" in bad.stderr
