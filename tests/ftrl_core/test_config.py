"""Configurations: what is refused says which argument and which value; what is told is digested."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from ftrl_core.config import MIXTURE_SHARE, UNTUNED, UNTUNED_OPTIMIZER, ModelConfig
from ftrl_core.errors import BadConfig, ClickfoldError
from ftrl_core.hyperparameters import Hyperparameters
from ftrl_core.model import Model

L1, L2 = "l1_regularization_strength", "l2_regularization_strength"
N0, SHRINKAGE = "initial_accumulator_value", "l2_shrinkage_regularization_strength"
CLIPS = ("clipvalue", "clipnorm", "global_clipnorm")
NOT_NEGATIVE = (L1, L2, N0, "beta")

OPTIMIZER_REFUSALS: list[tuple[str, object, str]] = [
    *((name, value, shown) for name in ("learning_rate", *NOT_NEGATIVE) for value, shown in [
        (math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (10**400, "64 bits"),
        (-0.5, "-0.5"), (-1, "-1"), (2e6, "2000000.0"), (True, "True"), (False, "False"),
        ("0.1", "str"), (None, "NoneType"), (1j, "complex"),
    ]),
    *((name, [0.1], "list") for name in NOT_NEGATIVE),
    *((name, {}, "dict") for name in NOT_NEGATIVE),
    ("learning_rate", [], "0"),
    ("learning_rate", [0.1] * 9, "9"),
    ("learning_rate", [0.1, 0.0], "0.0"),
    ("learning_rate", [0.1, [0.1]], "list"),
    ("learning_rate", 0, "=0"),
    ("learning_rate", -0.0, "0.0"),
    ("learning_rate_power", 0.1, "0.1"),
    ("learning_rate_power", -2.1, "-2.1"),
    ("learning_rate_power", math.nan, "nan"),
    *((name, value, str(value)) for name in CLIPS for value in (0.0, -1.0, math.nan)),
    *((name, "1", "str") for name in CLIPS),
    (SHRINKAGE, -0.1, "-0.1"),
]  # fmt: skip

MODEL_REFUSALS: list[tuple[str, object, str]] = [
    *(("table_bits", value, str(value)) for value in (0, -1, 31, 10.0, True)),
    ("table_bits", "22", "str"),
    ("table_bits", None, "NoneType"),
    ("table_bits", math.nan, "nan"),
    *(("hash_seed", value, str(value)) for value in (-1, 2**32, 0.5, False)),
    *(("deduplication_window", value, str(value)) for value in (-1, 2**26 + 1, 1e3)),
    *(("fold_version", value, str(value)) for value in (0, 2, 99, True)),
    ("bias_regularized", 1, "1"),
    ("bias_regularized", 0.0, "0.0"),
    ("bias_regularized", "yes", "str"),
    ("bias_regularized", None, "NoneType"),
    *((name, value, shown) for name in ("numbers", "scale", "sampling_correction", "rates_from")
      for value, shown in [("log", "str"), (1, "1"), ([], "list")]),
    *(("sampling_rate", value, str(value)) for value in (0.0, 1.5, 1e-9, -1.0, math.nan)),
    *(("bias_learning_rate", value, str(value)) for value in (0.0, -0.1, 1e7, math.inf)),
    *(("mixture_share", value, str(value)) for value in (-0.1, 0.6, math.inf)),
    ("admission", "bloom", "str"),
    *(("admission", rule, shown) for rule, shown in [
        ({}, "kind"), ({"kind": "hash"}, "kind"), ({"kind": "poisson"}, "probability"),
        ({"kind": "poisson", "probability": 0}, "probability"),
        ({"kind": "poisson", "probability": 0.1, "count": 1}, "count"),
        ({"kind": "bloom"}, "count"), ({"kind": "bloom", "count": 255}, "255"),
        ({"kind": "bloom", "count": 1, "bits": 25}, "25"), ({"kind": "bloom", "rate": 1}, "name"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "shown"), OPTIMIZER_REFUSALS)
def test_an_optimizer_argument_is_refused(name: str, value: object, shown: str) -> None:
    with pytest.raises(BadConfig, match=name) as raised:
        ModelConfig.from_dict({"optimizer": {name: value}})
    assert shown in str(raised.value)
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, ClickfoldError)


@pytest.mark.parametrize(("name", "value", "shown"), MODEL_REFUSALS)
def test_a_models_argument_is_refused(name: str, value: object, shown: str) -> None:
    with pytest.raises(BadConfig, match=name) as raised:
        ModelConfig.from_dict({name: value})
    assert shown in str(raised.value)


@pytest.mark.parametrize(
    "given",
    [{"alpha": 1}, {"learning_rate": 0.1}, {"lanes": 2}, {"": 1}, {"optimizer": {"lr": 0.1}},
     {"optimizer": {"table_bits": 20}}],
)  # fmt: skip
def test_unknown_arguments_are_refused_and_not_repeated(given: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match="no argument of that name; it has") as raised:
        ModelConfig.from_dict(given)
    assert "alpha" not in str(raised.value)


@pytest.mark.parametrize("optimizer", [0.1, "ftrl", None, [("learning_rate", 0.1)]])
def test_an_optimizer_is_an_object(optimizer: object) -> None:
    with pytest.raises(BadConfig, match="optimizer"):
        ModelConfig.from_dict({"optimizer": optimizer})


def test_a_long_value_is_not_repeated() -> None:
    with pytest.raises(BadConfig) as raised:
        ModelConfig.from_dict({"table_bits": "x" * 10_000})
    assert len(str(raised.value)) < 200


def test_a_partial_configuration_is_filled() -> None:
    config = ModelConfig.from_dict({"table_bits": 8, "optimizer": {L1: 1}})
    assert config == ModelConfig.from_dict(
        {**UNTUNED, "table_bits": 8, "optimizer": {**UNTUNED_OPTIMIZER, L1: 1.0}}
    )
    assert (config.lanes, config.numbers, config.mixture_share) == (4, "auto", MIXTURE_SHARE)


def test_round_trip_through_json() -> None:
    optimizer = {"learning_rate": 0.1 + 0.2, "beta": 1 / 3, N0: 1e-300, L2: 7}
    config = ModelConfig.from_dict({"optimizer": optimizer, "hash_seed": 2**32 - 1})
    told = json.loads(json.dumps(config.to_dict()))
    assert ModelConfig.from_dict(told) == config
    assert set(told) == {f.name for f in fields(ModelConfig)} - {"slices"}
    sliced = ModelConfig.from_dict({**told, "slices": ["site"]})
    assert ModelConfig.from_dict(sliced.to_dict()) == sliced != config
    assert set(told["optimizer"]) == {f.name for f in fields(Hyperparameters)}


def test_integers_and_negative_zero_have_one_spelling() -> None:
    a = ModelConfig.from_dict({"optimizer": {"learning_rate": 1, L1: -0.0}})
    b = ModelConfig.from_dict({"optimizer": {"learning_rate": 1.0, L1: 0}})
    assert a.arithmetic() == b.arithmetic()
    assert math.copysign(1.0, a.optimizer.l1_regularization_strength) == 1.0


def test_numpy_scalars() -> None:
    given = {"optimizer": {"learning_rate": np.float64(0.25)}}
    assert ModelConfig.from_dict(given).optimizer.learning_rate == 0.25
    with pytest.raises(BadConfig, match="table_bits"):
        ModelConfig.from_dict({"table_bits": np.int64(8)})


def test_the_arithmetics_bytes_are_pinned() -> None:
    """They are part of every digest: what is at its neutral value is left out, for ever."""
    one = ModelConfig.from_dict({"optimizer": {"learning_rate": 0.1}})
    assert one.arithmetic() == b'{"beta":1.0,"learning_rate":0.1,"table_bits":22}'
    assert ModelConfig.from_dict({}).arithmetic() == (
        b'{"beta":0.1,"bias_learning_rate":0.1,"learning_rate":[0.3,0.5,1.0,2.0],'
        b'"mixture_share":0.0001,"numbers":"auto","scale":"unit","table_bits":22}'
    )
    everything = ModelConfig.from_dict(
        {"hash_seed": 3, "bias_regularized": True, "table_bits": 1, "deduplication_window": 5,
         "optimizer": {"beta": 0, "learning_rate": 0.1, L1: 1, L2: 2, N0: 3}}
    )  # fmt: skip
    assert everything.arithmetic() == (
        b'{"bias_regularized":true,"hash_seed":3,"initial_accumulator_value":3.0,'
        b'"l1_regularization_strength":1.0,"l2_regularization_strength":2.0,'
        b'"learning_rate":0.1,"table_bits":1}'
    )


@pytest.mark.parametrize(
    ("change", "same"),
    [({"deduplication_window": 1}, True), ({"table_bits": 5}, False), ({"hash_seed": 1}, False),
     ({"bias_regularized": True}, False), ({"optimizer": {L2: 1e-9}}, False)],
)  # fmt: skip
def test_what_the_digest_covers(change: dict[str, Any], same: bool) -> None:
    base = {"table_bits": 4, "deduplication_window": 2}
    assert (Model(base).digest() == Model({**base, **change}).digest()) is same


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        ModelConfig.from_dict({}).table_bits = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Hyperparameters(0.1).beta = 3.0  # type: ignore[misc]


@pytest.mark.parametrize("given", [
    {"optimizer": {"learning_rate": [0.5, 0.25]}, "mixture_share": 0.0, "numbers": "log_bins"},
    {"optimizer": {"learning_rate": [0.5]}, "rates_from": "counts"},
    {"optimizer": {"clipvalue": 1, "clipnorm": 2.0, "learning_rate_power": 0}},
    {"admission": {"kind": "bloom", "count": 2, "bits": 12}, "sampling_rate": 0.1},
    {"admission": {"kind": "poisson", "probability": 0.03}, "sampling_correction": "logit"},
    {"optimizer": {"learning_rate": {"class_name": "ExponentialDecay", "config": {
        "initial_learning_rate": 0.1, "decay_steps": 1000, "decay_rate": 0.9}}}},
])  # fmt: skip
def test_every_option_round_trips(given: dict[str, Any]) -> None:
    config = ModelConfig.from_dict(given)
    told = json.loads(json.dumps(config.to_dict()))
    assert ModelConfig.from_dict(told) == config
    assert ModelConfig.from_dict(told).arithmetic() == config.arithmetic()
    assert config.arithmetic() != ModelConfig.from_dict({}).arithmetic()


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(BadConfig, match="clipnorm and global_clipnorm"):
        ModelConfig.from_dict({"optimizer": {"clipnorm": 1, "global_clipnorm": 1}})
    with pytest.raises(BadConfig, match=r"mixture_share=0\.1"):
        ModelConfig.from_dict({"mixture_share": 0.1, "optimizer": {"learning_rate": 0.1}})


@pytest.mark.parametrize("rate", [0.1, [0.1], [0.1, 1.0]], ids=str)
def test_who_gives_a_rate_gets_the_papers_learner(rate: object) -> None:
    config = ModelConfig.from_dict({"optimizer": {"learning_rate": rate}})
    assert (config.numbers, config.scale, config.bias_learning_rate) == ("raw", "none", None)
    assert config.optimizer.beta == 1.0
    mended = ModelConfig.from_dict({"optimizer": {"learning_rate": rate}, "numbers": "auto"})
    assert (mended.numbers, mended.scale) == ("auto", "none")


def test_what_is_given_is_not_replaced_where_no_rate_is() -> None:
    given = {
        "numbers": "raw",
        "scale": "none",
        "bias_learning_rate": None,
        "optimizer": {"beta": 2},
    }
    told = ModelConfig.from_dict(given).to_dict()
    assert {name: told[name] for name in given if name != "optimizer"} == {
        name: value for name, value in given.items() if name != "optimizer"
    }
    assert told["optimizer"]["beta"] == 2.0
    assert told["optimizer"]["learning_rate"] == [0.3, 0.5, 1.0, 2.0]


def test_the_logit_correction_is_computed_by_our_own_logarithm() -> None:
    config = ModelConfig.from_dict({"sampling_rate": 0.25, "sampling_correction": "logit"})
    assert config.logit_offset == pytest.approx(math.log(4.0), rel=1e-15)
    assert ModelConfig.from_dict({"sampling_rate": 0.25}).logit_offset == 0.0
