"""The benchmark of training: its layouts are one log, and its figures are read off rightly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from app.ingest import decode_ndjson
from app.ingest.vw import decode_vw
from scripts.benchmarks import click_text
from scripts.benchmarks.train import figures, shown
from tests.oracle.slow_ingest import outcome


class Ran:
    """A run that took a known time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = self.cpu_seconds = seconds
        self.memory_mib = 10.0
        self.log_loss = 0.5


def test_the_layouts_are_one_log(tmp_path: Path) -> None:
    said = []
    for layout, suffix in click_text.LAYOUTS.items():
        path = tmp_path / f"{layout}{suffix}"
        click_text.write(path, layout, 300, seed=3)
        decode = decode_ndjson if layout == "ndjson" else decode_vw
        said.append(outcome(decode, path.read_bytes()))
    assert len(said[0]) == 7
    assert said[0] == said[1] == said[2]
    line = (tmp_path / "ndjson.ndjson").read_bytes().splitlines()[0]
    assert len(json.loads(line)["features"]) == click_text.FIELDS


def test_clicks_depend_on_the_values() -> None:
    _, clicks = click_text.block(np.random.default_rng(1), 5000)
    assert 0.1 < clicks.mean() < 0.5


def test_figures_are_medians_and_ratios() -> None:
    runs = {"vw": [Ran(8.0), Ran(12.0), Ran(10.0)], "single": [Ran(2.0), Ran(4.0), Ran(2.5)]}
    result = figures(runs, 1000)  # type: ignore[arg-type]
    single = result["lines"]["single"]
    assert (single["seconds"], single["least"], single["greatest"]) == (2.5, 2.0, 4.0)
    assert single["times_faster_than_vw"] == 4.0
    assert single["examples_per_second"] == 400
    assert "| single | 2.50 | 2.00 to 4.00 | 2.50 | 400 | 4.0 |" in shown(result)
