"""One fold with the processor's instructions and with none but the baseline's: the same bits?

A compiler may fuse a multiplication and an addition into one instruction with one rounding where
the processor has it, and then replicas on unlike machines drift apart. So one seeded fold, its
predictions, and exp, log and sigmoid over seeded arguments are hashed in two processes: one for the
processor as it is, one with NUMBA_CPU_NAME=generic and NUMBA_CPU_FEATURES empty, which on x86-64
leaves SSE2. Numba's cache tells the two apart by name and features.

`python -m scripts.numerics_run.fma SEED` is such a process.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
ROWS = 20_000
FEATURES = 12
POINTS = 20_000
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
RATE = {"learning_rate": 0.1}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "the service's defaults": {},
    "one rate": {"optimizer": RATE},
    "l1, l2, n0": {
        "optimizer": {
            **RATE,
            "initial_accumulator_value": 0.1,
            "l1_regularization_strength": 0.2,
            "l2_regularization_strength": 0.1,
        }
    },
    "power, shrinkage, clipnorm, schedule": {
        "optimizer": {
            "learning_rate": {
                "class_name": "CosineDecay",
                "config": {"initial_learning_rate": 0.2, "decay_steps": 30_000.0},
            },
            "learning_rate_power": -0.4,
            "l2_shrinkage_regularization_strength": 1e-3,
            "clipnorm": 0.8,
        }
    },
}


def found_hashes(seed: int) -> dict[str, str]:
    """Digests of folds of a seeded stream, and hashes of predictions and of function values."""
    import numpy as np

    from ftrl_core import ExampleBatch, Model, numbers

    rng = np.random.default_rng(seed)
    count = ROWS * FEATURES
    names = np.tile(np.arange(FEATURES, dtype=np.uint32), ROWS)
    hashes = (rng.zipf(1.2, count) % 5_000).astype(np.uint32)
    numeric = rng.random(count) < 0.2  # a number has its name's hash
    values = np.where(rng.random(count) < 0.5, 1.0, rng.normal(0.0, 2.0, count))
    batch = ExampleBatch(
        np.arange(0, count + 1, FEATURES, dtype=np.int64),
        names,
        np.where(numeric, names, hashes),
        values.astype(np.float32),
        (rng.random(ROWS) < 0.3).astype(np.uint8),
        rng.choice([0.5, 1.0, 2.0], ROWS).astype(np.float32),
        np.zeros(ROWS, np.uint64),
    )
    found = {}
    for name, config in CONFIGURATIONS.items():
        model = Model({"table_bits": 12, "deduplication_window": 0, **config})
        predictions = model.learn(batch)
        found[f"{name}: digest"] = model.digest()
        found[f"{name}: predictions"] = hashlib.sha256(predictions.tobytes()).hexdigest()[:32]
    points = rng.uniform(-15.0, 15.0, POINTS)
    for function in (numbers.exp, numbers.sigmoid, numbers.log):
        arguments = np.abs(points) if function is numbers.log else points
        outputs = np.array([function(float(x)) for x in arguments])
        found[function.__name__] = hashlib.sha256(outputs.tobytes()).hexdigest()[:32]
    return found


def target() -> str:
    """What this process compiles for: the processor's name, and whether it may fuse."""
    from numba.core.registry import cpu_target

    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    return f"{name}, {'with' if '+fma' in features.split(',') else 'without'} fma"


def in_a_process(seed: int, environment: Mapping[str, str]) -> dict[str, Any]:
    """What such a process says."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.numerics_run.fma", str(seed)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def measure(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the processor as it is says, and what its baseline says."""
    return in_a_process(seed, {}), in_a_process(seed, GENERIC)


def report(seed: int) -> bool:
    """Print both; whether they are identical."""
    host, generic = measure(seed)
    print(f"{ROWS} examples, seed {seed}\n")
    print(f"| what | {host['target']} | {generic['target']} | identical |")
    print("|---|---|---|---|")
    for name, value in host["hashes"].items():
        other = generic["hashes"][name]
        print(f"| {name} | {value} | {other} | {'yes' if value == other else 'NO'} |")
    return bool(host["hashes"] == generic["hashes"])


if __name__ == "__main__":
    import app  # noqa: F401 - chooses the kernel cache, before numba is imported

    print(json.dumps({"target": target(), "hashes": found_hashes(int(sys.argv[1]))}))
