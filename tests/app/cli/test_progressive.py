"""Progressive figures and the doubling table, against sums written out and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from app.cli.progress import DoublingTable
from app.cli.progressive import F64, ProgressiveFigures


def scored(seed: int, rows: int) -> tuple[F64, F64, F64]:
    generator = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-generator.normal(-1.5, 1.0, rows)))
    y = (generator.random(rows) < p).astype(np.float64)
    return p, y, generator.choice([0.5, 1.0, 3.0], rows)


def test_figures_are_those_of_the_textbook(seed: int) -> None:
    p, y, w = scored(seed, 20_000)
    figures = ProgressiveFigures()
    for start in range(0, p.size, 777):
        part = slice(start, start + 777)
        figures.add(p[part], y[part], w[part])
    q = np.average(y, weights=w)
    entropy = -(q * np.log(q) + (1 - q) * np.log(1 - q))
    expected = log_loss(y, p, sample_weight=w)
    assert figures.log_loss == pytest.approx(expected, rel=1e-12)
    assert figures.normalized_entropy == pytest.approx(expected / entropy, rel=1e-12)
    assert figures.calibration == pytest.approx(np.sum(w * p) / np.sum(w * y), rel=1e-12)
    assert figures.auc == pytest.approx(roc_auc_score(y, p, sample_weight=w), abs=1e-3)


def test_what_cannot_be_divided_is_none() -> None:
    figures = ProgressiveFigures()
    assert set(figures.as_dict().values()) == {None}
    figures.add(np.array([0.25, np.nan]), np.zeros(2), np.ones(2))
    assert figures.scored_count == 1
    assert (figures.auc, figures.normalized_entropy, figures.calibration) == (None, None, None)


def test_table_lines_stand_at_powers_of_two_whatever_the_batches(seed: int) -> None:
    p, y, w = scored(seed, 37)

    def lines_for(size: int) -> list[str]:
        lines: list[str] = []
        table = DoublingTable(lines.append, with_truth=True, now=lambda: 0.0)
        for start in range(0, p.size, size):
            part = slice(start, start + size)
            table.add(p[part], y[part], w[part], p[part])
        table.finish()
        return lines

    expected = lines_for(1)
    assert [line.split()[0] for line in expected[1:]] == ["1", "2", "4", "8", "16", "32", "37"]
    assert lines_for(10) == lines_for(37) == expected
    cells = expected[-1].split()
    assert float(cells[2]) == pytest.approx(log_loss(y, p, sample_weight=w), abs=1e-6)
    assert float(cells[1]) == pytest.approx(
        log_loss(y[32:], p[32:], sample_weight=w[32:], labels=[0, 1]), abs=1e-6
    )
    assert cells[1:3] == cells[4:6]  # the truth was given as the prediction


def test_table_ends_without_a_second_line_at_a_power_of_two() -> None:
    lines: list[str] = []
    table = DoublingTable(lines.append)
    table.add(np.full(4, 0.5), np.ones(4), np.ones(4))
    table.finish()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "4"]
