"""The contest's generated streams, and our side of it, on short seeded slices.

The peers are in no test environment, so their modules are not imported here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pytest

from ftrl_core import ExampleBatch, Model
from scripts.contest_run import cost, ours, sources, streams

ROWS = 3_000
LEARNED = 12_000  # fewer are too few for the drift's rare values
Generator = Callable[[int, int], Iterator[streams.Example]]
GENERATORS = [(streams.drift, streams.DRIFT_SEED), (streams.raw_numbers, streams.NUMBERS_SEED)]


def digest(examples: Iterator[streams.Example]) -> str:
    """Over the text of the examples."""
    text = "".join(json.dumps(example, sort_keys=True) for example in examples)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@pytest.mark.parametrize(("generate", "seed"), GENERATORS)
def test_a_stream_is_a_function_of_seed_and_length(generate: Generator, seed: int) -> None:
    first = digest(generate(300, seed))
    assert digest(generate(300, seed)) == first
    assert digest(generate(300, seed + 1)) != first


@pytest.mark.parametrize(("generate", "seed"), GENERATORS)
def test_both_labels_are_common(generate: Generator, seed: int) -> None:
    labels = [example["label"] for example in generate(ROWS, seed)]
    assert 0.1 < np.mean(labels) < 0.5


def test_numbers_span_nine_orders_of_magnitude() -> None:
    examples = streams.raw_numbers(ROWS, streams.NUMBERS_SEED)
    rows = [[v for v in e["features"].values() if not isinstance(v, str)] for e in examples]
    medians = np.median(np.abs(np.array(rows)), axis=0)
    assert medians.size == 7
    assert medians.min() < 2e-3
    assert medians.max() > 2e5


def test_the_drift_is_sudden_and_midway() -> None:
    """A value's click rate is the same at both ends of the first half, and another in the second.

    The most frequent values of the small fields, over 40,000 examples: their rates move by more
    than five standard errors for some value from half to half, and for none inside the first half.
    """
    count = 40_000
    examples = list(streams.drift(count, streams.DRIFT_SEED))
    labels = np.array([example["label"] for example in examples])
    quarter = count // 4

    def furthest(a: slice, b: slice) -> float:
        moves = []
        for name, value in [("f0", "v0"), ("f1", "v0"), ("f2", "v0"), ("f0", "v1"), ("f1", "v1")]:
            chosen = np.array([example["features"][name] == value for example in examples])
            one, two = labels[a][chosen[a]], labels[b][chosen[b]]
            error = np.sqrt(one.var() / one.size + two.var() / two.size)
            moves.append(abs(one.mean() - two.mean()) / error)
        return float(max(moves))

    assert furthest(slice(0, quarter), slice(quarter, 2 * quarter)) < 4
    assert furthest(slice(quarter, 2 * quarter), slice(2 * quarter, 3 * quarter)) > 5


@pytest.mark.parametrize(("generate", "seed"), GENERATORS)
def test_our_side_learns_and_reports_progressive_loss(generate: Generator, seed: int) -> None:
    examples = list(generate(LEARNED, seed))
    losses = ours.losses(examples)
    model = Model()
    for start in range(0, LEARNED, ours.BATCH):
        model.learn(ExampleBatch.from_examples(examples[start : start + ours.BATCH]))
    assert losses.shape == (LEARNED,)
    assert losses.mean() == pytest.approx(model.stats()["log_loss"], rel=1e-9)
    assert losses.mean() < model.stats()["base_rate_log_loss"]


def test_untouched_defaults_survive_numbers_on_raw_scales() -> None:
    """What the defaults promise: a learner of the numbers as they are loses several nats here."""
    losses = ours.losses(streams.raw_numbers(ROWS, streams.NUMBERS_SEED))
    assert losses.mean() < 0.54


def test_predictions_are_cut_before_the_logarithm() -> None:
    loss = ours.log_loss(np.array([0.0, 1.0, 0.25]), [1, 1, 0])
    assert loss == pytest.approx([-np.log(1e-15), 0.0, -np.log(0.75)])


def test_vw_text_becomes_numbers() -> None:
    """Read with the reader of the words' logs, from the first lines of one where it is there."""
    stream = next(s for s in sources.STREAMS if s.name == "0001")
    if stream.missing():
        pytest.skip("the log is not beside the checkout")
    examples = list(islice(stream.read(), 3))
    assert [example["label"] for example in examples[:2]] == [1, 0]
    assert examples[0]["features"]["13"] == pytest.approx(3.9656971e-02)


def test_the_cost_is_a_ratio_for_each_round() -> None:
    short = sources.Stream("short", "", lambda: streams.drift(500, 1))
    found = cost.ratios(short, 2)
    assert len(found) == 2
    assert min(found) > 0.0
