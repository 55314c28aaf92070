"""Three real click logs, learned by the model and by the float64 oracle: the figures must agree.

The logs are not ours to pass on, so they are read from `shared/data` beside the checkout and the
tests skip where that is absent. Feature rules are those of the command line's formats: criteo
(integers to categories), csv (every column a category), and name:value columns for iPinYou. The
figures are printed as a table (`pytest -s -k figures`).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ftrl_core.batch import ExampleBatch
from ftrl_core.config import ModelConfig
from ftrl_core.entry import encode_examples, plan_entries, whole_request
from ftrl_core.model import Model
from tests.oracle.exact import ExactFold
from tests.oracle.float64 import Ftrl, Hasher, Mixture, Progressive

DATA = Path(__file__).parents[3] / "shared" / "data"
FIGURES = ("log_loss", "normalized_entropy", "calibration", "base_rate_log_loss")
Example = tuple[int, dict[str, object]]  # label and features


def criteo() -> Iterator[Example]:
    """label, 13 integers (v > 0 is floor(log2(v + 1)), else v itself), 26 categories."""
    names = [f"I{i}" for i in range(1, 14)] + [f"C{i}" for i in range(1, 27)]
    with gzip.open(DATA / "criteo" / "train.tsv.gz", "rt") as lines:
        for line in lines:
            label, *cells = line.rstrip("\n").split("\t")
            features: dict[str, object] = {}
            for name, cell in zip(names, cells, strict=True):
                if cell and name[0] == "I" and int(cell) > 0:
                    features[name] = str((int(cell) + 1).bit_length() - 1)
                elif cell:
                    features[name] = cell
            yield int(label), features


def avazu() -> Iterator[Example]:
    """A header; click is the label, id is ignored, every other column a category."""
    with gzip.open(DATA / "avazu" / "train.csv.gz", "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            features: dict[str, object] = {
                name: cell for name, cell in row.items() if cell and name not in ("click", "id")
            }
            yield int(row["click"]), features


def ipinyou() -> Iterator[Example]:
    """label, then name:value columns, all categories."""
    with gzip.open(DATA / "ipinyou" / "day_a.tsv.gz", "rt") as lines:
        for line in lines:
            label, *cells = line.rstrip("\n").split("\t")
            parts = [cell.partition(":") for cell in cells]
            yield int(label), {name: value for name, _, value in parts}


LOGS: dict[str, tuple[str, Callable[[], Iterator[Example]]]] = {
    "criteo": ("criteo/train.tsv.gz", criteo),
    "avazu": ("avazu/train.csv.gz", avazu),
    "ipinyou": ("ipinyou/day_a.tsv.gz", ipinyou),
}
REGULARISED = {
    "optimizer": {
        "learning_rate": 0.1,
        "beta": 1.0,
        "initial_accumulator_value": 0.0,
        "l1_regularization_strength": 1.0,
        "l2_regularization_strength": 0.5,  # the paper's lambda2 is 1
    }
}
CONFIGS: dict[str, dict[str, Any]] = {"defaults": {}, "l1 1, l2 .5": REGULARISED}


@cache
def read(log: str) -> list[Example]:
    """A log's examples; skips where it is not there."""
    path, parse = LOGS[log]
    if not (DATA / path).exists():
        pytest.skip(f"the log is not at {DATA / path}")
    return list(parse())


@cache
def batches(log: str) -> list[ExampleBatch]:
    """The log as batches of 1,000, by the canonical path of the JSON shape."""
    examples = [{"label": label, "features": features} for label, features in read(log)]
    return [
        ExampleBatch.from_examples(examples[first : first + 1000])
        for first in range(0, len(examples), 1000)
    ]


@dataclass
class Outcome:
    """One learned log: predictions in order, and figures."""

    predictions: list[float]
    figures: dict[str, float]
    non_zero: int


def by_model(log: str, config: dict[str, Any]) -> Outcome:
    model = Model(config)
    predictions = [p for batch in batches(log) for p in model.learn(batch).tolist()]
    return Outcome(predictions, model.stats(), non_zero_of(model))


def non_zero_of(model: Model) -> int:
    """Weights that are not zero, of all lanes."""
    z = model.table.cells.reshape(-1, 2, model.config.lanes)[:, 0]
    l1 = model.config.optimizer.l1_regularization_strength
    return int(np.count_nonzero(np.abs(z) > np.float32(np.array(model.config.rates) * l1)))


def by_oracle(log: str, config: dict[str, Any]) -> Outcome:
    """The same by the oracle, which is told the arguments and nothing else."""
    whole = ModelConfig.from_dict(config)
    o = whole.optimizer
    blind = ["linear", "bins"] if whole.numbers == "auto" and whole.lanes > 1 else ["nothing"]
    lanes = [
        Ftrl(
            rate,
            o.beta,
            o.initial_accumulator_value,
            o.l1_regularization_strength,
            o.l2_regularization_strength,
            whole.table_bits,
            whole.bias_learning_rate,
            blind[i % len(blind)],
            whole.scale == "unit",
        )
        for i, rate in enumerate(whole.rates)
    ]
    oracle = Mixture(lanes, whole.mixture_share or 0.0, whole.numbers)
    hasher, progressive, predictions = Hasher(whole.hash_seed), Progressive(), []
    for label, features in read(log):
        predictions.append(oracle.learn(hasher.features(features), label))
        progressive.score(predictions[-1], label)
    non_zero = sum(lane.weight(slot) != 0 for lane in lanes for slot in lane.z if slot >= 0)
    return Outcome(predictions, progressive.figures(), non_zero)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("log", LOGS)
def test_figures_are_the_oracles(log: str, config: str) -> None:
    found, expected = by_model(log, CONFIGS[config]), by_oracle(log, CONFIGS[config])
    labels = [label for label, _ in read(log)]
    auc = roc_auc_score(labels, expected.predictions)
    differences = {name: abs(found.figures[name] / expected.figures[name] - 1) for name in FIGURES}
    print(f"\n{log}, {config}: {len(labels)} examples")
    for name in FIGURES:
        print(
            f"  {name:20} {found.figures[name]:.7f}  oracle {expected.figures[name]:.7f}"
            f"  relative difference {differences[name]:.1e}"
        )
    print(f"  {'auc':20} {found.figures['auc']:.7f}  scikit-learn {auc:.7f}")
    print(f"  {'non-zero weights':20} {found.non_zero}  oracle {expected.non_zero}")
    assert max(differences.values()) < 1e-5
    assert abs(found.figures["auc"] - auc) < 1e-3
    assert found.figures["examples"] == len(labels)
    assert np.allclose(found.predictions, expected.predictions, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("log", ["criteo", "avazu"])
def test_learning_beats_the_running_base_rate(log: str, config: str) -> None:
    figures = by_model(log, CONFIGS[config]).figures
    assert figures["log_loss"] < 0.97 * figures["base_rate_log_loss"]


@pytest.mark.parametrize("log", LOGS)
def test_the_digest_does_not_depend_on_the_batches(log: str) -> None:
    in_thousands, in_one = Model({"table_bits": 18}), Model({"table_bits": 18})
    for batch in batches(log):
        in_thousands.learn(batch)
    in_one.learn(ExampleBatch.concatenate(batches(log)))
    assert in_thousands.digest() == in_one.digest()


@pytest.mark.parametrize("log", LOGS)
def test_the_reference_fold_of_a_whole_log(log: str) -> None:
    """The digest that `train` and the service must show, by plain Python from entries' bytes."""
    config = ModelConfig.from_dict({"optimizer": {"l1_regularization_strength": 0.1}})
    model, reference = Model(config), ExactFold(config.to_dict())
    for batch in batches(log):
        model.learn(batch)
        for first, last in plan_entries(batch):
            part = batch.slice(first, last)
            reference.apply(encode_examples(part, whole_request(part)))
    assert model.digest() == reference.digest()
