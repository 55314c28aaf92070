"""`clickfold report`: one file that needs nothing else, of a snapshot and of a service."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cli.demo_log import generate
from app.cli.main import app
from app.report import charts
from app.report.documents import Documents, of_snapshot
from app.report.page import page
from app.report.tables import tables

EXAMPLES = 3000
OUTSIDE = re.compile(r"""(?:src|href)\s*=\s*["'](?!#)|url\((?!#)|@import|<script""")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `train` leaves of the demo's log."""
    folder = tmp_path_factory.mktemp("report")
    log, out = folder / "log.ndjson", folder / "m.cfs"
    log.write_text("".join(json.dumps(e) + "\n" for e, _ in generate(1, EXAMPLES)))
    config = json.dumps({"table_bits": 14, "slices": ["device"]})
    done = CliRunner().invoke(app, ["train", str(log), "--out", str(out), "--config", config])
    assert done.exit_code == 0, done.output
    return out


def test_of_a_snapshot(snapshot: Path, tmp_path: Path) -> None:
    out, png = tmp_path / "r.html", tmp_path / "png"
    done = CliRunner().invoke(app, ["report", str(snapshot), "--out", str(out), "--png", str(png)])
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert not OUTSIDE.search(text)
    assert text.count("<svg") == len(charts.CHARTS)
    assert f"{EXAMPLES:,} examples" in text
    assert "Slice: device" in text
    given = of_snapshot(snapshot)
    assert f"{given.stats['log_loss']:.5f}" in text
    assert str(given.stats["digest"]) in text
    for name in charts.CHARTS:
        assert (png / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_curves_are_drawn_from_the_figures(snapshot: Path) -> None:
    """The last point of each line is the figure of the whole stream."""
    given = of_snapshot(snapshot)
    for name, figure in (("log-loss", "log_loss"), ("auc", "auc"), ("calibration", "calibration")):
        drawn = charts.CHARTS[name][2](given)
        assert drawn is not None
        lines = {line.get_label(): line for line in drawn.axes[0].get_lines()}
        whole = np.asarray(lines["whole stream"].get_ydata(), np.float64)
        assert len(whole) == EXAMPLES // 1000
        assert whole[-1] == pytest.approx(given.stats[figure], abs=1e-6)
        assert charts.svg(drawn) == charts.svg(drawn)  # no date, no random id


def _with_names(name: str) -> Documents:
    figures = dict.fromkeys(("mean_label", "mean_prediction", "calibration", "log_loss"), 0.5)
    row: dict[str, Any] = {"value": name, "kind": "value", "hash": "0", "examples": 1, **figures}
    row |= {"normalized_entropy": 0.5, "recent": {"normalized_entropy": 0.6}}
    slices = {"slices": [{"name": name, "values": [row]}]}
    stats = {"position": name, "digest": name, "examples": 1, "config": {name: name}}
    features = {"by_weight": [{"names": [name], "slot": 1, "weight": 1.0, "n": 1.0}]}
    return Documents(name, stats, {}, {}, slices, {}, features)


def test_every_name_is_text() -> None:
    given = _with_names("<script>alert(1)</script>")
    text = page(given, [("<b>", '"<i>', "<svg></svg>")], tables(given))
    assert "<script" not in text
    assert "<b></b>" not in text
    assert text.count("&lt;script&gt;") >= 7


def test_what_it_cannot_do(tmp_path: Path) -> None:
    broken = tmp_path / "broken.cfs"
    broken.write_bytes(b"no snapshot")
    for what, status in ((str(broken), 1), (str(tmp_path / "none.cfs"), 2)):
        done = CliRunner().invoke(app, ["report", what, "--out", str(tmp_path / "r.html")])
        assert done.exit_code == status, done.output
    assert not (tmp_path / "r.html").exists()
