"""`clickfold import` and `clickfold export`: round trips through files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.demo_log import generate
from app.cli.main import app
from ftrl_core.batch import ExampleBatch
from ftrl_core.model import Model
from ftrl_core.quantized import QuantizedModel
from ftrl_core.snapshot_file import read_snapshot

RECORDED = Path(__file__).parents[2] / "ftrl_core" / "recorded" / "vw_models.json"
CONFIG = {"table_bits": 26, "optimizer": {"learning_rate": 0.1, "beta": 1.0}}
TRAINED_WITH = json.dumps(CONFIG["optimizer"])


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def ran(*words: object) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


def model_in(path: Path) -> Model:
    with path.open("rb") as file:
        return read_snapshot(file)[1]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.ndjson"
    path.write_text("".join(json.dumps(example) + "\n" for example, _ in generate(2, 500)))
    return path


@pytest.fixture
def trained(log: Path, tmp_path: Path) -> Path:
    path = tmp_path / "trained.cfs"
    ran("train", log, "--out", path, "--config", json.dumps(CONFIG))
    return path


def batch(log: Path) -> ExampleBatch:
    return ExampleBatch.from_examples([json.loads(line) for line in log.read_text().splitlines()])


@pytest.mark.parametrize(
    ("out", "back"),
    [
        ("vw", ("--format", "vw")),
        ("alphafm", ("--format", "alphafm", "--trained-with", TRAINED_WITH)),
        ("arrays", ("--format", "arrays", "--trained-with", TRAINED_WITH)),
        ("sklearn", ("--format", "arrays")),
    ],
)
def test_a_round_trip_keeps_every_prediction(
    out: str, back: tuple[str, ...], log: Path, trained: Path, tmp_path: Path
) -> None:
    file, again = tmp_path / f"weights.{'npz' if out in ('arrays', 'sklearn') else 'txt'}", Path()
    again = tmp_path / "again.cfs"
    told = ran("export", trained, "--format", out, "--data", log, "--out", file)
    assert told["features"] == told["asked"] > 100
    assert told["bytes"] == file.stat().st_size
    config = ("--config", json.dumps(CONFIG), "--collisions", "mean")
    figures = ran("import", file, "--out", again, *back, *config)
    assert figures["features"] == told["features"]
    model = model_in(again)
    assert figures["digest"] == model.digest()
    expected = model_in(trained).predict(batch(log))
    assert expected.std() > 0.02
    assert model.predict(batch(log)) == pytest.approx(expected, abs=1e-6)


def test_names_of_a_list(trained: Path, log: Path, tmp_path: Path) -> None:
    features = json.loads(log.read_text().splitlines()[0])["features"]
    name, value = next((k, v) for k, v in features.items() if isinstance(v, str))
    names, file = tmp_path / "names", tmp_path / "w.npz"
    names.write_text(f"{name}={value}\n\nunknown=feature\n")
    told = ran("export", trained, "--format", "arrays", "--names", names, "--out", file)
    assert (told["features"], told["asked"]) == (1, 2)
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["names"].tolist() == [f"{name}={value}"]
        assert arrays["w"][0] == model_in(trained).record(name, value)["weight"]


def test_q2_13_predicts_as_the_model(trained: Path, log: Path, tmp_path: Path) -> None:
    file = tmp_path / "small.npz"
    told = ran("export", trained, "--format", "q2.13", "--out", file, "--seed", 5)
    with np.load(file, allow_pickle=False) as arrays:
        small = QuantizedModel.from_arrays(arrays)
    assert told["slots"] == small.slots.size
    expected = model_in(trained).predict(batch(log))
    assert small.predict(batch(log)) == pytest.approx(expected, abs=1e-3)
    assert run("export", trained, "--format", "q2.13", "--out", file, "--data", log).exit_code == 2


def test_a_lane_of_a_mixture(log: Path, tmp_path: Path) -> None:
    snapshot, file = tmp_path / "m.cfs", tmp_path / "w.npz"
    linear = json.dumps({"numbers": "raw", "scale": "none"})
    ran("train", log, "--out", snapshot, "--config", linear)
    words = ("export", snapshot, "--format", "sklearn", "--data", log, "--out", file)
    posterior = model_in(snapshot).coefficients.posterior
    assert ran(*words)["lane"] == int(np.argmax(posterior))
    assert ran(*words, "--lane", 3)["lane"] == 3
    assert run(*words, "--lane", 4).exit_code == 2


def test_a_model_that_changes_values_is_not_exported(log: Path, tmp_path: Path) -> None:
    snapshot, file = tmp_path / "m.cfs", tmp_path / "w"
    ran("train", log, "--out", snapshot)
    for name in ("vw", "alphafm", "arrays", "sklearn"):
        result = run("export", snapshot, "--format", name, "--data", log, "--out", file)
        assert result.exit_code == 2
        assert "numbers must be raw" in " ".join(result.stderr.replace("│", " ").split())
    assert not file.exists()
    assert ran("export", snapshot, "--format", "q2.13", "--out", file)["slots"] > 0


def test_vowpal_wabbits_own_files(tmp_path: Path) -> None:
    recorded = json.loads(RECORDED.read_text())
    named, hashed = tmp_path / "named", tmp_path / "hashed"
    model = recorded["models"]["ftrl"]
    named.write_text(model["invert_hash"])
    hashed.write_text(model["readable_model"])
    entries = [line.split(":")[0] for line in model["invert_hash"].splitlines()[29:]]
    names = tmp_path / "names"
    names.write_text("".join(f"{e}\n" for e in entries if e != "Constant"))
    out = [tmp_path / "a.cfs", tmp_path / "b.cfs"]
    words = ("--format", "vw", "--vw-names", "feature", "--out")
    one = ran("import", named, *words, out[0])
    two = ran("import", hashed, *words, out[1], "--names", names)
    assert one["digest"] == two["digest"]
    examples = [{"features": e["features"]} for e in recorded["examples"]]
    served = model_in(out[0]).predict(ExampleBatch.from_examples(examples, require_labels=False))
    assert served == pytest.approx(model["predictions"], abs=1e-6)
    assert model_in(out[0]).config.lanes == 4
    assert run("import", hashed, *words, out[1]).exit_code == 1


@pytest.mark.parametrize(
    ("content", "words", "status", "message"),
    [
        (b"", ("--format", "alphafm"), 1, "the model is empty"),
        (b"bias 0 0 0\na 1 x 1\n", ("--format", "alphafm"), 1, "line 2: a finite number"),
        (b"hello", ("--format", "vw"), 1, "line 1: a model of Vowpal Wabbit"),
        (b"hello", ("--format", "arrays"), 1, "is no .npz of plain arrays"),
        (b"PK\x03\x04", ("--format", "arrays"), 1, "is no .npz of plain arrays"),
        (b"bias 0 0 0\n", ("--format", "alphafm", "--config", '{"numbers": "auto"}'), 2, "raw"),
        (b"bias 0 0 0\n", ("--format", "alphafm", "--confidence", "-1"), 2, "confidence must be"),
        (b"bias 0 0 0\n", ("--format", "alphafm", "--trained-with", "{}x"), 2, "not JSON"),
        (b"bias 0 0 0\n", ("--format", "alphafm", "--trained-with", '{"beta": 1}'), 2, "rate must"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    content: bytes, words: tuple[str, ...], status: int, message: str, tmp_path: Path
) -> None:
    file, out = tmp_path / "file", tmp_path / "out.cfs"
    file.write_bytes(content)
    result = run("import", file, "--out", out, *words)
    assert result.exit_code == status, result.output
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not out.exists()


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "w.npz"
    np.savez(file, w=np.ones(1), names=np.array(["a"], object))
    result = run("import", file, "--format", "arrays", "--out", tmp_path / "out.cfs")
    assert result.exit_code == 1
    assert "no .npz of plain arrays" in result.stderr
    one = tmp_path / "w.npy"
    np.save(one, np.ones(1))
    result = run("import", one, "--format", "arrays", "--out", tmp_path / "out.cfs")
    assert "one array" in result.stderr


def test_a_damaged_snapshot_is_not_exported(trained: Path, tmp_path: Path) -> None:
    trained.write_bytes(trained.read_bytes()[:-1])
    result = run("export", trained, "--format", "q2.13", "--out", tmp_path / "out")
    assert (result.exit_code, (tmp_path / "out").exists()) == (1, False)
