"""Compile every kernel before the first request, and prove the arithmetic of this machine.

`warm_up` folds a small fixed stream through the whole life of a model (learn, duplicate, predict,
encode, decode, cut, load, snapshot) and compares the final digest with the one below. A processor,
compiler or library whose arithmetic differs in one bit (subnormals flushed to zero by another
library, a fused multiply-add) is found here, before it can serve or checkpoint anything.
"""

from __future__ import annotations

import io

import numpy as np

from ftrl_core.batch import ExampleBatch, canonicalise
from ftrl_core.checkpoint import Manifest, cut
from ftrl_core.entry import RequestPart, decode, encode_examples, request_table
from ftrl_core.errors import ClickfoldError
from ftrl_core.loader import Loader
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.snapshot_file import read_snapshot, write_snapshot

KNOWN_DIGEST = "2e5a6e2851ba74f7de7b2074826c1047"
KNOWN_STATE_DIGEST = "5fe725205481c3c2bc573680eca002f1"  # holds the sums of all predictions too
ROWS, FEATURES, ENTRIES = 96, 70, 8
_CONFIG = {
    "table_bits": 13,
    "deduplication_window": 128,
    "optimizer": {
        "l1_regularization_strength": 0.02,
        "l2_regularization_strength": 0.1,
        "initial_accumulator_value": 0.05,
    },
}


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


def _fold() -> Model:
    model = Model(_CONFIG)
    for entry in range(ENTRIES):
        batch = _stream(entry)
        parts = [RequestPart(ROWS // 2, 0, entry + 1, 7), RequestPart(ROWS - ROWS // 2)]
        payload = encode_examples(batch, request_table(parts))
        model.names.has_unheard(batch.name_hashes)
        model.names.add([f"field {entry}"])
        model.apply(Position(1, entry + 1), decode(payload), 1000 * entry)
        model.predict(batch)
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


def warm_up() -> None:
    """Run every kernel once; ArithmeticDiffers when this machine's bits are not the known ones."""
    model = _fold()
    again = _reload(model)
    model.stats()
    if again.state_digest() != model.state_digest():
        raise ArithmeticDiffers("a reloaded checkpoint gave back another model")
    digests = model.digest(), model.state_digest()
    if digests != (KNOWN_DIGEST, KNOWN_STATE_DIGEST):
        raise ArithmeticDiffers(
            f"the self-test's digests are {' and '.join(digests)} and not the known ones: this "
            "machine's arithmetic would part from the other replicas'"
        )
