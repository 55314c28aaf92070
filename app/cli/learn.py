"""`clickfold learn` and `clickfold predict`: files through a running service.

Learning sends in file order with one request in flight, because the order is part of the result:
the model is a fold, and two requests under way at once may be appended either way round. Each
request has an idempotency key (a random run id and the batch's number), so that a request whose
answer was lost is sent again without being learned twice.

A line that only the service can find wrong (a name too long, say) comes back as the row of a
refused request, of which nothing was learned. With --skip-bad-lines that row is taken out and the
rest goes again under a new key, since it is another body. A body over the service's limit is sent
in halves.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

import numpy as np

from app.cli.examples import BadLines, NumberedExample
from app.cli.failures import CommandFailed, say
from app.cli.progress import DoublingTable
from app.cli.progressive import F64
from app.cli.service import Learned, Service, ServiceProblem

_TOO_LARGE = 413
_SERVER_ERRORS = 500


def batches(examples: Iterable[NumberedExample], size: int) -> Iterator[list[NumberedExample]]:
    """Lists of `size` examples, shorter at the end and where the kind of body changes."""
    for _, alike in groupby(examples, key=lambda example: example.kind):
        while batch := list(islice(alike, size)):
            yield batch


def body_of(batch: Iterable[NumberedExample]) -> bytes:
    """The examples as lines."""
    return b"\n".join(example.body for example in batch) + b"\n"


@dataclass
class LearnRun:
    """One `clickfold learn`: what was sent and what came back."""

    service: Service
    bad_lines: BadLines
    table: DoublingTable
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    accepted: int = 0
    duplicates: int = 0
    position: str | None = None
    _sent_count: int = 0

    def learn(self, batch: list[NumberedExample]) -> None:
        """Learn one batch; raises CommandFailed, naming the lines, when it cannot be."""
        while batch:
            self._sent_count += 1
            try:
                key = f"{self.run_id}-{self._sent_count}"
                answer = self.service.learn(body_of(batch), key, batch[0].kind)
            except ServiceProblem as problem:
                if problem.row is not None and 0 <= problem.row < len(batch):
                    self.bad_lines.reject(batch.pop(problem.row).place, problem.detail)
                    continue
                if problem.status == _TOO_LARGE and len(batch) > 1:
                    half = len(batch) // 2
                    self.learn(batch[:half])
                    self.learn(batch[half:])
                    return
                raise self._stopped(batch, problem) from problem
            except CommandFailed as failure:
                raise self._stopped(batch, failure) from failure
            self._count(batch, answer)
            return

    def _count(self, batch: list[NumberedExample], answer: Learned) -> None:
        if len(answer.predictions) != len(batch):
            raise CommandFailed("the service answered for another number of examples than sent")
        self.accepted += answer.accepted
        self.duplicates += answer.duplicates
        self.position = answer.position
        predictions = [float("nan") if p is None else p for p in answer.predictions]
        self.table.add(np.array(predictions), *labels_and_weights(batch))

    def _stopped(self, batch: list[NumberedExample], failure: CommandFailed) -> CommandFailed:
        """The same failure, with what a person needs in order to go on from here."""
        # Only a refusal for certain: an earlier try of the same request may have had no answer.
        refused = isinstance(failure, ServiceProblem) and failure.status < _SERVER_ERRORS
        fate = "was not learned" if refused else "may or may not have been learned"
        return CommandFailed(
            f"{failure}\n{self.accepted + self.duplicates} examples were learned before; the batch"
            f" from {batch[0].place} to line {batch[-1].line} {fate}."
        )

    def figures(self) -> dict[str, Any]:
        """The run's own figures; the digest is the service's."""
        seconds = self.table.seconds
        done = self.accepted + self.duplicates
        return {
            "examples": self.accepted,
            "duplicates": self.duplicates,
            "skipped_lines": self.bad_lines.skipped_count,
            **self.table.figures.as_dict(),
            "position": self.position,
            "digest": self._digest(),
            "seconds": seconds,
            "examples_per_second": done / seconds if seconds > 0 else 0.0,
        }

    def _digest(self) -> str | None:
        """The model's digest after the run, None when the key may not read it."""
        try:
            return str(self.service.stats()["digest"])
        except (CommandFailed, KeyError) as error:
            say(f"learned, but /stats could not be read for the digest: {error}")
            return None


def labels_and_weights(batch: list[NumberedExample]) -> tuple[F64, F64]:
    """Labels and weights of labelled examples, float64[rows] each."""
    count = len(batch)
    labels = np.fromiter((e.label or 0 for e in batch), np.float64, count)
    weights = np.fromiter((e.weight for e in batch), np.float64, count)
    return labels, weights


def predict_batch(
    service: Service, batch: list[NumberedExample], bad_lines: BadLines
) -> list[float]:
    """Probabilities in order; lines the service refuses are rejected and left out."""
    while batch:
        try:
            predictions = service.predict(body_of(batch), batch[0].kind)
        except ServiceProblem as problem:
            if problem.row is not None and 0 <= problem.row < len(batch):
                bad_lines.reject(batch.pop(problem.row).place, problem.detail)
                continue
            if problem.status == _TOO_LARGE and len(batch) > 1:
                half = len(batch) // 2
                head = predict_batch(service, batch[:half], bad_lines)
                return head + predict_batch(service, batch[half:], bad_lines)
            raise
        if len(predictions) != len(batch):
            raise CommandFailed("the service answered for another number of examples than sent")
        return predictions
    return []
