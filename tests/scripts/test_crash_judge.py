"""The judge of the crash harness: right about what is right, and not to be deceived."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ftrl_core.entry import RequestPart, encode_control, encode_examples, request_table
from ftrl_core.hashing import event_id_hash
from ftrl_core.model import Model
from ftrl_core.position import Position
from scripts.crash_run.history import Entry
from scripts.crash_run.journal import Acknowledged, Batch, Journal, Predicted
from scripts.crash_run.judge import Verdict, judge
from tests.oracle.payload import read
from tests.recovery.harness import batch_of

CONFIG = {"table_bits": 8, "optimizer": {"learning_rate": 0.1}}
ROWS = 3


class Log:
    """A log of `default` made by a model, with the journal of a client that saw it all."""

    def __init__(self, **config: Any) -> None:
        self.model = Model({**CONFIG, **config})
        self.entries: list[Entry] = []
        self.journal = Journal()
        self._append(encode_control("create", {"config": self.model.config.to_dict()}))

    def _append(self, payload: bytes) -> Any:
        seq = len(self.entries) + 1
        previous = self.entries[-1].nonce if self.entries else b"made"
        entry = Entry(1, seq, b"%d" % seq, previous, read(payload), payload)
        self.entries.append(entry)
        return self.model.apply(Position(1, seq), payload) if seq > 1 else self._begin(seq)

    def _begin(self, seq: int) -> None:
        self.model.pass_over(Position(1, seq))

    def learn(self, number: int) -> None:
        """Append a batch, acknowledge it, and predict the next with its first example."""
        ids = tuple(f"{number}.{row}" for row in range(ROWS))
        batch = batch_of(np.random.default_rng(number), ROWS)
        batch.event_ids[:] = [event_id_hash(name, 0) for name in ids]
        applied = self._append(encode_examples(batch, request_table([RequestPart(ROWS)])))
        position = self.entries[-1].position
        learned = int(np.count_nonzero(applied.verdicts == 0))
        predictions = [None if np.isnan(p) else float(p) for p in applied.predictions]
        sent = Batch("default", ids, None, b"")
        self.journal.sent.update(ids)
        self.journal.attempts[None, ids] += 1
        self.journal.acknowledged.append(
            Acknowledged(sent, position, learned, ROWS - learned, predictions, 0)
        )
        served = float(self.model.predict(batch)[0])
        self.journal.predicted.append(Predicted(ids[0], position, served, 0))

    def judged(self) -> Verdict:
        """The verdict on it, as it is served."""
        served = {"position": f"1-{len(self.entries)}", "digest": self.model.digest(), "who": "a"}
        return judge({"default": [self.entries]}, self.journal, {"default": [served]})[0]


@pytest.fixture
def log() -> Log:
    made = Log()
    for number in (1, 2, 1, 3):  # the third is a retry
        made.learn(number)
    return made


def test_a_right_log_is_found_right(log: Log) -> None:
    verdict = log.judged()
    assert verdict.violations == []
    assert (verdict.acknowledged, verdict.examples, verdict.predictions) == (9, 9, 4)


def test_what_is_learned_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.crash_run.judge.WHOLE_WINDOW", 2)
    log = Log(deduplication_window=2)
    for number in (1, 2, 1):
        log.learn(number)
    verdict = log.judged()
    assert verdict.doubled == ROWS
    assert set(verdict.violations) == {"default: an event is learned twice"}


def _lose(log: Log) -> None:
    log.journal.acknowledged.append(
        Acknowledged(Batch("default", ("x.0",), None, b""), "1-3", 1, 0, None, 0)
    )


def _forget_who_sent(log: Log) -> None:
    log.journal.sent.remove("3.1")


def _miscount(log: Log) -> None:
    told = log.journal.acknowledged[2]
    log.journal.acknowledged[2] = Acknowledged(told.batch, told.position, 3, 0, None, 0)


def _predict_wrongly(log: Log) -> None:
    told = log.journal.predicted[1]
    later = np.nextafter(told.prediction, 1.0)
    log.journal.predicted[1] = Predicted(told.event, told.position, float(later), 0)


def _predict_from_nowhere(log: Log) -> None:
    log.journal.predicted.append(Predicted("1.0", "1-99", 0.5, 0))


def _append_the_refused(log: Log) -> None:
    log.journal.not_learned.append(log.journal.acknowledged[1].batch)


def _repeat_by_itself(log: Log) -> None:
    log.journal.attempts[None, ("1.0", "1.1", "1.2")] -= 1


def _leave_a_gap(log: Log) -> None:
    del log.entries[2]


def _break_the_chain(log: Log) -> None:
    e = log.entries[3]
    log.entries[3] = Entry(e.epoch, e.seq, e.nonce, b"other", e.content, e.payload)


def _serve_other_weights(log: Log) -> None:
    log.model.bias[0] += 1e-12


def _lose_a_model(log: Log) -> None:
    log.journal.made.add("m0")


def _lose_a_change(log: Log) -> None:
    log.journal.configured.append({"optimizer": {"beta": 0.25}})


@pytest.mark.parametrize(
    ("deceive", "told"),
    [
        (_lose, "is lost"),
        (_forget_who_sent, "nobody sent"),
        (_miscount, "another number of examples"),
        (_predict_wrongly, "a wrong prediction"),
        (_predict_from_nowhere, "the log never had 1-99"),
        (_append_the_refused, "refused every time"),
        (_repeat_by_itself, "sent 1 times is in the log 2 times"),
        (_leave_a_gap, "a gap"),
        (_break_the_chain, "a broken chain"),
        (_serve_other_weights, "the fold is at"),
        (_lose_a_model, "m0 is gone"),
        (_lose_a_change, "0 times"),
    ],
)
def test_what_is_wrong_is_found(log: Log, deceive: Callable[[Log], None], told: str) -> None:
    deceive(log)
    assert any(told in text for text in log.judged().violations), log.judged().violations
