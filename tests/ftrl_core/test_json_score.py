"""Scores straight from JSON text are those of decoded examples, to the bit, or none at all."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.features import ObjectPairs
from ftrl_core.json_score import FeatureTexts
from ftrl_core.limits import Limits
from ftrl_core.model import Model
from tests.oracle import json_text

SMALL = {"table_bits": 8, "deduplication_window": 64, "hash_seed": 77}
SINGLE = {"optimizer": {"learning_rate": 0.1}}
ROOM = FeatureTexts(Limits(), 1 << 16)


def trained(**config: Any) -> Model:
    """A model whose slots are all in use."""
    choose = random.Random(5)
    model = Model({**SMALL, **config})
    rows = [
        {"label": i % 3 == 0, "features": {f"f{j}": choose.choice([f"v{i % 9}", i / 7])}}
        for i in range(300)
        for j in range(2)
    ]
    examples = [{**row, "label": int(bool(row["label"]))} for row in rows]
    model.learn(ExampleBatch.from_examples(examples, 77))
    return model


def decoded(texts: list[str]) -> ExampleBatch:
    """The batch of the texts by the slow path."""
    pairs = [json.loads(text, object_pairs_hook=ObjectPairs) for text in texts]
    return ExampleBatch.from_examples([{"features": p} for p in pairs], 77, require_labels=False)


@pytest.mark.parametrize("numbers", ["raw", "log_bins", "auto"])
@pytest.mark.parametrize("lanes", [SINGLE, {}])
def test_scores_are_those_of_the_slow_path(seed: int, lanes: dict[str, Any], numbers: str) -> None:
    choose = random.Random(seed)
    model = trained(**lanes, numbers=numbers)
    unsure = 0
    for _ in range(150):
        texts = [json_text.features(choose) for _ in range(choose.choice([1, 1, 2, 5]))]
        scores = model.predict_texts([text.encode() for text in texts], ROOM)
        unsure += scores is None
        if scores is not None:
            expected = model.predict(decoded(texts))
            assert scores.view(np.uint64).tolist() == expected.view(np.uint64).tolist(), texts
    assert unsure < 30


@pytest.mark.parametrize("text", ['{"a":{}}', '{"a":1e99}', "[1]", '{"a":"\\ud800"}', "7"])
def test_what_is_unusual_is_left_to_the_caller(text: str) -> None:
    assert trained().predict_texts([b'{"a":"b"}', text.encode()], ROOM) is None


def test_so_are_other_kernels_and_too_many_bytes() -> None:
    texts = [b'{"a":"b"}']
    assert (
        trained(sampling_rate=0.5, sampling_correction="logit").predict_texts(texts, ROOM) is None
    )
    assert trained().predict_texts(texts, FeatureTexts(Limits(), 8)) is None
    assert trained().predict_texts(texts, FeatureTexts(Limits(), 9)) is not None


def test_limits_hold() -> None:
    text = b'{"a":"b","cc":"d"}'
    model = trained()
    assert (
        model.predict_texts([text], FeatureTexts(Limits(features=2, name_bytes=2), 99)) is not None
    )
    for limits in (Limits(features=1), Limits(name_bytes=1), Limits(request_features=1)):
        assert model.predict_texts([text], FeatureTexts(limits, 99)) is None
