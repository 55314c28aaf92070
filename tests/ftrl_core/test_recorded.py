"""Agreement with outputs of TensorFlow and Vowpal Wabbit recorded by `scripts/differential`.

A slice of docs/differential.md that needs neither library: one case of every class by
tf_keras.optimizers.legacy.Ftrl, and one stream by `vw --ftrl` at five settings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.differential_run.cases import DENSE, SPARSE, make
from scripts.differential_run.clickfold_side import clickfold
from scripts.differential_run.outcome import Outcome, distance
from scripts.differential_run.vw_side import SETTINGS, Setting, clickfold_predictions
from scripts.differential_run.vw_streams import checksum, recorded_stream

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "recorded" / "differential.json").read_text()
)
SEED: int = RECORDED["seed"]
BOUNDS = {"float64": 1e-12, "float32": 5e-5}
VW_BOUND = 1e-5


def name(recorded: dict[str, Any]) -> str:
    return f"{recorded['kind']}, {recorded['dtype']}"


def test_every_class_is_recorded() -> None:
    kinds = {(recorded["kind"], recorded["dtype"]) for recorded in RECORDED["legacy"]}
    assert kinds == {(kind, dtype) for kind in (*DENSE, *SPARSE) for dtype in BOUNDS}
    assert set(RECORDED["vw"]["predictions"]) == {str(setting) for setting in SETTINGS}


@pytest.mark.parametrize("recorded", RECORDED["legacy"], ids=name)
def test_tensorflow(recorded: dict[str, Any]) -> None:
    case = make(SEED, recorded["kind"], 0, recorded["dtype"])
    assert case.checksum() == recorded["checksum"], "the generator makes another case now"
    ours = clickfold(case)
    last = Outcome(ours.weights[-1:], ours.z, ours.n)
    weights, z, n = (np.array(recorded[part]) for part in ("weights", "z", "n"))
    assert distance(last, Outcome([weights], z, n)) <= BOUNDS[case.dtype]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_vowpal_wabbit(setting: Setting) -> None:
    examples = recorded_stream(SEED)
    assert checksum(examples) == RECORDED["vw"]["checksum"], "the generator makes another stream"
    theirs = np.array(RECORDED["vw"]["predictions"][str(setting)])
    assert np.abs(clickfold_predictions(examples, setting) - theirs).max() <= VW_BOUND
