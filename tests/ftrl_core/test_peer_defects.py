"""Defects found by reading peers, each as a test that an implementation with it fails.

Each test is a check written for any implementation, run twice: on `ftrl_core.Ftrl`, which must
pass, and on a few lines that have the defect, which must not. An implementation is a function from
gradients of one coordinate, arguments and a first weight to the states after each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from ftrl_core import Ftrl, IndexedSlices, schedules


@dataclass(frozen=True)
class Given:
    """Arguments under short names; `rates` are the learning rates of the steps, the last stays."""

    rates: tuple[float, ...] = (0.5,)
    n0: float = 0.1
    l1: float = 0.0
    l2: float = 0.0
    shrinkage: float = 0.0
    beta: float = 0.0

    def rate(self, step: int) -> float:
        return self.rates[min(step, len(self.rates) - 1)]


@dataclass(frozen=True)
class State:
    """One coordinate; `step` is how many steps it has taken."""

    w: float
    z: float
    n: float
    step: int = 0


Step = Callable[[State, float, Given], State]
Implementation = Callable[[Sequence[float], Given, float], list[State]]


def optimizer_of(a: Given) -> Ftrl:
    steps = list(range(len(a.rates) - 1))
    rate = schedules.PiecewiseConstantDecay(steps, a.rates) if steps else a.rates[0]
    return Ftrl(rate, -0.5, a.n0, a.l1, a.l2, "Ftrl", a.shrinkage, a.beta)


def ours(gradients: Sequence[float], a: Given, w0: float) -> list[State]:
    """`ftrl_core.Ftrl` as an implementation."""
    optimizer, w = optimizer_of(a), np.array([w0])
    states = []
    for g in gradients:
        optimizer.apply_gradients([(np.array([g]), w)])
        count, n, z = optimizer.get_weights()
        states.append(State(float(w[0]), float(z[0]), float(n[0]), int(count)))
    return states


def with_defect(step: Step) -> Implementation:
    """An implementation from a step with a defect."""

    def run(gradients: Sequence[float], a: Given, w0: float) -> list[State]:
        states = [State(w0, 0.0, a.n0)]
        for g in gradients:
            states.append(replace(step(states[-1], g, a), step=states[-1].step + 1))
        return states[1:]

    return run


def weight(z: float, n: float, a: Given, step: int = 0) -> float:
    """f(z, n) by Keras' formula."""
    divisor = (math.sqrt(n) + a.beta) / a.rate(step) + 2.0 * a.l2
    return 0.0 if abs(z) <= a.l1 else (math.copysign(a.l1, z) - z) / divisor


def correct(s: State, g: float, a: Given) -> State:
    """The step without a defect: what the broken ones below are variations of."""
    n = s.n + g * g
    sigma = (math.sqrt(n) - math.sqrt(s.n)) / a.rate(s.step)
    z = s.z + g + 2.0 * a.shrinkage * s.w - sigma * s.w
    return State(weight(z, n, a, s.step), z, n)


def holds(check: Callable[[Implementation], None], *defects: Step) -> None:
    """The check passes on ours and on the correct step, and fails on each defective one."""
    check(ours)
    check(with_defect(correct))
    for defect in defects:
        with pytest.raises(AssertionError):
            check(with_defect(defect))


GRADIENTS = (0.4, -0.9, 0.3, 0.7, -0.2)


def test_weight_is_of_the_latest_gradient_too() -> None:
    """River's FTRLProximal refreshes w from z before it adds the new gradient, and predicts with
    that w: what is served lags one update behind in every coordinate. alphaFM computes w at the
    next visit and exports the stored one, which predates the last gradient."""

    def check(implementation: Implementation) -> None:
        a = Given(l1=0.05, l2=0.1, beta=1.0)
        for s in implementation(GRADIENTS, a, 0.0):
            assert s.w == pytest.approx(weight(s.z, s.n, a), rel=1e-12)

    def late(s: State, g: float, a: Given) -> State:
        before = replace(s, w=weight(s.z, s.n, a))
        return replace(correct(before, g, a), w=before.w)

    holds(check, late)


def test_weight_returns_to_zero() -> None:
    """River's FTRLProximal skips a coordinate with |z| <= l1 instead of writing 0: a weight that
    was once not zero never is again, and the model only fills up."""

    def check(implementation: Implementation) -> None:
        grown, back = implementation((1.0, -0.7), Given(l1=0.5), 0.0)
        assert grown.w != 0.0
        assert abs(back.z) <= 0.5
        assert back.w == 0.0

    def skips(s: State, g: float, a: Given) -> State:
        after = correct(s, g, a)
        return replace(after, w=s.w) if abs(after.z) <= a.l1 else after

    holds(check, skips)


def test_l1_shrinks_both_signs() -> None:
    """Monolith's ftrl_optimizer.cc takes std::signbit(z) for the sign: 1 if negative, else 0. So a
    positive z is not shrunk by l1, and a negative one is inflated to |z| + l1."""

    def check(implementation: Implementation) -> None:
        a = Given(l1=0.5)
        for sign in (1.0, -1.0):
            s = implementation((sign * 2.0,), a, 0.0)[0]
            assert s.w == pytest.approx(-sign * (2.0 - 0.5) * 0.5 / math.sqrt(s.n), rel=1e-12)

    def signbit(s: State, g: float, a: Given) -> State:
        after = correct(s, g, a)
        sign = 1.0 if after.z < 0.0 else 0.0
        w = (sign * a.l1 - after.z) * a.rate(0) / math.sqrt(after.n)
        return replace(after, w=0.0 if abs(after.z) <= a.l1 else w)

    holds(check, signbit)


def test_importance_weight_multiplies_the_gradient() -> None:
    """Flink ML never multiplies the gradient by an example's weight; for sparse rows the weight is
    only in the divisor of the coordinate mean, so weight 5 makes the step five times smaller."""

    def flink(g: float, importance: float) -> float:
        return g / importance

    def told(g: float, importance: float) -> float:
        w = np.zeros(1)
        optimizer = Ftrl.paper(0.1, 1.0, batch_mode="batch_coordinate_mean")
        gradient = IndexedSlices(np.array([importance * g]), np.array([0]))
        optimizer.apply_gradients([(gradient, w)])
        return float(optimizer.get_weights()[2][0])  # z after one step is the gradient itself

    def check(mean: Callable[[float, float], float]) -> None:
        assert mean(0.1, 5.0) == pytest.approx(0.5, rel=1e-12)

    check(told)
    with pytest.raises(AssertionError):
        check(flink)


def resumed(gradients: Sequence[float], a: Given, keeps: str) -> State:
    """Ours, saved after half of the gradients and restored; `keeps` says what is read back."""
    half = len(gradients) // 2
    first, w = optimizer_of(a), np.zeros(1)
    for g in gradients[:half]:
        first.apply_gradients([(np.array([g]), w)])
    second, v = Ftrl.from_config(first.get_config()), w.copy()
    count, n, z = first.get_weights()
    if keeps == "all":
        second.set_weights([count, n, z])
    elif keeps == "n and z":
        second.set_weights([np.array(0), n, z])
    for g in gradients[half:]:
        second.apply_gradients([(np.array([g]), v)])
    _, n, z = second.get_weights()
    return State(float(v[0]), float(z[0]), float(n[0]), len(gradients))


@pytest.mark.parametrize("keeps", ["all", "w", "n and z"])
def test_saved_state_is_read_back(keeps: str) -> None:
    """Flink ML writes n and z as list state and never reads them after a restore, its version
    counter likewise ("w", "n and z": a schedule starts again). Vowpal Wabbit before PR 1912 did not
    save FTRL's state at all: a resumed model reset its weights. Resumed must equal uninterrupted,
    bit for bit."""
    a = Given(rates=(1.0, 0.5, 0.25, 0.1), l1=0.01, beta=1.0)
    whole = ours(GRADIENTS, a, 0.0)[-1]
    assert (resumed(GRADIENTS, a, keeps) == whole) == (keeps == "all")


def test_prior_weights_survive_the_first_gradient() -> None:
    """Alink's rebase on a batch-trained model sets n = z = 0 and keeps w, and its import of a first
    model does the same: the first touch of a coordinate nearly forgets the prior. The state that
    has the prior as its weight, z = -(w (beta + sqrt n) / lr + 2 l2 w + sign(w) l1), does not."""
    a, prior, n = Given(rates=(0.1,), n0=0.0, l1=0.05, l2=0.1, beta=1.0), 0.8, 4.0
    synthesis = -(prior * ((a.beta + math.sqrt(n)) / 0.1 + 2.0 * a.l2) + a.l1)

    def first_touch(z: float, n: float) -> float:
        optimizer, w = optimizer_of(a), np.array([prior])
        optimizer.set_weights([np.array(0), np.array([n]), np.array([z])])
        optimizer.apply_gradients([(IndexedSlices(np.array([0.01]), np.array([0])), w)])
        return float(w[0])

    assert weight(synthesis, n, a) == pytest.approx(prior, rel=1e-12)
    assert first_touch(synthesis, n) == pytest.approx(prior, abs=0.001)
    assert abs(first_touch(0.0, 0.0)) < 0.2 * prior  # what the rebase makes of it


def test_l2_is_no_part_of_the_gradient() -> None:
    """xLearn adds lambda2 w to g, and so to n, and lambda2 to the divisor as well: L2 counts
    twice. difacto has l2 in the gradient, hence in n. Here n is n0 and the squares of g alone, and
    l2 acts once, in the divisor."""

    def check(implementation: Implementation) -> None:
        a = Given(l2=0.7)
        last = implementation(GRADIENTS, a, 0.5)[-1]
        assert last.n == pytest.approx(0.1 + sum(g * g for g in GRADIENTS), rel=1e-12)
        assert last.w == pytest.approx(-last.z / (math.sqrt(last.n) / 0.5 + 1.4), rel=1e-12)

    def xlearn(s: State, g: float, a: Given) -> State:
        return correct(s, g + a.l2 * s.w, a)

    def difacto(s: State, g: float, a: Given) -> State:
        return correct(s, g + a.l2 * s.w, replace(a, l2=0.0))

    holds(check, xlearn, difacto)


def test_accumulator_is_the_sum_of_squares() -> None:
    """wormhole stores sqrt(n) where everyone else stores n: a state that is imported or exported
    then gives other rates."""

    def check(implementation: Implementation) -> None:
        assert implementation((3.0, 4.0), Given(n0=0.0), 0.0)[-1].n == pytest.approx(25.0)

    def wormhole(s: State, g: float, a: Given) -> State:
        after = correct(replace(s, n=s.n * s.n), g, a)
        return replace(after, n=math.sqrt(after.n))

    holds(check, wormhole)


def test_linear_slot_is_not_multiplied_by_the_rate() -> None:
    """TensorFlow swapped two kernels in some versions: ApplyFtrlV2 (shrinkage) ran the one with
    multiply_linear_by_lr. At a constant rate only the stored slot differs (lr z); under a schedule
    the weights do too, because old gradients keep the rate of their own step."""

    def check(implementation: Implementation, rates: tuple[float, ...] = (0.5,)) -> None:
        a = Given(rates=rates, shrinkage=0.1, l1=0.01)
        expected = with_defect(correct)(GRADIENTS, a, 1.0)
        for got, true in zip(implementation(GRADIENTS, a, 1.0), expected, strict=True):
            assert (got.w, got.z) == pytest.approx((true.w, true.z), rel=1e-12)

    def swapped(s: State, g: float, a: Given) -> State:
        rate, n = a.rate(s.step), s.n + g * g
        z = s.z + (g + 2.0 * a.shrinkage * s.w) * rate - (math.sqrt(n) - math.sqrt(s.n)) * s.w
        shrunk = math.copysign(a.l1 * rate, z) - z
        w = 0.0 if abs(z) <= a.l1 * rate else shrunk / (math.sqrt(n) + 2.0 * a.l2 * rate)
        return State(w, z, n)

    holds(check, swapped)
    holds(lambda implementation: check(implementation, (1.0, 0.5, 0.1)), swapped)
    falling = Given(rates=(1.0, 0.1), shrinkage=0.1)
    wrong = with_defect(swapped)(GRADIENTS, falling, 1.0)[-1].w
    assert abs(wrong - ours(GRADIENTS, falling, 1.0)[-1].w) > 0.01


def test_shrinkage_is_no_part_of_the_accumulator() -> None:
    """TensorFlow's op documentation has accum += (g + 2 shrinkage w)^2, and its kernels up to 1.7
    did that, with the weight already overwritten (issue 18317)."""

    def check(implementation: Implementation) -> None:
        last = implementation(GRADIENTS, Given(shrinkage=0.3), 2.0)[-1]
        assert last.n == pytest.approx(0.1 + sum(g * g for g in GRADIENTS), rel=1e-12)

    def documented(s: State, g: float, a: Given) -> State:
        with_shrinkage = g + 2.0 * a.shrinkage * s.w
        return correct(s, with_shrinkage, replace(a, shrinkage=0.0))

    def old_kernel(s: State, g: float, a: Given) -> State:
        after = correct(s, g, a)
        return replace(after, n=s.n + (g + 2.0 * a.shrinkage * after.w) ** 2)

    holds(check, documented, old_kernel)


def test_no_gradient_yet_is_zero_and_not_nan() -> None:
    """TensorFlow's sparse kernel and Keras 3 divide 0 by 0 where n0 = 0, nothing is regularised and
    the first gradient is 0: the weight is NaN from then on."""

    def check(implementation: Implementation) -> None:
        states = implementation((0.0, 0.0, 0.5), Given(n0=0.0), 0.0)
        assert [s.w for s in states] == pytest.approx([0.0, 0.0, -0.5])

    def divides(s: State, g: float, a: Given) -> State:
        n = s.n + g * g
        z = s.z + g - (math.sqrt(n) - math.sqrt(s.n)) / a.rate(s.step) * s.w
        return State(-z * a.rate(s.step) / math.sqrt(n) if n > 0.0 else math.nan, z, n)  # 0 / 0

    holds(check, divides)


def test_sigma_is_not_divided_by_the_weight() -> None:
    """Paddle's ftrl_op.cc documents sigma as (sqrt n' - sqrt n) / (lr * param): with it the old
    weight cancels from z, so it is no proximal step any more."""

    def check(implementation: Implementation) -> None:
        s = implementation((1.0,), Given(), 0.3)[0]
        assert s.z == pytest.approx(1.0 - (math.sqrt(1.1) - math.sqrt(0.1)) / 0.5 * 0.3, rel=1e-12)

    def paddle(s: State, g: float, a: Given) -> State:
        n = s.n + g * g
        z = s.z + g - (math.sqrt(n) - math.sqrt(s.n)) / a.rate(s.step)
        return State(weight(z, n, a, s.step), z, n)

    holds(check, paddle)


def test_l2_reaches_the_kernel_and_counts_twice() -> None:
    """Paddle did not pass l2 on correctly until PR 25223. The paper's lambda2 is 2 * l2."""

    def check(implementation: Implementation) -> None:
        s = implementation((1.0,), Given(l2=0.4), 0.0)[0]
        assert s.w == pytest.approx(-1.0 / (math.sqrt(1.1) / 0.5 + 0.8), rel=1e-12)

    def dropped(s: State, g: float, a: Given) -> State:
        return correct(s, g, replace(a, l2=0.0))

    def once(s: State, g: float, a: Given) -> State:
        return correct(s, g, replace(a, l2=a.l2 / 2.0))

    holds(check, dropped, once)
