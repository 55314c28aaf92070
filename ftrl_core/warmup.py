"""Compile every kernel before the first request, and prove the arithmetic of this machine.

`warm_up` folds a small fixed stream through the whole life of a model (learn, duplicate, predict,
encode, decode, cut, load, snapshot) and compares the final digests with those below: with one
learning rate, with the untuned default, and with what only the general kernel does. A processor,
compiler or library whose arithmetic differs in one bit (subnormals flushed to zero by another
library, a fused multiply-add) is found here, before it can serve or checkpoint anything.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from ftrl_core.batch import ExampleBatch, canonicalise
from ftrl_core.checkpoint import Manifest, cut
from ftrl_core.coefficients import is_fast
from ftrl_core.config import ModelConfig
from ftrl_core.entry import RequestPart, decode, encode_examples, request_table
from ftrl_core.errors import ClickfoldError
from ftrl_core.json_score import FeatureTexts
from ftrl_core.limits import Limits
from ftrl_core.loader import Loader
from ftrl_core.model import Model
from ftrl_core.numeric_features import bin_hash
from ftrl_core.position import Position
from ftrl_core.slices import Slices, row_of
from ftrl_core.snapshot_file import read_snapshot, write_snapshot
from ftrl_core.survey import survey

ROWS, FEATURES, ENTRIES = 96, 70, 8
_SMALL = {"table_bits": 13, "deduplication_window": 128}
_REGULARIZED = {
    "l1_regularization_strength": 0.02,
    "l2_regularization_strength": 0.1,
    "initial_accumulator_value": 0.05,
}


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A configuration and what folding the fixed stream under it gives on every machine.

    The state's digest holds the sums of all predictions too.
    """

    config: dict[str, Any]
    digest: str
    state_digest: str


SELF_TESTS = (
    SelfTest(
        {**_SMALL, "optimizer": {**_REGULARIZED, "learning_rate": 0.1}},
        "2e5a6e2851ba74f7de7b2074826c1047",
        "bb37551779e317ac445412310081f3bb",
    ),
    SelfTest(
        {**_SMALL, "optimizer": _REGULARIZED},
        "7854e2d0e990d8d63ff01307c9cf1695",
        "8bd5effddd45912672f9342737824aa0",
    ),
    SelfTest(
        {
            **_SMALL,
            "numbers": "log_bins",
            "slices": ["field"],
            "admission": {"kind": "bloom", "count": 1, "bits": 12},
            "sampling_rate": 0.5,
            "sampling_correction": "logit",
            "optimizer": {
                **_REGULARIZED,
                "learning_rate": [0.05, 0.2, 0.4],
                "learning_rate_power": -0.4,
                "l2_shrinkage_regularization_strength": 0.01,
                "clipvalue": 2.0,
                "global_clipnorm": 3.0,
            },
        },
        "a37cb3a0462f4a3c41de78b8257c5654",
        "aa88123baadfe42c3c74717e3d2d0429",
    ),
)


class ArithmeticDiffers(ClickfoldError):
    """This machine does not compute the bits that every replica must agree on."""


def _stream(entry: int) -> ExampleBatch:
    """A fixed pseudo-random batch (multiplicative congruence, no library's generator)."""
    count = ROWS * FEATURES
    x = (np.arange(count, dtype=np.uint64) + np.uint64(1 + entry * count)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    x ^= x >> np.uint64(31)
    names = (x % np.uint64(97)).astype(np.uint32)
    hashes = ((x >> np.uint64(20)) & np.uint64(0x3FFF)).astype(np.uint32)
    values = np.where(x & np.uint64(7), 1.0, (x >> np.uint64(40)).astype(np.float64) * 1e-27)
    hashes = np.where(x & np.uint64(7), hashes, names)
    offsets = np.arange(0, count + 1, FEATURES, dtype=np.int64)
    rows = x[:ROWS]
    return ExampleBatch(
        *canonicalise(offsets, names, hashes, values.astype(np.float32)),
        ((rows >> np.uint64(50)) % np.uint64(4) == 0).astype(np.uint8),
        np.where(rows & np.uint64(16), 1.0, 0.5).astype(np.float32),
        rows | np.uint64(1),
    )


def _fold(config: dict[str, Any]) -> Model:
    model = Model(config)
    for entry in range(ENTRIES):
        batch = _stream(entry)
        parts = [RequestPart(ROWS // 2, 0, entry + 1, 7), RequestPart(ROWS - ROWS // 2)]
        payload = encode_examples(batch, request_table(parts))
        model.names.has_unheard(batch.name_hashes)
        model.names.add([f"field {entry}"])
        model.apply(Position(1, entry + 1), decode(payload), 1000 * entry)
        model.predict(batch)
    model.predict_texts([b'{"a":1,"b":"c"}'], FeatureTexts(Limits(), 64))
    model.uncertainty(batch)
    survey(model.coefficients, model.examples)
    bin_hash(np.uint32(1), np.float32(1.0))
    arrays = Slices(("field",), 0).arrays
    row_of(0, np.uint32(1), arrays.used, arrays.values, arrays.places)
    return model


def _reload(model: Model) -> Model:
    taken = cut(model, -1)
    loader = Loader(Manifest.decode(Manifest.advance(None, taken, "1-0", "0" * 16).encode()))
    for _, index in loader.missing_pages():
        loader.put_page(index, bytes(taken.pages[index]))
    for _, index in loader.missing_segments():
        loader.put_segment(index, taken.segments[index])
    pieces = write_snapshot(taken, name="warmup", incarnation="0", created_ms=0, examples=0)
    _, copy = read_snapshot(io.BytesIO(b"".join(pieces)))
    if copy.digest() != model.digest():
        raise ArithmeticDiffers("a snapshot gave back another model")
    return loader.finish()


def run(test: SelfTest) -> None:
    """Fold the stream under a configuration; ArithmeticDiffers when the bits are not the known."""
    model = _fold(test.config)
    again = _reload(model)
    model.stats()
    if model.table.altered_page() is not None:
        raise ArithmeticDiffers("memory changes by itself")
    if again.state_digest() != model.state_digest():
        raise ArithmeticDiffers("a reloaded checkpoint gave back another model")
    digests = model.digest(), model.state_digest()
    if digests != (test.digest, test.state_digest):
        raise ArithmeticDiffers(
            f"the self-test's digests are {' and '.join(digests)} and not the known ones: this "
            "machine's arithmetic would part from the other replicas'"
        )


def warm_up() -> None:
    """Run every kernel once; ArithmeticDiffers when this machine's bits are not the known ones."""
    for test in SELF_TESTS:
        run(test)


def warm_up_for(config: ModelConfig) -> None:
    """The same for the kernels that fold this configuration only."""
    for test in SELF_TESTS:
        tested = ModelConfig.from_dict(test.config)
        if is_fast(tested) == is_fast(config) and tested.lanes == config.lanes:
            run(test)
            return
    run(SELF_TESTS[-1])
