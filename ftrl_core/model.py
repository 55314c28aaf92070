"""The model: a weight table and all else that the fold keeps, changed by `apply` alone.

A model at a position is a function of its configuration and its log up to there, and of nothing
else: no clock, no random source, no setting, and no dependence on how examples were grouped into
entries. The live path, replay, recovery, offline training, tests and benchmarks call this code.

What `apply` cannot do without I/O is the caller's: a `restore` entry names pages that have to be
read (`restored` then moves the loaded model to the entry's position), and a `delete` entry ends
the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftrl_core.batch import F32, U8, ExampleBatch, frozen
from ftrl_core.coefficients import Coefficients, Rows
from ftrl_core.config import ModelConfig
from ftrl_core.constants import F64
from ftrl_core.coordinate import weight_of
from ftrl_core.deduplication import DUPLICATE, Deduplication
from ftrl_core.entry import ControlEntry, Entry, ExamplesEntry, Requests, decode, whole_request
from ftrl_core.errors import BadEntry, BadExample, PositionNotNext
from ftrl_core.explanation import Explanation, explained
from ftrl_core.hashing import feature_hash, name_hash
from ftrl_core.json_score import FeatureTexts
from ftrl_core.metrics import Metrics
from ftrl_core.names import FieldNames
from ftrl_core.observed import observed_bytes
from ftrl_core.position import START, Position
from ftrl_core.reconfigure import reconfigured
from ftrl_core.slices import Slices
from ftrl_core.table import WeightTable


@dataclass(slots=True)
class Applied:
    """What folding one entry of examples said about each row and each request.

    predictions float64[rows], made before learning the row; NaN where it was not learned
    verdicts    uint8[rows]: LEARN, DUPLICATE or CONFLICT (see deduplication)
    requests    the entry's request table
    """

    predictions: F64
    verdicts: U8
    requests: Requests


class Model:
    """FTRL-Proximal over hashed features, at one position of its log."""

    def __init__(self, config: ModelConfig | Mapping[str, Any] | None = None) -> None:
        if not isinstance(config, ModelConfig):
            config = ModelConfig.from_dict(config or {})
        self.position: Position = START
        self.examples = 0  # learned into these weights; also seeds the dither
        self.duplicates = 0
        self.coefficients = Coefficients.untouched(config)
        self.metrics = Metrics()
        self.slices = Slices(config.slices, config.hash_seed)
        self.deduplication = Deduplication(config.deduplication_window)
        self.names = FieldNames(config.hash_seed)
        self.names_seq = 0
        self._prepared: tuple[ControlEntry, Coefficients | None] | None = None

    @property
    def config(self) -> ModelConfig:
        """The configuration in force."""
        return self.coefficients.config

    @property
    def table(self) -> WeightTable:
        """The slot records."""
        return self.coefficients.table

    @property
    def bias(self) -> F64:
        """float64[2 lanes]: z of every lane's bias, then n of every lane's."""
        return self.coefficients.bias

    def apply(self, position: Position, entry: Entry | bytes, time_ms: int = 0) -> Applied | None:
        """Fold the entry at the next position; the only way in which a model changes.

        entry is a decoded entry or a payload; time_ms the entry's append time, the fold's only
        clock. Returns what was learned, None for a control entry. Raises PositionNotNext, BadEntry
        (also for restore and delete, which are the caller's); then nothing has changed.
        """
        if position.seq != self.position.seq + 1 or position.epoch < self.position.epoch:
            raise PositionNotNext(f"{position} does not follow {self.position}")
        if isinstance(entry, bytes):
            entry = decode(entry)
        if isinstance(entry, ControlEntry):
            self._control(entry, position.seq)
            applied = None
        else:
            applied = self._fold(entry, time_ms, position.seq)
        self.position = position
        return applied

    def _fold(self, entry: ExamplesEntry, time_ms: int, seq: int) -> Applied:
        batch = entry.batch
        labels, weights = frozen(batch.labels), frozen(batch.weights)
        event_ids = frozen(batch.event_ids)
        verdicts = self.deduplication.judge(entry.requests, event_ids, time_ms, seq)
        predictions, logits = np.empty(batch.rows), np.empty(batch.rows)
        importances = self._importances(labels, weights)
        by_weight = self.config.sampling_correction == "weight"
        rows = Rows(batch, labels, importances if by_weight else weights, verdicts)
        self.metrics.curves.begin(self.examples, self.metrics.scored)
        self.examples = self.coefficients.learn(rows, self.examples, seq, logits, predictions)
        losses = self.metrics.update(
            logits, predictions, labels, importances, verdicts, seq=seq, time_ms=time_ms
        )
        self.slices.update(batch, importances, verdicts, predictions, losses)
        self.duplicates += int(np.count_nonzero(verdicts == DUPLICATE))
        return Applied(predictions, verdicts, entry.requests)

    def _importances(self, labels: U8, weights: F32) -> F32:
        """How many real examples each row stands for: one without a click for 1 / sampling_rate."""
        rate = self.config.sampling_rate
        if rate == 1.0:
            return weights
        return np.where(labels == 0, weights / rate, weights).astype(np.float32)

    def _control(self, entry: ControlEntry, seq: int) -> None:
        if entry.op in ("restore", "delete"):
            raise BadEntry(f"a {entry.op} entry is not folded by the model itself")
        if entry.op == "names":
            self.names.add(entry.fields["names"])
            self.names_seq = seq
        if entry.op == "configure":
            if self._prepared is None or self._prepared[0] is not entry:
                self.prepare(entry, seq)
            assert self._prepared is not None
            after, self._prepared = self._prepared[1], None
            if after is not None:
                self.coefficients = after
                if after.config.slices != self.slices.names:
                    self.slices = self.slices.renamed(after.config.slices)

    def prepare(self, entry: ControlEntry, seq: int) -> None:
        """Do ahead what `apply` of this configure entry at seq does over the whole table.

        May run in a thread while predictions are made, but not while the model is folded.
        """
        after = reconfigured(self.coefficients, entry.fields["config"], self.examples, seq)
        self._prepared = (entry, after)

    def pass_over(self, position: Position) -> None:
        """Move past the next entry, which a `skip` entry says is not to be folded."""
        if position.seq != self.position.seq + 1:
            raise PositionNotNext(f"{position} does not follow {self.position}")
        self.position = position

    def restored(self, position: Position) -> None:
        """Move a model just loaded from a restored checkpoint to the restore entry's position.

        Progressive metrics begin anew; every page counts as changed at this position.
        """
        self.metrics = Metrics()
        self.slices = Slices(self.config.slices, self.config.hash_seed)
        self.table.touch_all(position.seq)
        self.deduplication.segment_seqs[:] = position.seq
        self.names_seq = position.seq
        self.position = position

    def predict(self, batch: ExampleBatch) -> F64:
        """float64[rows]: the probability of a click for each row; changes nothing."""
        return self.coefficients.predict(batch, self.examples)

    def predict_texts(self, texts: Sequence[bytes], room: FeatureTexts) -> F64 | None:
        """float64[texts]: the same of features objects as JSON text; None: decode and `predict`."""
        return self.coefficients.predict_texts(texts, room)

    def uncertainty(self, batch: ExampleBatch) -> F64:
        """float64[rows]: the most that learning a row next, with weight at most 1, could move its
        logit (McMahan et al. 2013, section 6); changes nothing."""
        return self.coefficients.uncertainty(batch, self.examples)

    def explain(self, batch: ExampleBatch) -> list[Explanation]:
        """Of each row, what every feature contributes to the logit; changes nothing."""
        return explained(self.coefficients, batch, self.examples, self.predict(batch))

    def learn(self, batch: ExampleBatch, time_ms: int = 0) -> F64:
        """Fold a batch as the next entry; float64[rows] of predictions made before learning.

        A row whose event id is in the window is not learned again and has NaN. Raises BadExample
        when a row has no label.
        """
        if (batch.labels > 1).any():
            raise BadExample("learning wants a label of 0 or 1 for every example")
        position = Position(max(self.position.epoch, 1), self.position.seq + 1)
        applied = self.apply(position, ExamplesEntry(batch, whole_request(batch)), time_ms)
        assert applied is not None
        return applied.predictions

    def digest(self) -> str:
        """32 hex digits over the arithmetic's configuration, the bias, all non-zero slots, and a
        mixture's posterior.

        Equal for equal weights, whatever the position, the epoch and the grouping into entries.
        """
        checksums = self.table.checksums()
        pages = np.flatnonzero(checksums)
        h = hashlib.blake2b(self.config.arithmetic(), digest_size=16)
        h.update(self.bias.tobytes())
        if self.config.lanes > 1:
            h.update(self.coefficients.posterior.tobytes())
        h.update(pages.astype(np.uint64).tobytes())
        h.update(checksums[pages].tobytes())
        return h.hexdigest()

    def state_digest(self) -> str:
        """32 hex digits over everything the fold keeps, position included."""
        h = hashlib.blake2b(self.agreed_digest().encode(), digest_size=16)
        for name, part in observed_bytes(self).items():
            h.update(f"{name} {len(part)}".encode())
            h.update(part)
        return h.hexdigest()

    def agreed_digest(self) -> str:
        """The same without what was observed: what replicas compare, of whatever version."""
        from ftrl_core.checkpoint import agreed_segments  # it imports this module

        h = hashlib.blake2b(self.digest().encode(), digest_size=16)
        h.update(f"{self.position} {self.config.deduplication_window}".encode())
        for segment in agreed_segments(self):
            h.update(len(segment).to_bytes(8, "little"))
            h.update(segment)
        return h.hexdigest()

    def stats(self) -> dict[str, Any]:
        """Progressive figures and counts; None where there is nothing to divide."""
        return {
            "position": str(self.position),
            "examples": self.examples,
            "duplicates": self.duplicates,
            **self.metrics.summary(),
        }

    def record(self, name: str, value: str | None = None) -> dict[str, Any]:
        """slot, z, n and weight of a feature: categorical with a value, a number without.

        z, n and weight are lists, an item for each lane, where the model is a mixture.
        """
        hashed = name_hash(name, self.config.hash_seed)
        if value is not None:
            hashed = feature_hash(value, hashed)
        slot = hashed & ((1 << self.config.table_bits) - 1)
        lanes = self.config.lanes
        z, n = self.table.cells[2 * lanes * slot :][: 2 * lanes].reshape(2, lanes).tolist()
        w = [self.weight(*zn, lane) for lane, zn in enumerate(zip(z, n, strict=True))]
        if lanes == 1:
            return {"slot": slot, "z": z[0], "n": n[0], "weight": w[0]}
        return {"slot": slot, "z": z, "n": n, "weight": w}

    def weight(self, z: float, n: float, lane: int = 0) -> float:
        """The weight of a coordinate with this state under the model's configuration."""
        return weight_of(self.config, z, n, lane)
