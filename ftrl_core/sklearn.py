"""The model as a scikit-learn classifier: the service's own fold behind `fit` and `partial_fit`.

`partial_fit` learns rows in their order, each once, as POST /learn would: the same rows give the
same predictions as the service, bit for bit, when both have the same configuration. A column is a
feature under its name (`feature_names_in_`, else x0, x1, ...), a number; a zero is left out, so
dense and sparse matrices are the same to it.

`fit` is for a finite table whose order means nothing. It presents the rows in an order of its own,
by a hash of their content, so the result does not depend on the order given, and a row of whole
weight k counts as that many copies of it. With shuffle=False it keeps the order, and is then
partial_fit from a fresh start. Other weights multiply gradients, as the service's do.

Needs the extra `sklearn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ftrl_core.batch import F32, I64, U8, U64, ExampleBatch, canonicalise
from ftrl_core.config import ModelConfig
from ftrl_core.estimators import config_of, model_from_bytes, model_to_bytes
from ftrl_core.features import TINY
from ftrl_core.hashing import name_hash, xxh64_kernel
from ftrl_core.jit import kernel
from ftrl_core.limits import Limits
from ftrl_core.model import Model
from ftrl_core.numbers import log

Matrix = Any  # what scikit-learn takes for X: an array, a sparse matrix, a data frame
COPIES_MAX = 100  # whole weights up to this are copies in `fit`, all others importances
CHUNK_ROWS = 50_000
_BINARY = 2


@kernel
def row_hashes(offsets: I64, content: U8, row_bytes: I64, labels: U8) -> U64:
    """uint64[rows]: XXH64 of each row's bytes, seeded with its label."""
    out = np.empty(labels.size, np.uint64)
    for r in range(labels.size):
        out[r] = xxh64_kernel(content, row_bytes[r], row_bytes[r + 1], np.uint64(labels[r]))
    return out


class FtrlClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """FTRL-Proximal for two classes; arguments are checked when the first rows come.

    learning_rate None is the service's default that needs no tuning; a number, a list (a mixture)
    or a schedule's {"class_name", "config"} is the paper's learner (docs/models.md). The other
    arguments of the optimizer have Keras' names; beta None is the default that goes with the
    learning rate. `options` holds any further argument of a model ({"numbers": "auto"}).

    n_iter is how often `fit` goes over the rows, shuffle whether in an order of its own.
    """

    def __init__(
        self,
        learning_rate: Any = None,
        *,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.0,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float | None = None,
        clipvalue: float | None = None,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        table_bits: int = 18,
        hash_seed: int = 0,
        options: Mapping[str, Any] | None = None,
        n_iter: int = 1,
        shuffle: bool = True,
    ) -> None:
        self.learning_rate = learning_rate
        self.learning_rate_power = learning_rate_power
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta
        self.clipvalue = clipvalue
        self.clipnorm = clipnorm
        self.global_clipnorm = global_clipnorm
        self.table_bits = table_bits
        self.hash_seed = hash_seed
        self.options = options
        self.n_iter = n_iter
        self.shuffle = shuffle

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.sparse = True
        return tags

    def config(self) -> ModelConfig:
        """The configuration of the model; BadConfig (a ValueError) names a wrong argument."""
        return config_of(self)

    def fit(self, X: Matrix, y: Any, sample_weight: Any = None) -> FtrlClassifier:  # noqa: N803
        """Learn the rows from a fresh start. Raises ValueError for rows, labels or weights that
        are wrong, or of one class only. Returns self."""
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64)  # noqa: N806
        check_classification_targets(y)
        self._start(unique_labels(y))
        batch = self._batch(X, self._labels(y), self._weights(sample_weight, X))
        for part in self._presented(batch):
            self.model_.learn(part)
        return self

    def partial_fit(
        self,
        X: Matrix,  # noqa: N803
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
    ) -> FtrlClassifier:
        """Learn the rows in their order, each once; the first call names both classes, or shows
        them. Raises ValueError as `fit` does. Returns self."""
        first = not hasattr(self, "model_")
        X, y = validate_data(  # noqa: N806
            self, X, y, accept_sparse="csr", dtype=np.float64, reset=first
        )
        check_classification_targets(y)
        if first:
            self._start(unique_labels(y if classes is None else classes))
        elif classes is not None and not np.array_equal(unique_labels(classes), self.classes_):
            raise ValueError("classes must be those of the first call")
        self.model_.learn(self._batch(X, self._labels(y), self._weights(sample_weight, X)))
        return self

    def predict_proba(self, X: Matrix) -> npt.NDArray[np.float64]:  # noqa: N803
        """float64[rows, 2]: the probabilities of classes_[0] and classes_[1]."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)  # noqa: N806
        rows = X.shape[0]
        batch = self._batch(X, np.zeros(rows, np.uint8), np.ones(rows, np.float32))
        p = self.model_.predict(batch)
        return np.column_stack([1.0 - p, p])

    def decision_function(self, X: Matrix) -> npt.NDArray[np.float64]:  # noqa: N803
        """float64[rows]: the logit of classes_[1]."""
        p = self.predict_proba(X)[:, 1]
        return np.array([log(x) - log(1.0 - x) for x in p.tolist()], np.float64)

    def predict(self, X: Matrix) -> Any:  # noqa: N803
        """The more probable class of each row."""
        p = self.predict_proba(X)[:, 1]
        return self.classes_[(p > 0.5).astype(np.int64)]

    def _start(self, classes: Any) -> None:
        if len(classes) != _BINARY:
            if len(classes) > _BINARY:
                raise ValueError(
                    f"Only binary classification is supported: there are {len(classes)} classes"
                )
            raise ValueError("Classifier can't train when only one class is present")
        self.classes_ = np.asarray(classes)
        self.model_ = Model(self.config())

    def _labels(self, y: Any) -> U8:
        unknown = ~np.isin(y, self.classes_)
        if unknown.any():
            raise ValueError("y has labels that are not in classes")
        return np.asarray(y == self.classes_[1], np.uint8)

    def _weights(self, sample_weight: Any, X: Matrix) -> F32:  # noqa: N803
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if weights.max(initial=0.0) > Limits().weight:
            raise ValueError(f"sample_weight must be at most {Limits().weight:g}")
        return np.asarray(weights, np.float32)

    def _batch(self, X: Matrix, labels: U8, weights: F32) -> ExampleBatch:  # noqa: N803
        """The rows as the service would take them in."""
        rows = sparse.csr_array(X)
        if np.abs(rows.data).max(initial=0.0) > Limits().abs_value:
            raise ValueError(f"values of X must be within +-{Limits().abs_value:g}")
        values = np.where(np.abs(rows.data) < TINY, 0.0, rows.data).astype(np.float32)
        kept = values != 0.0
        counts = np.add.reduceat(np.append(kept, False), rows.indptr[:-1], dtype=np.int64)
        counts[np.diff(rows.indptr) == 0] = 0
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        hashes = self._column_hashes(rows.shape[1])[rows.indices[kept]]
        return ExampleBatch(
            *canonicalise(offsets, hashes, hashes, values[kept]),
            labels,
            weights,
            np.zeros(labels.size, np.uint64),
        )

    def _column_hashes(self, columns: int) -> npt.NDArray[np.uint32]:
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            names = [f"x{i}" for i in range(columns)]
        seed = self.model_.config.hash_seed
        return np.array([name_hash(str(name), seed) for name in names], np.uint32)

    def _presented(self, batch: ExampleBatch) -> list[ExampleBatch]:
        """What `fit` learns: the rows in order, copies beside each other, n_iter times."""
        if isinstance(self.n_iter, bool) or not isinstance(self.n_iter, int) or self.n_iter < 1:
            raise ValueError(f"n_iter must be an integer above 0; received n_iter={self.n_iter!r}")
        if self.shuffle:
            batch = taken(batch, content_order(batch))
        parts = [
            batch.slice(first, min(first + CHUNK_ROWS, batch.rows))
            for first in range(0, batch.rows, CHUNK_ROWS)
        ]
        return parts * self.n_iter

    def __getstate__(self) -> dict[str, Any]:
        """The parameters, and the model as the bytes of a snapshot."""
        state: dict[str, Any] = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = model_to_bytes(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` gave; BadSnapshot when its bytes are damaged."""
        state = dict(state)
        if "model_" in state:
            state["model_"] = model_from_bytes(state["model_"])
        super().__setstate__(state)


def content_order(batch: ExampleBatch) -> I64:
    """int64[copies]: indices of the rows in an order of their content alone, each whole weight up
    to COPIES_MAX as that many copies, a weight of 0 as none."""
    content = np.empty(batch.nnz, [("hash", np.uint32), ("value", np.float32)])
    content["hash"], content["value"] = batch.feature_hashes, batch.values
    raw = content.view(np.uint8) if batch.nnz else np.zeros(0, np.uint8)
    keys = row_hashes(batch.row_offsets, raw, 8 * batch.row_offsets, batch.labels)
    order = np.argsort(keys, kind="stable")
    weights = batch.weights[order]
    copies = np.where(is_count(weights), weights, 1.0).astype(np.int64)
    return np.repeat(order, copies)


def is_count(weights: F32) -> npt.NDArray[np.bool_]:
    """Which weights stand for copies."""
    return np.asarray((weights == np.floor(weights)) & (weights <= COPIES_MAX))


def taken(batch: ExampleBatch, order: I64) -> ExampleBatch:
    """The rows `order` of a batch; a weight that stands for copies becomes 1."""
    counts = np.diff(batch.row_offsets)[order]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    places = np.repeat(batch.row_offsets[order] - offsets[:-1], counts) + np.arange(offsets[-1])
    weights = batch.weights[order]
    return ExampleBatch(
        offsets,
        batch.name_hashes[places],
        batch.feature_hashes[places],
        batch.values[places],
        batch.labels[order],
        np.where(is_count(weights), 1.0, weights).astype(np.float32),
        batch.event_ids[order],
    )
