"""Hostile bodies to `decode_body`: refused by an error of our own, or right.

JSON, NDJSON, Vowpal Wabbit text and MessagePack (made into JSON text) are read a second time the
slow way, by the standard library and the rule book of one example (tests/oracle); a part of them,
since that takes as long as all else.
What is accepted of any format must be a batch that the fold may be given. Half of it is read under
small limits, so that limits are met often.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

import numpy as np

from app.ingest import UnsupportedMediaType, decode_body, warm_up
from app.ingest.content import MSGPACK, VW_TEXT
from app.ingest.msgpack_text import json_of_msgpack
from app.problems import problem_from
from ftrl_core.batch import NO_LABEL, ExampleBatch
from ftrl_core.errors import BadBody, BadExample, ClickfoldError, TooLarge
from ftrl_core.features import Reader
from ftrl_core.limits import Limits
from scripts.attack_run.bodies import JSON, NDJSON, Bodies, Body
from scripts.attack_run.hostile import MARK
from tests.oracle.slow_ingest import says_nothing_of, slow_json, slow_ndjson
from tests.oracle.vw_lines import slow_vw

SMALL = Limits(
    body_bytes=4000, decompressed_bytes=6000, examples=6, features=9, request_features=54,
    name_bytes=14, value_bytes=20,
)  # fmt: skip
SEED = 0
SLOW_SHARE = 0.25
FAULTS_SHOWN = 10
SLOW_BYTES_MAX = 20_000
LATE_SECONDS = 1.0
Refusal = (BadBody, BadExample, TooLarge, UnsupportedMediaType)


class Ingest:
    """The run: counts, faults, and the longest that one body took."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._bodies = Bodies(self._draw)
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.compared = 0
        self.longest_seconds = 0.0

    def run(self, count: int) -> None:
        """So many bodies."""
        for _ in range(count):
            body = self._bodies.next()
            limits = SMALL if self._draw.random() < 0.5 else Limits()
            try:
                self._one(body, limits, self._draw.random() < 0.5)
            except Exception as error:  # noqa: BLE001  that is the finding
                self._fault(body, f"{type(error).__name__}: {error!s:.200}")

    def _fault(self, body: Body, text: str) -> None:
        self.faults.append(f"{text} of {body.kind} {body.encoding} {body.content[:300]!r}")

    def _one(self, body: Body, limits: Limits, require_labels: bool) -> None:
        began = time.perf_counter()
        try:
            decoded = decode_body(
                body.content, content_type=body.kind, content_encoding=body.encoding,
                hash_seed=SEED, require_labels=require_labels, limits=limits,
            )  # fmt: skip
            batch: ExampleBatch | None = decoded.batch
            fault = broken_rule(decoded.batch, limits, require_labels)
            self.outcomes[f"{body.kind} accepted"] += 1
        except Refusal as error:
            batch, fault = None, self._bad_words(error)
            self.outcomes[f"{body.kind} {problem_from(error).status}"] += 1
        self.longest_seconds = max(self.longest_seconds, time.perf_counter() - began)
        if fault is None and body.plain is not None and self._draw.random() < SLOW_SHARE:
            fault = self._compared(batch, body.plain, body.kind, limits, require_labels)
        if fault is not None:
            self._fault(body, fault)

    def _bad_words(self, error: ClickfoldError) -> str | None:
        """An echo of the input in what would be answered."""
        document = problem_from(error).document()
        document.pop("pointer", None)  # it names keys: that is its use
        told = str(document)
        return "an echo" if MARK in told or len(told) > 600 else None

    def _compared(
        self, batch: ExampleBatch | None, plain: bytes, kind: str, limits: Limits, labels: bool
    ) -> str | None:
        slow = slow_batch(plain, kind, limits, labels)
        if slow == "silent":
            return None
        self.compared += 1
        told = None if batch is None else arrays_of(batch)
        if told != slow:
            return f"another verdict than the slow reading, labels {labels}, limits {limits}"
        return None


def arrays_of(batch: ExampleBatch) -> list[bytes]:
    """The batch as comparable bytes."""
    return [
        array.tobytes()
        for array in (
            batch.row_offsets, batch.name_hashes, batch.feature_hashes, batch.values,
            batch.labels, batch.weights, batch.event_ids,
        )
    ]  # fmt: skip


def slow_batch(plain: bytes, kind: str, limits: Limits, labels: bool) -> Any:
    """What the slow reading gives: arrays, None for a refusal, "silent" where it has no rule."""
    if kind not in (JSON, NDJSON, VW_TEXT, MSGPACK) or len(plain) > SLOW_BYTES_MAX:
        return "silent"
    if kind == MSGPACK:
        try:
            return slow_batch(json_of_msgpack(plain), JSON, limits, labels)
        except BadBody:
            return None
    lines = plain.split(b"\n") if kind == NDJSON else [plain]
    if kind != VW_TEXT and any(says_nothing_of(line) for line in lines):
        return "silent"
    if kind != JSON and plain.count(b"\n") > limits.examples:
        return None
    try:
        plain.decode()
        if kind == VW_TEXT:
            batch = slow_vw(plain, Reader(SEED, labels, limits), False)
        else:
            batch = (slow_json if kind == JSON else slow_ndjson)(plain, limits, SEED, labels)
    except (UnicodeDecodeError, AssertionError, *Refusal):
        return None
    whole = 0 < batch.rows <= limits.examples and len(plain) <= limits.decompressed_bytes
    return arrays_of(batch) if whole else None


def broken_rule(batch: ExampleBatch, limits: Limits, labels: bool) -> str | None:
    """What is wrong with a batch that was accepted."""
    lengths = np.diff(batch.row_offsets)
    keys = batch.name_hashes.astype(np.uint64) << np.uint64(32) | batch.feature_hashes
    inner = np.ones(keys.size, bool)
    inner[batch.row_offsets[:-1][lengths > 0]] = False  # the first of each row
    most = limits.abs_value * limits.features
    rules = {
        "no rows, or too many": 0 < batch.rows <= limits.examples,
        "features": lengths.max(initial=0) <= limits.features and batch.nnz == lengths.sum(),
        "order": bool((keys[1:] > keys[:-1])[inner[1:]].all()),
        "values": bool((np.abs(batch.values) <= most).all()),
        "weights": bool(((batch.weights >= 0) & (batch.weights <= limits.weight)).all()),
        "labels": bool((batch.labels <= 1).all() if labels else (batch.labels == NO_LABEL).all()),
        "sizes": batch.labels.size == batch.weights.size == batch.event_ids.size == batch.rows,
    }
    return next((f"a broken rule: {name}" for name, holds in rules.items() if not holds), None)


def attack(count: int, seed: int) -> dict[str, Any]:
    """The whole run; its report."""
    warm_up()
    began = time.monotonic()
    run = Ingest(seed)
    run.run(count)
    late = run.longest_seconds > LATE_SECONDS
    return {
        "run": "attack ingest",
        "seed": seed,
        "bodies": count,
        "accepted": sum(n for name, n in run.outcomes.items() if name.endswith("accepted")),
        "outcomes": dict(sorted(run.outcomes.items())),
        "compared_with_the_slow_reading": run.compared,
        "longest_ms": round(1000 * run.longest_seconds, 1),
        "faults": len(run.faults),
        "first_faults": run.faults[:FAULTS_SHOWN],
        "seconds": round(time.monotonic() - began, 1),
        "passed": not run.faults and not late,
    }
