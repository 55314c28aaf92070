"""q2.13: unbiased rounding to 16 bits, a file without pickle, and predictions of the lane."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadConfig, BadWeights
from ftrl_core.interchange import Feature, LinearWeights
from ftrl_core.model import Model
from ftrl_core.quantized import QuantizedModel, rounded
from ftrl_core.synthesis import model_of

PLAIN: dict[str, Any] = {"table_bits": 16, "optimizer": {"learning_rate": 0.1}}
STEP = 2.0**-13


def rows(count: int = 300) -> ExampleBatch:
    rng = np.random.default_rng(2)
    return ExampleBatch.from_examples(
        [
            {
                "label": int(rng.random() < 0.3),
                "features": {"user": f"u{rng.integers(50)}", "price": float(rng.normal() * 3)},
            }
            for _ in range(count)
        ]
    )


def test_rounding_is_unbiased_and_to_a_neighbour() -> None:
    """Over 20,000 slots the mean is w within 5 standard errors of a coin of that remainder."""
    for w in (0.3, -1.7, 1e-5, -1e-5, 3.00001):
        many = np.array([rounded(w, np.uint32(7), slot) for slot in range(20_000)]) * STEP
        assert np.abs(many - w).max() < STEP
        remainder = w / STEP - math.floor(w / STEP)
        error = STEP * math.sqrt(remainder * (1 - remainder) / many.size)
        assert abs(many.mean() - w) < 5 * error + 1e-9
        assert len(set(many)) == 2


def test_seeds_are_independent_and_repeat() -> None:
    by_seed = [
        np.array([rounded(0.4 * STEP, np.uint32(seed), slot) for slot in range(2000)])
        for seed in (1, 2, 1)
    ]
    assert (by_seed[0] == by_seed[2]).all()
    assert abs(np.corrcoef(by_seed[0], by_seed[1])[0, 1]) < 0.1


def test_the_range_is_saturated_and_what_fits_is_exact() -> None:
    cases = {-4.0: -32768, -4.1: -32768, 4.0: 32767, 1e6: 32767, 1.5: 12288, -STEP: -1, 0.0: 0}
    for w, expected in cases.items():
        assert {int(rounded(w, np.uint32(0), slot)) for slot in range(100)} == {expected}


def test_a_copy_predicts_as_its_weights_say_and_keeps_no_zeros() -> None:
    features: list[Feature] = [("user", f"u{i}") for i in range(50)] + [("tiny", None)]
    w = np.linspace(-5, 5, 51)
    w[-1] = 0.0
    weights = LinearWeights(features, w, bias=0.123456789)
    small = QuantizedModel.from_model(model_of(weights, PLAIN, collisions="mean"))
    examples = [{"features": {"user": f"u{i}", "unknown": 1}} for i in range(50)]
    batch = ExampleBatch.from_examples(examples, require_labels=False)
    logits = np.clip(w[:50], -4, 4) + 0.123456789
    p = small.predict(batch)
    assert np.log(p / (1 - p)) == pytest.approx(logits, abs=1.01 * STEP)
    assert small.slots.size == np.count_nonzero(w) == 49
    assert (small.weights != 0).all()


@pytest.mark.parametrize("lane", [0, 1, 2, 3])
def test_a_lane_of_the_default_mixture_predicts_as_itself(lane: int) -> None:
    """Scale and views apply: the whole posterior on one lane is that lane's prediction."""
    model = Model({"table_bits": 14})
    model.learn(rows())
    model.coefficients.posterior[:] = np.eye(4)[lane]
    small = QuantizedModel.from_model(model)
    assert small.lane == lane
    assert small.predict(rows()) == pytest.approx(model.predict(rows()), abs=1e-4)
    others = QuantizedModel.from_model(model, (lane + 1) % 4)
    assert np.abs(others.predict(rows()) - model.predict(rows())).max() > 1e-3


def saved(small: QuantizedModel) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **small.to_arrays())
    return buffer.getvalue()


def test_the_file_reads_back_and_one_seed_gives_one_file() -> None:
    model = Model(PLAIN)
    model.learn(rows())
    small = QuantizedModel.from_model(model, seed=3)
    content = saved(small)
    assert saved(QuantizedModel.from_model(model, seed=3)) == content
    assert saved(QuantizedModel.from_model(model, seed=4)) != content
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        back = QuantizedModel.from_arrays(arrays)
    assert (back.predict(rows()) == small.predict(rows())).all()
    assert back.config == model.config
    assert back.predict(rows()) == pytest.approx(model.predict(rows()), abs=1e-3)


def test_an_untouched_model_is_empty_and_predicts_half() -> None:
    small = QuantizedModel.from_model(Model(PLAIN))
    assert small.slots.size == 0
    assert (QuantizedModel.from_arrays(small.to_arrays()).predict(rows(3)) == 0.5).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", np.array("clickfold q2.13 2"), "the format is not"),
        ("format", np.array(1), "the format is not"),
        ("config", np.array("{"), "not JSON"),
        ("config", np.array('{"table_bits": 99}'), "configuration is not known: table_bits"),
        ("lane", np.array(1), "lane is not one"),
        ("slots", np.array([5, 5], np.uint32), "slots must ascend"),
        ("slots", np.array([5, 1 << 16], np.uint32), "slots must ascend, and be below 65536"),
        ("slots", np.array([5], np.uint32), "not as many weights"),
        ("slots", np.array([5, 6], np.int64), "slots must be uint32"),
        ("weights", np.array([5, 6], np.int32), "slots must be uint32"),
        ("bias", np.array(np.nan), "bias must be"),
        ("bias", None, "there is no array 'bias'"),
    ],
)
def test_a_damaged_file_is_refused(name: str, value: Any, message: str) -> None:
    weights = LinearWeights([("a", None), ("b", None)], np.ones(2))
    arrays: dict[str, Any] = QuantizedModel.from_model(model_of(weights, PLAIN)).to_arrays()
    assert arrays["slots"].size == 2
    arrays[name] = value
    with pytest.raises(BadWeights, match=message):
        QuantizedModel.from_arrays({k: v for k, v in arrays.items() if v is not None})


def test_arguments_are_checked() -> None:
    with pytest.raises(BadConfig, match="lane must be"):
        QuantizedModel.from_model(Model(PLAIN), 1)
    with pytest.raises(BadConfig, match="seed must be"):
        QuantizedModel.from_model(Model(PLAIN), seed=-1)
