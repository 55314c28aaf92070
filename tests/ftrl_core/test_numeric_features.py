"""What a number contributes under each value of the option `numbers`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.model import Model
from ftrl_core.numeric_features import BIN_BITS, bin_hash, compressed, expanded

NUMBERS = [0.0, -0.0, 1.0, 0.5, -3.25, 1e-30, 9.99e6, -1e7, 1 / 3]


def batch_of(examples: list[dict[str, Any]]) -> ExampleBatch:
    return ExampleBatch.from_examples([{"label": 1, "features": f} for f in examples])


def test_raw_is_the_batch_itself() -> None:
    batch = batch_of([{"a": "x", "n": 2.5}])
    offsets, hashes, values, views = expanded("raw", batch)
    assert offsets is batch.row_offsets
    assert hashes is batch.feature_hashes
    assert values is batch.values
    assert views.tolist() == [0, 0]


@pytest.mark.parametrize("mode", ["log_bins", "auto"])
def test_categories_stay_and_numbers_are_replaced(mode: str) -> None:
    examples = [{"a": "x", "n": x, "m": -x, "b": ["y", "z"]} for x in NUMBERS] + [{}, {"a": "x"}]
    batch = batch_of(examples)
    offsets, hashes, values, views = expanded(mode, batch)
    for row in range(batch.rows):
        kept: list[tuple[int, float, int]] = []
        for i in range(batch.row_offsets[row], batch.row_offsets[row + 1]):
            name, hashed = batch.name_hashes[i], int(batch.feature_hashes[i])
            x = batch.values[i]
            if name != hashed:
                kept.append((hashed, 1.0, 0))
                continue
            if mode == "auto":
                linear = math.copysign(math.log1p(abs(float(x))), x)
                kept.append((hashed, float(np.float32(linear)), 2))
            kept.append((int(bin_hash(name, x)), 1.0, 1))
        found = slice(offsets[row], offsets[row + 1])
        assert hashes[found].tolist() == [h for h, _, _ in kept]
        assert views[found].tolist() == [view for _, _, view in kept]
        np.testing.assert_allclose(values[found], [x for _, x, _ in kept], rtol=1e-6, atol=1e-15)


def test_without_numbers_nothing_is_copied() -> None:
    batch = batch_of([{"a": "x"}, {"b": ["y", "z"]}])
    assert expanded("auto", batch)[1] is batch.feature_hashes


def test_bins_are_a_part_of_a_factor_of_two() -> None:
    name = np.uint32(12345)
    steps = 2**BIN_BITS
    for exponent in (-20, 0, 3, 20):
        for step in range(steps):
            low = np.float32(2.0**exponent * (1 + step / steps))
            high = np.nextafter(np.float32(2.0**exponent * (1 + (step + 1) / steps)), np.float32(0))
            assert bin_hash(name, low) == bin_hash(name, high)
            assert bin_hash(name, low) != bin_hash(name, np.nextafter(high, np.float32(1e30)))
            assert bin_hash(name, low) != bin_hash(name, -low)
    assert bin_hash(name, np.float32(0.0)) == bin_hash(name, np.float32(-0.0))
    assert bin_hash(name, np.float32(1.0)) != bin_hash(np.uint32(12346), np.float32(1.0))


def test_the_logarithm_keeps_sign_and_order() -> None:
    xs = np.sort(np.array(NUMBERS, np.float32))
    out = np.array([compressed(x) for x in xs])
    assert (np.diff(out) >= 0).all()
    expected = np.sign(xs) * np.log1p(np.abs(xs.astype(float)))
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("scale", ["none", "unit"])
def test_raw_numbers_of_any_scale_are_learned_by_the_default(scale: str, seed: int) -> None:
    """Columns of scale 1e-3 and 1e6: the default learns what a raw learner does not."""
    rng = np.random.default_rng(seed)
    small, large = rng.lognormal(-7, 1, 20_000), rng.lognormal(13, 1, 20_000)
    p = 1 / (1 + np.exp(-(np.log(small) + 7) - (np.log(large) - 13)))
    labels = (rng.random(p.size) < p).astype(int)
    examples = [
        {"label": int(y), "features": {"small": float(s), "large": float(x)}}
        for s, x, y in zip(small, np.minimum(large, 9e6), labels, strict=True)
    ]
    batch = ExampleBatch.from_examples(examples)
    losses = {}
    for numbers in ("raw", "log_bins", "auto"):
        model = Model({"table_bits": 16, "numbers": numbers, "scale": scale})
        model.learn(batch)
        losses[numbers] = model.stats()["log_loss"]
    base = float(-(labels * np.log(p) + (1 - labels) * np.log1p(-p)).mean())
    assert losses["auto"] < base * 1.08
    assert losses["log_bins"] < base * 1.1
    assert losses["raw"] > base * 1.2
