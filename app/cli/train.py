"""`clickfold train`: the service's own fold over files, without a server.

    chunk of lines ──► batch (threads, with the service's decoders) ──► Model.learn, here

The fold does not depend on how examples are grouped, so the digest is the one a service has that
was fed the same file. All figures, the table's too, are sums that the fold keeps anyway.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.bulk import Decoder, offline_limits
from app.cli.examples import BadLines
from app.cli.failures import CommandFailed, bad_usage
from app.cli.output_file import write_file
from app.cli.progress import DoublingLines
from app.names import is_name
from ftrl_core.batch import ExampleBatch
from ftrl_core.checkpoint import cut
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadConfig, ClickfoldError
from ftrl_core.metrics import LOSS, WEIGHT
from ftrl_core.model import Model
from ftrl_core.snapshot_file import write_snapshot
from ftrl_core.warmup import warm_up_for


@dataclass
class TrainRun:
    """One `clickfold train`: the model and what it was fed."""

    model: Model
    bad_lines: BadLines
    lines: DoublingLines
    batch_max: int  # examples folded at once

    @property
    def decoder(self) -> Decoder:
        """What makes batches for this model."""
        return Decoder(self.model.config.hash_seed, offline_limits())

    def learn(self, batch: ExampleBatch) -> None:
        """Fold a batch, in steps that end where a line of the table is due."""
        first = 0
        while first < batch.rows:
            step = min(self.batch_max, self.lines.next_at - self.model.metrics.scored)
            self.model.learn(batch.slice(first, min(first + step, batch.rows)))
            first += step
            self.lines.reach(*self._sums())

    def finish(self) -> None:
        """Write the table's last line."""
        self.lines.finish(*self._sums())

    def _sums(self) -> tuple[int, float, float]:
        metrics = self.model.metrics
        return metrics.scored, float(metrics.sums[WEIGHT]), float(metrics.sums[LOSS])

    def figures(self) -> dict[str, Any]:
        """The model's own progressive figures, and the run's speed."""
        seconds = self.lines.seconds
        stats = self.model.stats()
        done = self.model.examples + self.model.duplicates
        return {
            "examples": self.model.examples,
            "duplicates": self.model.duplicates,
            "skipped_lines": self.bad_lines.skipped_count,
            **{
                name: stats[name]
                for name in ("log_loss", "auc", "normalized_entropy", "calibration")
            },
            "position": str(self.model.position),
            "digest": self.model.digest(),
            "seconds": seconds,
            "examples_per_second": done / seconds if seconds > 0 else 0.0,
        }


def new_model(config: dict[str, Any]) -> Model:
    """An empty model; raises typer.BadParameter for a configuration that is refused."""
    try:
        return Model(ModelConfig.from_dict(config))
    except BadConfig as error:
        raise bad_usage(str(error), "--config") from error


def warm_up(model: Model) -> None:
    """Compile or load the kernels now, so that examples_per_second is the speed of learning.

    Raises CommandFailed when this machine's arithmetic is not the known one.
    """
    try:
        warm_up_for(model.config)
    except ClickfoldError as error:
        raise CommandFailed(str(error)) from error


def save_snapshot(model: Model, path: Path) -> None:
    """Write the model to `path` as a snapshot file; raises CommandFailed."""
    name = path.stem.lower()
    pieces = write_snapshot(
        cut(model, -1),
        name=name if is_name(name) else "trained",
        incarnation=secrets.token_hex(8),
        created_ms=time.time_ns() // 1_000_000,
        examples=model.examples,
    )
    write_file(path, pieces)
