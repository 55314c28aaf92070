"""State of `Ftrl`: stored, given back, copied; a continued run ends with a whole run's bits."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest

from ftrl_core import Ftrl, schedules

NAN = math.nan
STRENGTHS = [
    "initial_accumulator_value",
    "l1_regularization_strength",
    "l2_regularization_strength",
    "l2_shrinkage_regularization_strength",
    "beta",
]


@pytest.mark.parametrize(
    "rate", [0.3, schedules.CosineDecay(0.3, 9, warmup_target=1, warmup_steps=2)]
)
def test_config_and_weights_carry_everything(rate: Any) -> None:
    """A run that is stopped, saved as JSON and arrays, and continued, ends with equal bits."""
    arguments: dict[str, Any] = dict.fromkeys(STRENGTHS, 0.05)
    arguments |= {"clipvalue": 2.0, "clipnorm": 3.0, "batch_mode": "batch_sum"}
    optimizer = Ftrl(rate, -0.4, **arguments)
    config = json.loads(json.dumps(optimizer.get_config()))
    again = Ftrl.from_config(config)
    assert again.get_config() == optimizer.get_config() == config
    a, b = np.ones((3, 2)), np.ones(4, dtype=np.float32)
    rng = np.random.default_rng(0)
    steps = [(rng.normal(size=(3, 2)), rng.normal(size=4).astype(np.float32)) for _ in range(6)]
    for g, h in steps[:3]:
        optimizer.apply_gradients([(g, a), (h, b)])
    again.set_weights(optimizer.get_weights())
    assert [x.tobytes() for x in again.get_weights()] == [
        x.tobytes() for x in optimizer.get_weights()
    ]
    c, d = a.copy(), b.copy()
    for g, h in steps[3:]:
        optimizer.apply_gradients([(g, a), (h, b)])
        again.apply_gradients([(g, c), (h, d)])
    assert again.iterations == optimizer.iterations == 6
    assert (a.tobytes(), b.tobytes()) == (c.tobytes(), d.tobytes())


def test_weights_are_iterations_accumulator_linear() -> None:
    optimizer, w = Ftrl(), np.zeros(2, dtype=np.float32)
    optimizer.apply_gradients([(np.array([1.0, 2.0], dtype=np.float32), w)])
    iterations, n, z = optimizer.get_weights()
    assert (str(iterations.dtype), int(iterations)) == ("int64", 1)
    assert (str(n.dtype), str(z.dtype)) == ("float32", "float32")
    np.testing.assert_allclose(n, [1.1, 4.1], rtol=1e-6)
    assert z.tolist() == [1.0, 2.0]
    n[:] = 7.0  # a copy
    assert optimizer.get_weights()[1].tolist() != n.tolist()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], "weights must be an odd number of arrays"),
        ([np.array(0), np.zeros(2)], "weights must be an odd number"),
        ([np.array(-1)], "iterations, an integer of at least 0"),
        ([np.array(1.5)], "iterations"),
        ([np.array(0), np.array([-1.0]), np.zeros(1)], "accumulator must be at least 0"),
        ([np.array(0), np.array([NAN]), np.zeros(1)], "accumulator must be finite"),
        ([np.array(0), np.zeros(1), np.array([1])], "linear must be float32 or float64"),
    ],
)
def test_weights_that_cannot_be(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ftrl().set_weights(weights)


def test_weights_that_do_not_fit_change_nothing() -> None:
    optimizer, w = Ftrl(), np.zeros(2)
    optimizer.apply_gradients([(np.ones(2), w)])
    before = [x.tobytes() for x in optimizer.get_weights()]
    with pytest.raises(ValueError, match="weights must be 3 arrays; received 1"):
        optimizer.set_weights([np.array(0)])
    with pytest.raises(ValueError, match="accumulator must have the variable's shape"):
        optimizer.set_weights([np.array(0), np.zeros(3), np.zeros(3)])
    assert [x.tobytes() for x in optimizer.get_weights()] == before
    fresh = Ftrl()
    fresh.set_weights([np.array(4), np.zeros(3), np.zeros(3)])
    with pytest.raises(ValueError, match="accumulator must have the variable's shape"):
        fresh.apply_gradients([(np.ones(2), w)])
    small = np.zeros(3, dtype=np.float32)
    fresh.set_weights([np.array(4), np.full(3, 1e200), np.zeros(3)])
    with pytest.raises(ValueError, match="accumulator must be at most"):
        fresh.apply_gradients([(np.ones(3), small)])
    assert fresh.iterations == 4
    assert not small.any()


def test_a_copy_continues_on_its_own_copies() -> None:
    optimizer, w = Ftrl(0.5), np.ones(2)
    optimizer.apply_gradients([(np.ones(2), w)])
    twin, v = copy.deepcopy((optimizer, w))
    for one, variable in ((optimizer, w), (twin, v)):
        one.apply_gradients([(np.ones(2), variable)])
    assert w.tobytes() == v.tobytes()
    assert len(twin.get_weights()) == 3


def test_state_may_be_set_back() -> None:
    optimizer, w = Ftrl(0.5), np.ones(2)
    optimizer.apply_gradients([(np.ones(2), w)])
    saved, saved_w = optimizer.get_weights(), w.copy()
    ends = []
    for _ in range(2):
        optimizer.set_weights(saved)
        w[:] = saved_w
        for g in (0.3, -2.0):
            optimizer.apply_gradients([(np.full(2, g), w)])
        ends.append([w.tobytes(), *(x.tobytes() for x in optimizer.get_weights())])
    assert ends[0] == ends[1]
    assert optimizer.iterations == 3
