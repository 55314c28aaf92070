"""The synthetic log: reproducible, Zipf-distributed, calibrated to its truth, drifting half-way."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from app.cli.demo_log import BLOCK_ROWS, FIELDS, LogBlock, generate, generate_blocks

ROWS = 200_000


@pytest.fixture(scope="module")
def blocks() -> list[LogBlock]:
    return list(generate_blocks(7, ROWS))


def whole(blocks: list[LogBlock], name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.concatenate([getattr(block, name) for block in blocks]).astype(np.float64)


def test_same_seed_same_log_and_other_seed_another() -> None:
    first = list(generate(3, 500))
    assert first == list(generate(3, 500))
    assert first != list(generate(4, 500))
    assert first == list(islice(generate(3, 500), 500))


def test_examples_have_the_shape_of_learn_and_the_rows_of_the_blocks() -> None:
    rows = BLOCK_ROWS + 10
    examples = list(generate(5, rows))
    assert len(examples) == rows
    labels = np.concatenate([block.label for block in generate_blocks(5, rows)])
    assert [example["label"] for example, _ in examples] == labels.tolist()
    for example, probability in examples[:100]:
        assert set(example) == {"label", "features"}
        assert all(isinstance(value, str) for value in example["features"].values())
        assert 0 < probability < 1


def test_ids_are_zipf_distributed(blocks: list[LogBlock]) -> None:
    for number, field in enumerate(FIELDS):
        ids = np.concatenate([block.ids[number] for block in blocks])
        counts = np.bincount(ids, minlength=field.ids)
        assert counts.size == field.ids
        mass = np.arange(1, field.ids + 1) ** -field.zipf
        expected = ROWS * mass / mass.sum()
        head = expected > 400
        # five standard deviations of a count
        assert np.all(np.abs(counts - expected)[head] < 5 * np.sqrt(expected[head]))


def test_labels_are_calibrated_to_the_true_probabilities(blocks: list[LogBlock]) -> None:
    p, y = whole(blocks, "probability"), whole(blocks, "label")
    order = np.argsort(p)
    for part in np.array_split(order, 20):
        deviation = np.sqrt(np.sum(p[part] * (1 - p[part])))
        assert abs(np.sum(y[part] - p[part])) < 5 * deviation


def test_click_rate_is_that_of_a_click_log(blocks: list[LogBlock]) -> None:
    assert 0.05 < whole(blocks, "label").mean() < 0.35


def test_hours_matter_and_their_curve_moves_half_way(blocks: list[LogBlock]) -> None:
    p, hour = whole(blocks, "probability"), whole(blocks, "hour")
    half = ROWS // 2
    logit = np.log(p / (1 - p))
    curves = [
        np.array([logit[part][hour[part] == h].mean() for h in range(24)])
        for part in (slice(0, half), slice(half, ROWS))
    ]
    peaks = [float(np.angle(np.sum(c * np.exp(-2j * np.pi * np.arange(24) / 24)))) for c in curves]
    moved_hours = (peaks[0] - peaks[1]) * 24 / (2 * np.pi) % 24
    assert moved_hours == pytest.approx(3.0, abs=0.5)


def test_half_of_the_ads_change_half_way(blocks: list[LogBlock]) -> None:
    """Averaged over much traffic, an ad's mean logit moves for some ads and stays for others."""
    p, ads = whole(blocks, "probability"), np.concatenate([block.ids[1] for block in blocks])
    logit = np.log(p / (1 - p))
    half = ROWS // 2
    moves = np.array(
        [
            abs(logit[:half][ads[:half] == ad].mean() - logit[half:][ads[half:] == ad].mean())
            for ad in range(40)
        ]
    )
    assert 8 <= np.sum(moves > 0.15) <= 32
