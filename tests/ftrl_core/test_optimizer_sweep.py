"""A short slice of scripts/optimizer_sweep, another one in every run; the seed is printed."""

from __future__ import annotations

from ftrl_core.gradients import BATCH_MODES
from scripts.optimizer_sweep import WITHIN, lines, sweep


def test_random_configurations_agree_with_the_oracle(seed: int) -> None:
    worst = sweep(seed, 200)
    print("\n".join(lines(worst, seed, 200)))
    assert worst.error <= WITHIN
    assert all(worst.kinds[f"mode {mode}"] for mode in BATCH_MODES)
    for kind in ("dense", "sparse", "with duplicates", "schedule"):
        assert worst.kinds[kind] > 50, kind
    for clip in ("clipvalue", "clipnorm", "global_clipnorm"):
        assert worst.kinds[clip] > 0, clip
