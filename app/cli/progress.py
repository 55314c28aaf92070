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


class DoublingLines:
    """When a line is due (at powers of two, or no more than `step_max` apart), and how it looks."""

    def __init__(
        self,
        write: Callable[[str], None],
        with_truth: bool = False,
        step_max: int | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.next_at = 1
        self._write = write
        self._with_truth = with_truth
        self._step_max = step_max
        self._now = now
        self._started = now()
        self._written_at = 0
        self._last = (0.0, 0.0, 0.0)  # weight, loss and truth's loss at the last line

    @property
    def seconds(self) -> float:
        """Since the first line's clock began."""
        return self._now() - self._started

    def reach(self, count: int, weight: float, loss: float, truth_loss: float = 0.0) -> None:
        """Write the line that is due at `count` scored examples, if one is; sums are of all."""
        if count == self.next_at:
            self._write_line(count, weight, loss, truth_loss)
            step = self.next_at
            self.next_at += step if self._step_max is None else min(step, self._step_max)

    def finish(self, count: int, weight: float, loss: float, truth_loss: float = 0.0) -> None:
        """The line of the very end, unless it has just been written."""
        if count != self._written_at:
            self._write_line(count, weight, loss, truth_loss)

    def _write_line(self, count: int, weight: float, loss: float, truth_loss: float) -> None:
        if self._written_at == 0:
            self._write(_HEAD + (_TRUTH_HEAD if self._with_truth else ""))
        self._written_at = count
        last_weight, last_loss, last_truth_loss = self._last
        since = weight - last_weight
        line = f"{count:>12,}"
        line += _cell(loss - last_loss, since)
        line += _cell(loss, weight)
        line += f" {count / max(self.seconds, 1e-9):>11,.0f}"
        if self._with_truth:
            line += _cell(truth_loss - last_truth_loss, since)
            line += _cell(truth_loss, weight)
        self._write(line)
        self._last = (weight, loss, truth_loss)


class DoublingTable:
    """Owns the run's figures, from predictions and labels, and writes the table of them."""

    def __init__(
        self,
        write: Callable[[str], None],
        with_truth: bool = False,
        step_max: int | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.figures = ProgressiveFigures()
        self.truth_loss_sum = 0.0
        self._lines = DoublingLines(write, with_truth, step_max, now)

    @property
    def seconds(self) -> float:
        """Since the table was made."""
        return self._lines.seconds

    def add(self, predictions: F64, labels: F64, weights: F64, truth: F64 | None = None) -> None:
        """Take in a batch, float64[rows] each; NaN marks a prediction that was not made."""
        known = ~np.isnan(predictions)
        p, y, w = predictions[known], labels[known], weights[known]
        truth_losses = np.zeros(p.size) if truth is None else w * log_losses(truth[known], y)
        start = 0
        while start < p.size:
            end = min(p.size, start + self._lines.next_at - self.figures.scored_count)
            self.figures.add(p[start:end], y[start:end], w[start:end])
            self.truth_loss_sum += float(np.sum(truth_losses[start:end]))
            start = end
            self._lines.reach(*self._sums())

    def finish(self) -> None:
        """The line of the very end, unless it has just been written."""
        self._lines.finish(*self._sums())

    def _sums(self) -> tuple[int, float, float, float]:
        figures = self.figures
        return figures.scored_count, figures.weight_sum, figures.loss_sum, self.truth_loss_sum


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
