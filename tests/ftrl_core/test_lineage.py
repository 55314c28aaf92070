"""The reference fold through live changes, beside the model's."""

import numpy as np
import pytest

from ftrl_core.entry import encode_control
from ftrl_core.model import Model
from ftrl_core.position import Position
from tests.oracle.lineage import Lineage
from tests.oracle.streams import payload_of, random_batch

MIXED = {"table_bits": 10}
PLAIN = {"table_bits": 10, "optimizer": {"learning_rate": 0.1, "l1_regularization_strength": 0.5}}


@pytest.mark.parametrize("config", [PLAIN, MIXED], ids=["one lane", "mixture"])
def test_changes_are_the_models_to_the_bit(config: dict[str, object], seed: int) -> None:
    draw = np.random.default_rng(seed)
    model, lineage = Model(config), Lineage(Model(config).config.to_dict())
    changes: list[dict[str, object]] = [
        {"optimizer": {"beta": 0.7}},
        {"optimizer": {"learning_rate": 0.031}},
        {"optimizer": {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.3}},
        {"optimizer": {"learning_rate": 0.3, "beta": 0.1}, "table_bits": 11},
    ]
    for change in changes:
        for payload in [
            payload_of(random_batch(draw, 40)),
            encode_control("configure", {"config": change}),
        ]:
            model.apply(Position(1, model.position.seq + 1), payload)
            lineage.apply(payload)
    batch = random_batch(draw, 10)
    served = model.predict(batch)
    copied = lineage.copy()
    model.apply(Position(1, model.position.seq + 1), payload_of(batch))
    lineage.apply(payload_of(batch))
    assert lineage.digest() == model.digest() != copied.digest()
    assert lineage.predictions[0] == served[0]
