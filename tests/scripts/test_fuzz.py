"""The fuzzer's targets on their own seeds, kernels run as Python; and that a fault is one there."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.extending import _Intrinsic

from scripts.fuzz_run.interpreted import STAND_INS, Checked, borrowed

ROOT = Path(__file__).parent.parent.parent
DRIVER = """
import sys
from scripts.fuzz_run import interpreted
interpreted.install()
from scripts.fuzz_run.seeds import seeds_of
from scripts.fuzz_run.targets import TARGETS
count = 0
for name, target in TARGETS.items():
    for content in list(seeds_of(name))[:15]:
        for damaged in (content, content[:-1], content[: len(content) // 2], content + b"}"):
            target(damaged)
            count += 1
print(count)
"""


@pytest.mark.parametrize("name", sorted(STAND_INS))
def test_every_intrinsic_has_a_stand_in(name: str) -> None:
    members = vars(importlib.import_module(f"ftrl_core.{name}")).items()
    wanted = {member for member, value in members if isinstance(value, _Intrinsic)}
    assert wanted
    assert wanted <= STAND_INS[name].keys()


def test_what_is_beyond_an_array_is_an_error() -> None:
    array = borrowed(np.zeros(3, np.uint8))
    assert isinstance(array, Checked)
    for place in (-1, 3):
        with pytest.raises(IndexError):
            array[place]
        with pytest.raises(IndexError):
            array[place] = 1


def test_targets_on_their_seeds() -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 180
