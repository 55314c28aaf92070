"""scikit-learn 1.9.1: SGDClassifier(loss="log_loss") by partial_fit, one pass, in order.

A category is a column of DictVectorizer, made from the whole stream beforehand (no collisions, in
its favour). In a dense stream numbers go through StandardScaler, fitted up to and including the
batch. A call costs more than its examples do, so they go in batches: of 1 in streams of up to
2,000 rows, of 10 up to 50,000, of 100 beyond. Inside a batch it still learns one example after the
other; only the predictions are older. The grid is ranked with ROUGH_CALLS batches a stream.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

from scripts.contest_run.ours import log_loss
from scripts.contest_run.peer import Example, Loss, Peer, Point, categories, numbers

_ETAS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
_ALPHAS = (1e-7, 1e-6, 1e-5, 1e-4)
GRID: tuple[Point, ...] = (
    *(
        {"learning_rate": "constant", "eta0": eta, "alpha": alpha}
        for eta, alpha in itertools.product(_ETAS, (1e-7, 1e-5, 1e-4))
    ),
    *(
        {"learning_rate": "invscaling", "eta0": eta, "power_t": power, "alpha": alpha}
        for eta, power, alpha in itertools.product(
            (0.1, 0.3, 1, 3, 10, 30, 100), (0.25, 0.5), (1e-6, 1e-5)
        )
    ),
    *({"learning_rate": "optimal", "alpha": alpha} for alpha in (*_ALPHAS, 1e-3, 1e-2)),
)


ROUGH_CALLS = 100


def prepare(examples: Sequence[Example], dense: bool) -> Loss:
    """The function from a point to the mean loss."""
    rows = len(examples)
    return _loss(examples, dense, 1 if rows <= 2_000 else 10 if rows <= 50_000 else 100)


def rough(examples: Sequence[Example], dense: bool) -> Loss:
    """The same with larger batches."""
    return _loss(examples, dense, max(1, len(examples) // ROUGH_CALLS))


def _loss(examples: Sequence[Example], dense: bool, size: int) -> Loss:
    """The loss with batches of `size` rows."""
    matrix = _matrix(examples, dense, size)
    labels = np.array([example["label"] for example in examples])
    starts = range(0, len(examples), size)
    batches = [(matrix[i : i + size], labels[i : i + size]) for i in starts]

    def loss(point: Point) -> float:
        model = SGDClassifier(loss="log_loss", random_state=0, **point)
        losses = []
        for rows, truth in batches:
            logits = model.decision_function(rows) if losses else np.zeros(truth.size)
            losses.append(log_loss(_sigmoid(logits), truth))
            model.partial_fit(rows, truth, classes=[0, 1])
        return float(np.concatenate(losses).mean())

    return loss


def _sigmoid(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -500.0, 500.0))), np.float64)


def _matrix(examples: Sequence[Example], dense: bool, size: int) -> sparse.csr_matrix:
    """All rows; numbers standardised where the stream is dense."""
    apart = [numbers(example) for example in examples]
    records = [
        {**({} if dense else values), **dict.fromkeys(categories(example), 1.0)}
        for example, values in zip(examples, apart, strict=True)
    ]
    matrix = DictVectorizer().fit_transform(records)
    if not dense:
        return matrix.tocsr()
    names = sorted({name for values in apart for name in values})
    columns = np.array([[values.get(name, np.nan) for name in names] for values in apart])
    scaler = StandardScaler()
    for start in range(0, len(columns), size):
        rows = columns[start : start + size]
        columns[start : start + size] = scaler.partial_fit(rows).transform(rows)
    return sparse.hstack([matrix, np.nan_to_num(columns)], format="csr")


PEERS = (Peer("scikit-learn SGD", prepare, GRID, default={}, rough=rough),)
