"""What a model has learned: the state that the kernels change, and which kernel changes it.

    table      slot records (table.py)
    bias       float64[2 lanes]: z of every lane, then n of every lane
    posterior  float64[lanes]: the probability that each lane is the best one (mixture.py)
    admission  the Bloom filters of feature admission, empty without (admission.py)

One or four lanes with every further option neutral are folded by the fast kernel, all else by the
general one; both give the same bits where both can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ftrl_core import fast, general, uncertainty
from ftrl_core.admission import Admission
from ftrl_core.batch import F32, U8, ExampleBatch
from ftrl_core.config import ModelConfig
from ftrl_core.constants import F64, fold_constants
from ftrl_core.json_score import FeatureTexts, score_rows
from ftrl_core.mixture import start_posterior
from ftrl_core.numeric_features import AUTO, RAW, expanded
from ftrl_core.schedules import parameters
from ftrl_core.table import WeightTable

FAST_LANES = (1, 4)


def is_fast(config: ModelConfig) -> bool:
    """Whether the fast kernel folds this configuration."""
    o = config.optimizer
    plain = (
        o.schedule is None
        and o.learning_rate_power == -0.5
        and o.l2_shrinkage_regularization_strength == 0.0
        and o.clipvalue is o.clipnorm is o.global_clipnorm is None
    )
    options = config.admission is None and config.rates_from == "gradients"
    return plain and options and config.logit_offset == 0.0 and config.lanes in FAST_LANES


@dataclass(slots=True)
class Rows:
    """A batch to fold: what the learn kernels read besides the features.

    skip is uint8[rows], non-zero where a row is not learned; weights float32[rows] are those that
    multiply gradients.
    """

    batch: ExampleBatch
    labels: U8
    weights: F32
    skip: U8


class Coefficients:
    """The learned state of a model under a configuration."""

    def __init__(
        self, config: ModelConfig, table: WeightTable, bias: F64, posterior: F64,
        admission: Admission,
    ) -> None:  # fmt: skip
        self.config = config
        self.table, self.bias = table, bias
        self.posterior, self.admission = posterior, admission
        self.constants = fold_constants(config)
        self.schedule = parameters(config.optimizer.schedule or config.rates[0])
        self._fast = is_fast(config)
        self._lanes = (np.float32(0.0),) * config.lanes

    @staticmethod
    def untouched(config: ModelConfig) -> Coefficients:
        """The state before the first example."""
        table = WeightTable(config.table_bits, config.lanes)
        bias, posterior = np.zeros(2 * config.lanes), start_posterior(config.lanes)
        return Coefficients(config, table, bias, posterior, Admission(config))

    def learn(self, rows: Rows, examples: int, seq: int, logits: F64, out: F64) -> int:
        """Fold the rows in order, in place; returns the number of examples folded by then.

        out and logits are float64[rows], filled with the predictions made before learning and
        their logits, NaN where a row was skipped; examples counts those folded before.
        """
        features = expanded(self.config.numbers, rows.batch)
        table = self.table
        of_rows = (
            *features, rows.labels, rows.weights, rows.skip,
            table.page_seqs, table.page_shift, seq, logits, out,
        )  # fmt: skip
        seed = self.config.hash_seed
        if self._fast:
            learned = fast.learn_batch(
                self._lanes, table.cells, self.bias, self.posterior, self.constants, seed,
                examples, *of_rows,
            )  # fmt: skip
        else:
            learned = general.learn_batch(
                table.cells, self.bias, self.posterior, self.constants, self.schedule,
                self.admission.counters, self.admission.cursor, seed, examples, *of_rows,
            )  # fmt: skip
        return int(learned)

    def predict(self, batch: ExampleBatch, examples: int) -> F64:
        """float64[rows]: the probability of a click for each row; changes nothing."""
        features = expanded(self.config.numbers, batch)
        out = np.empty(batch.rows)
        if self._fast:
            fast.predict_batch(
                self._lanes, self.table.cells, self.bias, self.posterior, self.constants,
                *features, out,
            )  # fmt: skip
        else:
            general.predict_batch(
                self.table.cells, self.bias, self.posterior, self.constants, self.schedule,
                examples, *features, out,
            )  # fmt: skip
        return out

    def predict_texts(self, texts: Sequence[bytes], room: FeatureTexts) -> F64 | None:
        """float64[texts]: as `predict`, of features objects as JSON text.

        None where one is unusual (json_scan.py), or the fast kernel does not do the configuration.
        """
        of_texts = room.arguments(texts, self.config.hash_seed) if self._fast else None
        if of_texts is None:
            return None
        numbers, out = self.config.numbers, np.empty(len(texts))
        settled = score_rows(
            self._lanes, self.table.cells, self.bias, self.posterior, self.constants,
            numbers != RAW, numbers == AUTO, out, *of_texts,
        )  # fmt: skip
        return out if settled else None

    def uncertainty(self, batch: ExampleBatch, examples: int) -> F64:
        """float64[rows]: the most that learning the row next could move its logit
        (uncertainty.py)."""
        features = expanded(self.config.numbers, batch)
        out = np.empty(batch.rows)
        uncertainty.uncertainty_batch(
            self.table.cells, self.bias, self.posterior, self.constants, self.schedule, examples,
            *features, out,
        )  # fmt: skip
        return out
