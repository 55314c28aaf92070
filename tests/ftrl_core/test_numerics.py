"""Short slices of the runs behind docs/numerics.md; `scripts/numerics.py` has them whole."""

from __future__ import annotations

import pytest

from scripts.numerics_run import adversarial, exp, fma, zipf


@pytest.mark.parametrize("model", zipf.SETTINGS)
def test_log_loss_is_that_of_a_float64_fold(model: str, seed: int) -> None:
    figures = zipf.measure(40_000, seed, zipf.SETTINGS[model], zipf.BASES[0])
    assert 0.02 < figures.click_rate < 0.5
    assert abs(figures.off(figures.service)) <= zipf.BOUND
    assert figures.hottest["service"] == pytest.approx(figures.hottest["float64"], rel=1e-4)


def test_extreme_examples_break_nothing(seed: int) -> None:
    tally = adversarial.measure(80_000, seed, chunk=500)
    assert tally.broken == []
    assert tally.examples == 80_000
    assert tally.refused == []
    assert tally.clamped > 0, "nothing was driven to the clamp: the stream is too tame"
    assert tally.greatest_state > 1e18, "no state grew large: the stream is too tame"


@pytest.mark.parametrize("function", [exp.EXP, exp.SIGMOID], ids=["exp", "sigmoid"])
def test_within_one_ulp_of_the_correctly_rounded_float32(function: int) -> None:
    figures = exp.measure(function, stride=5_003)
    assert figures.tried > 400_000
    assert figures.worst <= 1


def test_the_same_bits_without_the_processors_features(seed: int) -> None:
    host, generic = fma.measure(seed)
    assert generic["target"] == "generic, without fma"
    assert host["hashes"] == generic["hashes"]
