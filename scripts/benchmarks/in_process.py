"""The fold in process: ours, Vowpal Wabbit, TensorFlow's op and River, on the same examples.

Each contender is a process of its own that is given the examples in the form that suits it best and
times its learning alone: ours packed entries, Vowpal Wabbit its text file (and lines, through
Python), TensorFlow tensors of slots, River dicts. `fold` beside it is kernel against kernel
(scripts/benchmarks/fold.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftrl_core import ExampleBatch
from scripts.benchmarks.contenders import Missing, peers_python
from scripts.benchmarks.examples import Example, vw_line
from scripts.benchmarks.ours_in_process import ENTRY_ROWS, NDJSON, decoded, joined

TABLE_BITS = 22
TENSORFLOW_BATCHES = (256, 1024, 4096, 16384)
RIVER_EXAMPLES = 5_000
LINES_EXAMPLES = 20_000
Figures = dict[str, Any]


def ran(*command: str) -> Any:
    """What the program printed; Missing when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing((done.stderr.strip().splitlines() or ["it failed"])[-1])
    return json.loads(done.stdout)


def write(folder: Path, given: Sequence[Example]) -> None:
    """The examples in each contender's form."""
    lines = [json.dumps(example).encode() for example in given]
    (folder / "examples.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    (folder / "few.ndjson").write_bytes(b"\n".join(lines[:RIVER_EXAMPLES]) + b"\n")
    text = [vw_line(example) for example in given]
    (folder / "examples.vw").write_text("\n".join(text) + "\n")
    (folder / "few.vw").write_text("\n".join(text[:LINES_EXAMPLES]) + "\n")
    batches = decoded(joined(lines, ENTRY_ROWS, b"", b"\n", b""), NDJSON)
    labels = np.concatenate([batch.labels for batch in batches]).astype(np.float32)
    np.savez(folder / "examples.npz", slots=padded_slots(batches), labels=labels)


def padded_slots(batches: Sequence[ExampleBatch]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """A row of slots for each example; shorter ones are filled up with slot 0."""
    counts = np.concatenate([np.diff(batch.row_offsets) for batch in batches])
    hashes = np.concatenate([batch.feature_hashes for batch in batches])
    slots = np.zeros((counts.size, counts.max()), np.int32)
    slots[np.arange(counts.max()) < counts[:, None]] = hashes & np.uint32((1 << TABLE_BITS) - 1)
    return slots


def ours(folder: Path, config: str) -> Figures:
    """Figures of fold and decoder."""
    file = str(folder / "examples.ndjson")
    found: Figures = ran(sys.executable, "-m", "scripts.benchmarks.ours_in_process", file, config)
    return found


def peers(folder: Path) -> dict[str, Figures]:
    """Figures of each peer."""
    programs = {
        "Vowpal Wabbit, text file": ["vowpal_wabbit", "text", str(folder / "examples.vw")],
        "Vowpal Wabbit, lines through Python": ["vowpal_wabbit", "lines", str(folder / "few.vw")],
        "River": ["river_in_process", str(folder / "few.ndjson")],
    }
    found = {name: _peer(*words) for name, words in programs.items()}
    batches = [str(batch) for batch in TENSORFLOW_BATCHES]
    words = [str(folder / "examples.npz"), str(1 << TABLE_BITS), *batches]
    tensorflow = _peer("tensorflow_op", *words)
    if "missing" in tensorflow:
        return {**found, "TensorFlow op": tensorflow}
    return found | {f"TensorFlow {f.pop('name')}": f for f in tensorflow["runs"]}


def _peer(module: str, *words: str) -> Figures:
    try:
        found = ran(peers_python(), "-m", f"scripts.benchmarks.peers.{module}", *words)
    except Missing as reason:
        return {"missing": str(reason)}
    return {"runs": found} if isinstance(found, list) else found


def measure_round(folder: Path, *, with_peers: bool) -> dict[str, Figures]:
    """All contenders once."""
    mixture, single = ours(folder, "mixture"), ours(folder, "single")
    found = {
        "ours": mixture["fold"],
        "ours, one rate": single["fold"],
        "ours, decoding JSON": mixture["decode"],
    }
    return found | (peers(folder) if with_peers else {})


def kernels(rounds: int, bits: Sequence[int]) -> list[Figures]:
    """Kernel against kernel, for each table size and number of lanes."""
    words = ["--rounds", str(rounds), "--bits", *map(str, bits)]
    command = [sys.executable, "-m", "scripts.benchmarks.fold", *words]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]
