"""What a person sees while a log is learned: a table line at powers of two, and a bar.

The table is Vowpal Wabbit's: at 1, 2, 4, 8, ... examples the average progressive log loss since the
last line and since the start. Doubling shows the start of learning closely and never floods a long
run. It is exact: a batch that spans a power of two is divided there. A run whose true probabilities
are known (`clickfold demo`) has two more columns, the log loss of the truth itself: no model can
do better in the long run. Its lines stop doubling at some point, so that a change half-way shows.

Everything goes to stderr, so that stdout holds results only; the bar is drawn on a terminal only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.cli.progressive import F64, ProgressiveFigures, log_losses

_HEAD = f"{'examples':>12} {'since last':>11} {'average':>11} {'examples/s':>11}"
_TRUTH_HEAD = f" {'truth last':>11} {'truth avg':>11}"


class DoublingTable:
    """Lines at powers of two, or no more than `step_max` apart; owns the run's figures."""

    def __init__(
        self,
        write: Callable[[str], None],
        with_truth: bool = False,
        step_max: int | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.figures = ProgressiveFigures()
        self.truth_loss_sum = 0.0
        self._write = write
        self._with_truth = with_truth
        self._step_max = step_max
        self._now = now
        self._started = now()
        self._next_line_at = 1
        self._written_at = 0
        self._last = (0.0, 0.0, 0.0)  # weight, loss and truth's loss at the last line

    @property
    def seconds(self) -> float:
        """Since the table was made."""
        return self._now() - self._started

    def add(self, predictions: F64, labels: F64, weights: F64, truth: F64 | None = None) -> None:
        """Take in a batch, float64[rows] each; NaN marks a prediction that was not made."""
        known = ~np.isnan(predictions)
        p, y, w = predictions[known], labels[known], weights[known]
        truth_losses = np.zeros(p.size) if truth is None else w * log_losses(truth[known], y)
        start = 0
        while start < p.size:
            end = min(p.size, start + self._next_line_at - self.figures.scored_count)
            self.figures.add(p[start:end], y[start:end], w[start:end])
            self.truth_loss_sum += float(np.sum(truth_losses[start:end]))
            start = end
            if self.figures.scored_count == self._next_line_at:
                self._write_line()
                step = self._next_line_at
                self._next_line_at += step if self._step_max is None else min(step, self._step_max)

    def finish(self) -> None:
        """The line of the very end, unless it has just been written."""
        if self.figures.scored_count != self._written_at:
            self._write_line()

    def _write_line(self) -> None:
        figures = self.figures
        self._written_at = figures.scored_count
        if figures.scored_count == 1:
            self._write(_HEAD + (_TRUTH_HEAD if self._with_truth else ""))
        weight, loss, truth_loss = self._last
        since = figures.weight_sum - weight
        rate = figures.scored_count / max(self.seconds, 1e-9)
        line = f"{figures.scored_count:>12,}"
        line += _cell(figures.loss_sum - loss, since)
        line += _cell(figures.loss_sum, figures.weight_sum)
        line += f" {rate:>11,.0f}"
        if self._with_truth:
            line += _cell(self.truth_loss_sum - truth_loss, since)
            line += _cell(self.truth_loss_sum, figures.weight_sum)
        self._write(line)
        self._last = (figures.weight_sum, figures.loss_sum, self.truth_loss_sum)


def _cell(loss_sum: float, weight_sum: float) -> str:
    return f" {loss_sum / weight_sum:>11.6f}" if weight_sum > 0 else f" {'-':>11}"


class ProgressBar:
    """A bar on stderr while it is a terminal, else nothing; lines are printed above it."""

    def __init__(self, total: int | None, what: str) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def move_to(self, done: int) -> None:
        """Show `done` of the total."""
        self._bar.update(self._task, completed=done)

    def write(self, line: str) -> None:
        """Print a line above the bar, as it is."""
        self._console.print(line, markup=False, soft_wrap=True)
