"""What the adapters to scikit-learn and River share: arguments to a configuration, state as bytes.

An estimator has the optimizer's arguments under Keras' names, and `options` for any other argument
of a model. None for learning_rate and beta means: as the service has it when nothing is given.
"""

from __future__ import annotations

import io
from typing import Any

from ftrl_core.checkpoint import cut
from ftrl_core.config import ModelConfig
from ftrl_core.model import Model
from ftrl_core.snapshot_file import read_snapshot, write_snapshot

ARGUMENTS = (
    "learning_rate_power",
    "initial_accumulator_value",
    "l1_regularization_strength",
    "l2_regularization_strength",
    "l2_shrinkage_regularization_strength",
    "clipvalue",
    "clipnorm",
    "global_clipnorm",
)


def config_of(estimator: Any) -> ModelConfig:
    """The configuration of an estimator; BadConfig (a ValueError) names a wrong argument."""
    optimizer = {name: getattr(estimator, name) for name in ARGUMENTS}
    for name in ("learning_rate", "beta"):
        if getattr(estimator, name) is not None:
            optimizer[name] = getattr(estimator, name)
    given = {
        "deduplication_window": 0,
        "table_bits": estimator.table_bits,
        "hash_seed": estimator.hash_seed,
        **(estimator.options or {}),
    }
    return ModelConfig.from_dict({**given, "optimizer": optimizer})


def model_to_bytes(model: Model) -> bytes:
    """The model as the bytes of a snapshot file."""
    taken = cut(model, -1)
    pieces = write_snapshot(
        taken, name="estimator", incarnation="0", created_ms=0, examples=model.examples
    )
    return b"".join(pieces)


def model_from_bytes(content: bytes) -> Model:
    """The model of `model_to_bytes`; BadSnapshot when the bytes are damaged."""
    return read_snapshot(io.BytesIO(content))[1]
