"""No request compiles a kernel: all are there when the service says that it is ready."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import app
from app import ingest
from ftrl_core import warmup
from ftrl_core.batch import ExampleBatch
from ftrl_core.json_score import FeatureTexts
from ftrl_core.limits import Limits
from ftrl_core.model import Model

def compiled():
    kernels = {
        kernel
        for name, module in sys.modules.items() if name.startswith("ftrl_core")
        for kernel in vars(module).values() if hasattr(kernel, "nopython_signatures")
    }
    return {(kernel.py_func.__name__, str(s)) for kernel in kernels for s in kernel.signatures}

ingest.warm_up()
warmup.warm_up()
before = compiled()
FEATURES = b'{"a":"b","n":0.5,"l":["x",1,"\\\\u00e9"]}'
BODIES = [
    b'{"label":1,"features":%b}' % FEATURES,
    b'{"label":1,"id":"x","weight":2,"features":%b}' % FEATURES,
    b'{"shared":{"u":"v"},"examples":[{"label":1,"features":%b}]}' % FEATURES,
    b'{"examples":[{"label":1,"features":{"tiny":1e-30}},{"label":1,"features":%b}]}' % FEATURES,
]
for config in ({}, {"optimizer": {"learning_rate": 0.1}}):
    model = Model({"table_bits": 10, **config})
    for body in BODIES:
        model.learn(ingest.decode_json(body))
        model.predict(ingest.decode_json(body, Limits(), 0, False))
    model.learn(ExampleBatch.concatenate([ingest.decode_json(body) for body in BODIES]))
    assert model.predict_texts([FEATURES], FeatureTexts(Limits(), 999)) is not None
print(*sorted(compiled() - before), sep="\\n")
"""


def test_nothing_is_compiled_after_the_warm_up() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=110
    )
    assert done.stdout.split() == []
