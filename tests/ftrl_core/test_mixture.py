"""The mixture: its regret is bounded as proven, it follows drift, and one lane is no mixture."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ftrl_core.mixture import logit_of, mixed, start_posterior, update_posterior
from ftrl_core.model import Model
from tests.oracle.streams import folded, payloads, random_batch

RATES = [0.03, 0.1, 0.3, 1.0]


def loss(model: Model) -> float:
    return float(model.stats()["log_loss"] * model.examples)


@pytest.mark.parametrize("share", [0.0, 1e-4])
def test_the_regret_against_the_best_lane_in_hindsight(share: float, seed: int) -> None:
    """At most ln K in total without sharing; the sharing costs T ln(1 / (1 - share)) more."""
    stream = list(payloads(seed, 30, scale=2.0))
    config = {"table_bits": 8, "mixture_share": share}
    mixture = folded({**config, "optimizer": {"learning_rate": RATES}}, stream)
    singles = [folded({"table_bits": 8, "optimizer": {"learning_rate": r}}, stream) for r in RATES]
    best = min(loss(single) for single in singles)
    allowed = math.log(len(RATES)) - mixture.examples * math.log1p(-share)
    assert loss(mixture) <= best + allowed + 1e-6
    for lane, single in enumerate(singles):  # each lane is that learner, to the bit
        cells = mixture.table.cells.reshape(-1, 2, len(RATES))[:, :, lane]
        assert (cells == single.table.cells.reshape(-1, 2)).all()


def test_the_posterior_is_the_likelihoods() -> None:
    posterior = start_posterior(3)
    total = np.zeros(3)
    rng = np.random.default_rng(3)
    for _ in range(50):
        ps, label = rng.uniform(0.01, 0.99, 3), int(rng.integers(0, 2))
        weight = float(rng.choice([0.0, 0.5, 1.0, 2.5]))
        update_posterior(posterior, ps, label, weight, 0.0)
        total += weight * np.log(ps if label else 1.0 - ps)
    expected = np.exp(total - total.max())
    np.testing.assert_allclose(posterior, expected / expected.sum(), rtol=1e-12)


def test_fixed_share_brings_a_lane_back() -> None:
    """After 10,000 examples for one lane, twenty for the other are enough."""
    for share, returns in ((1e-4, True), (0.0, False)):
        posterior = start_posterior(2)
        good = np.array([0.9, 0.1])
        for _ in range(10_000):
            update_posterior(posterior, good, 1, 1.0, share)
        assert mixed(posterior, good) > 0.89
        for _ in range(20):
            update_posterior(posterior, good, 0, 1.0, share)
        assert (mixed(posterior, good) < 0.2) is returns


@pytest.mark.parametrize("weight", [0.0, 1e-30, 1.0, 1e6])
def test_no_weight_takes_every_lane_to_zero(weight: float) -> None:
    posterior = start_posterior(4)
    ps = np.array([1e-7, 3e-7, 0.2, 1.0 - 1e-7])
    for label in (0, 1, 0, 0, 1, 1):
        update_posterior(posterior, ps, label, weight, 0.0)
        assert np.isfinite(posterior).all()
        assert posterior.sum() == pytest.approx(1.0, rel=1e-12)


def test_logits_of_probabilities() -> None:
    for p in (1e-7, 0.02, 0.5, 0.98, 1 - 1e-7):
        assert logit_of(p) == pytest.approx(math.log(p / (1 - p)), rel=1e-12, abs=1e-15)


def test_lanes_of_one_rate_agree_for_ever(seed: int) -> None:
    single = folded({"table_bits": 8, "optimizer": {"learning_rate": 0.2}}, payloads(seed, 5))
    same = folded({"table_bits": 8, "optimizer": {"learning_rate": [0.2] * 4}}, payloads(seed, 5))
    probe = random_batch(np.random.default_rng(seed), 50)
    np.testing.assert_allclose(same.predict(probe), single.predict(probe), rtol=1e-12)
    np.testing.assert_allclose(same.coefficients.posterior, 0.25, rtol=1e-9)
