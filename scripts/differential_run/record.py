"""Write the recorded slice: what TensorFlow and Vowpal Wabbit gave for a few named cases.

The file holds seeds and outputs only; inputs are made again from the seeds, and a checksum tells
when the generator no longer gives the same ones. tests/ftrl_core/test_recorded.py compares with it
where neither library is installed.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

from scripts.differential_run import tensorflow_side
from scripts.differential_run.cases import DENSE, SPARSE, make
from scripts.differential_run.vw_side import SETTINGS, vw_predictions
from scripts.differential_run.vw_streams import checksum, recorded_stream

DIGITS = {"float64": 17, "float32": 9}  # enough to give the same number back


def numbers(array: Any, dtype: str) -> list[float]:
    """A JSON-able array."""
    return [float(f"{x:.{DIGITS[dtype]}g}") for x in array.tolist()]


def recorded_case(seed: int, kind: str, dtype: str) -> dict[str, Any]:
    """Case 0 of a class by the legacy optimizer."""
    case = make(seed, kind, 0, dtype)
    outcome = tensorflow_side.legacy(case)
    return {
        "kind": kind,
        "dtype": dtype,
        "checksum": case.checksum(),
        "weights": numbers(outcome.weights[-1], dtype),
        "z": numbers(outcome.z, dtype),
        "n": numbers(outcome.n, dtype),
    }


def write(path: Path, seed: int) -> None:
    """Write the file."""
    examples = recorded_stream(seed)
    packages = ("tensorflow-cpu", "tf-keras", "vowpalwabbit")
    document = {
        "seed": seed,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "legacy": [
            recorded_case(seed, kind, dtype)
            for kind in (*DENSE, *SPARSE)
            for dtype in ("float64", "float32")
        ],
        "vw": {
            "checksum": checksum(examples),
            "predictions": {
                str(setting): numbers(vw_predictions(examples, setting), "float32")
                for setting in SETTINGS
            },
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, separators=(",", ":")).replace("},{", "},\n{") + "\n")
