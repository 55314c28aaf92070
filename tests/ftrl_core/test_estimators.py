"""The adapters to scikit-learn and River: every check of theirs, and the service's bits."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from river import checks as river_checks
from scipy import sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from app.ingest import decode_body
from ftrl_core.errors import BadConfig, BadExample
from ftrl_core.limits import Limits
from ftrl_core.model import Model
from ftrl_core.river import FtrlClassifier as RiverClassifier
from ftrl_core.sklearn import FtrlClassifier

CONFIGS: list[dict[str, Any]] = [
    {},
    {"learning_rate": 0.2, "l1_regularization_strength": 0.01, "beta": 0.5},
    {"learning_rate": [0.1, 0.5], "options": {"numbers": "auto", "scale": "unit"}},
    {"learning_rate": 0.1, "learning_rate_power": -0.4, "clipnorm": 1.0, "hash_seed": 7},
]


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [FtrlClassifier(), FtrlClassifier(learning_rate=0.3)]
)
def test_scikit_learns_checks(estimator: FtrlClassifier, check: Callable[..., None]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


RIVER_CHECKS = list(river_checks.yield_checks(RiverClassifier()))


@pytest.mark.parametrize("check", RIVER_CHECKS, ids=lambda check: str(check.__name__))
def test_rivers_checks(check: Callable[..., None]) -> None:
    check(RiverClassifier())


def test_rivers_own_runner() -> None:
    river_checks.check_estimator(RiverClassifier())


def table(seed: int, rows: int = 300) -> tuple[Any, Any]:
    """X with zeros, of scales from 1e-3 to 1e4, and y in {0, 1}."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, [1e-3, 1.0, 30.0, 1e4], (rows, 4))
    x[rng.random(x.shape) < 0.3] = 0.0
    return x, (x[:, 1] + x[:, 2] / 30.0 + rng.normal(0.0, 1.0, rows) > 0).astype(int)


def of_service(config: dict[str, Any], examples: list[dict[str, Any]]) -> Any:
    """What POST /learn replies to these examples, by the bytes of a JSON body, and the model."""
    given = {"learning_rate", "learning_rate_power", "l1_regularization_strength", "beta"}
    optimizer = {name: value for name, value in config.items() if name in {*given, "clipnorm"}}
    whole = {"table_bits": 18, "deduplication_window": 0, **config.get("options", {})}
    model = Model({**whole, "hash_seed": config.get("hash_seed", 0), "optimizer": optimizer})
    body = json.dumps({"examples": examples}).encode()
    batch = decode_body(
        body, content_type="application/json", content_encoding="",
        hash_seed=model.config.hash_seed, require_labels=True, limits=Limits(),
    ).batch  # fmt: skip
    return model.learn(batch), model


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csc_matrix])
def test_partial_fit_is_the_services_fold(
    config: dict[str, Any], form: Callable[[Any], Any], seed: int
) -> None:
    x, y = table(seed)
    examples = [
        {"label": int(label), "features": {f"x{i}": v for i, v in enumerate(row) if v != 0.0}}
        for row, label in zip(x.tolist(), y, strict=True)
    ]
    expected, model = of_service(config, examples)
    estimator = FtrlClassifier(**config)
    found = []
    for row in range(len(y)):
        given = form(x[row : row + 1])
        if row:
            found.append(estimator.predict_proba(given)[0, 1])
        estimator.partial_fit(given, y[row : row + 1], classes=[0, 1])
    assert found == expected[1:].tolist()
    assert estimator.model_.digest() == model.digest()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_river_is_the_services_fold(config: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    examples: list[dict[str, Any]] = [
        {
            "label": int(rng.integers(0, 2)),
            "features": {
                "site": f"s{rng.zipf(1.5) % 50}", "price": float(rng.normal()) * 100,
                "new": bool(rng.integers(0, 2)), "tags": ["a", f"t{rng.integers(0, 5)}"],
                "none": None,
            },
        }
        for _ in range(200)
    ]  # fmt: skip
    expected, model = of_service(config, examples)
    estimator = RiverClassifier(**config)
    found = []
    for example in examples:
        found.append(estimator.predict_proba_one(example["features"])[True])
        estimator.learn_one(example["features"], bool(example["label"]))
    assert found == expected.tolist()
    assert estimator.model.digest() == model.digest()


def test_a_copy_goes_on_as_the_original(seed: int) -> None:
    x, y = table(seed)
    original = FtrlClassifier().fit(x[:100], y[:100])
    for twin in (copy.deepcopy(original), copy.copy(original)):
        again = copy.deepcopy(original)
        again.partial_fit(x[100:], y[100:])
        twin.partial_fit(x[100:], y[100:])
        assert twin.model_.state_digest() == again.model_.state_digest()
    river = RiverClassifier()
    river.learn_one({"a": 1.5}, True)
    river_twin = copy.deepcopy(river)
    assert river_twin.model.state_digest() == river.model.state_digest()


def test_fit_depends_on_content_and_not_on_order(seed: int) -> None:
    x, y = table(seed)
    order = np.random.default_rng(seed).permutation(len(y))
    one, other = FtrlClassifier().fit(x, y), FtrlClassifier().fit(x[order], y[order])
    assert one.model_.digest() == other.model_.digest()
    kept = FtrlClassifier(shuffle=False).fit(x, y)
    stepwise = FtrlClassifier().partial_fit(x, y)
    assert kept.model_.digest() == stepwise.model_.digest() != one.model_.digest()


def test_weights_in_fit(seed: int) -> None:
    """Whole weights are copies, none is a zero weight, and others multiply gradients."""
    x, y = table(seed, 60)
    counts = np.random.default_rng(seed).integers(0, 4, len(y))
    weighted = FtrlClassifier().fit(x, y, sample_weight=counts)
    copies = FtrlClassifier().fit(np.repeat(x, counts, axis=0), np.repeat(y, counts))
    assert weighted.model_.digest() == copies.model_.digest()
    assert weighted.model_.examples == counts.sum()
    halves = FtrlClassifier().fit(x, y, sample_weight=np.full(len(y), 0.5))
    assert halves.model_.examples == len(y)
    assert halves.model_.digest() != FtrlClassifier().fit(x, y).model_.digest()


def test_several_passes() -> None:
    x, y = table(1)
    assert FtrlClassifier(n_iter=3).fit(x, y).model_.examples == 3 * len(y)


def test_decision_function_is_the_logit() -> None:
    x, y = table(1)
    estimator = FtrlClassifier().fit(x, y)
    p = estimator.predict_proba(x)[:, 1]
    np.testing.assert_allclose(estimator.decision_function(x), np.log(p / (1 - p)), rtol=1e-9)


@pytest.mark.parametrize("arguments", [
    {"learning_rate": -1.0}, {"beta": float("nan")}, {"options": {"numbers": "binned"}},
    {"clipvalue": 0.0}, {"table_bits": 99},
], ids=str)  # fmt: skip
def test_wrong_arguments_are_named_when_rows_come(arguments: dict[str, Any]) -> None:
    name = next(iter(arguments)) if "options" not in arguments else "numbers"
    x, y = table(1)
    with pytest.raises(BadConfig, match=name):
        FtrlClassifier(**arguments).fit(x, y)
    with pytest.raises(BadConfig, match=name):
        RiverClassifier(**arguments).learn_one({"a": 1}, True)


def test_rows_that_are_refused_change_nothing() -> None:
    x, y = table(1)
    estimator = FtrlClassifier().fit(x, y)
    digest = estimator.model_.state_digest()
    for wrong, message in ((x * 1e9, "within"), (x * np.nan, "NaN")):
        with pytest.raises(ValueError, match=message):
            estimator.partial_fit(wrong, y)
    with pytest.raises(ValueError, match="labels"):
        estimator.partial_fit(x, y + 5)
    with pytest.raises(ValueError, match="sample_weight"):
        estimator.partial_fit(x, y, sample_weight=np.full(len(y), 1e7))
    with pytest.raises(ValueError, match="n_iter"):
        FtrlClassifier(n_iter=0).fit(x, y)
    assert estimator.model_.state_digest() == digest
    river = RiverClassifier()
    with pytest.raises(BadExample):
        river.learn_one({"a": float("inf")}, True)
    assert river.model.examples == 0
