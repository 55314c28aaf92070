"""`clickfold train`: the service's own fold over files, without a server.

The lines become the same newline-delimited body that `learn` would send, the service's decoder
makes batches of it, and `ftrl_core.Model` folds them. The fold does not depend on how examples are
grouped, so the digest is the one a service has that was fed the same file.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.examples import BadLines, NumberedExample
from app.cli.failures import CommandFailed, bad_usage
from app.cli.learn import labels_and_weights, ndjson_body
from app.cli.output_file import write_file
from app.cli.progress import DoublingTable
from app.ingest import decode_ndjson
from app.ingest import warm_up as warm_up_decoder
from app.names import is_name
from ftrl_core.checkpoint import cut
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadBody, BadConfig, BadExample, ClickfoldError, TooLarge
from ftrl_core.limits import Limits
from ftrl_core.model import Model
from ftrl_core.snapshot_file import write_snapshot
from ftrl_core.warmup import warm_up as warm_up_fold


@dataclass
class TrainRun:
    """One `clickfold train`: the model and what it was fed."""

    model: Model
    bad_lines: BadLines
    table: DoublingTable
    limits: Limits

    def learn(self, batch: list[NumberedExample]) -> None:
        """Fold one batch; raises CommandFailed, naming the line, when one of them is bad."""
        while batch:
            try:
                hash_seed = self.model.config.hash_seed
                decoded = decode_ndjson(ndjson_body(batch), self.limits, hash_seed)
            except (BadExample, TooLarge) as error:
                if error.row is None:
                    raise CommandFailed(f"{batch[0].place} and on: {error.detail}") from error
                self.bad_lines.reject(batch.pop(error.row).place, error.detail)
                continue
            except BadBody as error:
                raise CommandFailed(f"{batch[0].place} and on: {error}") from error
            self.table.add(self.model.learn(decoded), *labels_and_weights(batch))
            return

    def figures(self) -> dict[str, Any]:
        """The model's own progressive figures, and the run's speed."""
        seconds = self.table.seconds
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


def warm_up() -> None:
    """Compile or load the kernels now, so that examples_per_second is the speed of learning.

    Raises CommandFailed when this machine's arithmetic is not the known one.
    """
    warm_up_decoder()
    try:
        warm_up_fold()
    except ClickfoldError as error:
        raise CommandFailed(str(error)) from error


def offline_limits() -> Limits:
    """The service's limits on one example; a body has none, since there is no request."""
    unbounded = 1 << 40
    return Limits(body_bytes=unbounded, decompressed_bytes=unbounded, request_features=unbounded)


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
