"""River 0.26.1: LogisticRegression with FTRLProximal, one example at a time.

A category is the feature `name=value` with value 1, a number stands under its name. In a dense
stream numbers go through River's own StandardScaler first, as its documentation does it. It is
plain Python, so it is given the first ROWS examples only, and is held against our loss on the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from river import linear_model, optim, preprocessing

from scripts.contest_run.ours import log_loss
from scripts.contest_run.peer import Example, Loss, Peer, Point, categories, numbers

ROWS = 5_000
_OWN = ("alpha", "beta", "l1", "l2")
GRID: tuple[Point, ...] = tuple(
    {"alpha": alpha, "beta": beta, "l2": l2, "intercept_lr": intercept}
    for alpha, beta, l2, intercept in itertools.product(
        (0.03, 0.1, 0.3, 1, 3, 10, 30), (0.1, 1), (0, 0.1), (0.01, 0.1)
    )
)


def prepare(examples: Sequence[Example], dense: bool) -> Loss:
    """The function from a point to the mean loss."""
    scaler = preprocessing.StandardScaler()
    rows = []
    for example in examples:
        values = numbers(example)
        if dense:
            scaler.learn_one(values)
            values = scaler.transform_one(values)
        rows.append({**values, **dict.fromkeys(categories(example), 1.0)})
    labels = [bool(example["label"]) for example in examples]

    def loss(point: Point) -> float:
        own = {name: value for name, value in point.items() if name in _OWN}
        others = {name: value for name, value in point.items() if name not in _OWN}
        model = linear_model.LogisticRegression(optim.FTRLProximal(**own), **others)
        predictions = []
        for row, label in zip(rows, labels, strict=True):
            predictions.append(model.predict_proba_one(row)[True])
            model.learn_one(row, label)
        return float(log_loss(np.array(predictions), labels).mean())

    return loss


PEERS = (Peer("River FTRL", prepare, GRID, default={}, rows=ROWS),)
