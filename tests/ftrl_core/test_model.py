"""The model as a state machine: one way in, in order, and nothing but the log decides."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import numpy as np
import pytest
import xxhash

from ftrl_core.batch import ExampleBatch
from ftrl_core.deduplication import CONFLICT, DUPLICATE, LEARN
from ftrl_core.entry import ControlEntry, RequestPart, encode_control
from ftrl_core.errors import BadEntry, BadExample, PositionNotNext
from ftrl_core.model import Model
from ftrl_core.names import NAMES_MAX
from ftrl_core.position import START, Position
from tests.oracle.exact import ExactFold
from tests.oracle.streams import ONE_RATE, folded, payload_of, payloads, random_batch

CONFIG = {"table_bits": 9, "deduplication_window": 100}
PINNED_DIGEST = "9d6ed49d90dec53640ccd4f6e184ad1e"
PINNED_AGREED_DIGEST = "579b607ba943487e376458d443701391"  # of every version: never to change
PINNED_STATE_DIGEST = "f3619510342f47468cacb15fb8a5a8ab"


def batch_of(rows: int = 5, seed: int = 1, **options: Any) -> ExampleBatch:
    return random_batch(np.random.default_rng(seed), rows, **options)


def pinned_model() -> Model:
    """A fixed stream of JSON examples: words, numbers, weights, ids, a tiny table."""
    examples: list[dict[str, Any]] = [
        {
            "label": int(i % 7 in (0, 3)),
            "weight": 1.0 + (i % 3) / 2,
            "id": f"imp-{i % 45}",
            "features": {"ad": f"a{i % 11}", "hour": str(i % 24), "price": (i % 13) / 4 - 1},
        }
        for i in range(50)
    ]
    model = Model(
        {**CONFIG, "optimizer": {"learning_rate": 0.1, "l1_regularization_strength": 0.01}}
    )
    for first in range(0, 50, 20):
        batch = ExampleBatch.from_examples(examples[first : first + 20])
        model.learn(batch, time_ms=1000 * first)
    return model


def test_the_digests_are_pinned() -> None:
    """Any change of hashing, order, arithmetic, dither or digest shows here, on every machine."""
    model = pinned_model()
    assert (model.examples, model.duplicates) == (45, 5)
    assert model.digest() == PINNED_DIGEST
    assert model.agreed_digest() == PINNED_AGREED_DIGEST
    assert model.state_digest() == PINNED_STATE_DIGEST


def test_the_digest_of_nothing() -> None:
    for config, posterior in ((ONE_RATE, b""), ({}, struct.pack("<4d", *[0.25] * 4))):
        model = Model(config)
        text = model.config.arithmetic() + b"\0" * 16 * model.config.lanes + posterior
        assert model.digest() == hashlib.blake2b(text, digest_size=16).hexdigest()


def test_the_digest_as_documented(seed: int) -> None:
    model = folded({"table_bits": 15}, payloads(seed, 3))
    contents = [model.table.cells.tobytes()[i * 32768 : (i + 1) * 32768] for i in range(32)]
    touched = [i for i, content in enumerate(contents) if any(content)]
    h = hashlib.blake2b(model.config.arithmetic(), digest_size=16)
    h.update(model.bias.tobytes())
    h.update(model.coefficients.posterior.tobytes())
    h.update(b"".join(i.to_bytes(8, "little") for i in touched))
    for i in touched:
        h.update(xxhash.xxh64_intdigest(contents[i]).to_bytes(8, "little"))
    assert model.digest() == h.hexdigest()


def test_looking_at_digests_changes_nothing(seed: int) -> None:
    seen, unseen = Model(CONFIG), Model(CONFIG)
    for seq, payload in enumerate(payloads(seed, 8), 1):
        seen.apply(Position(1, seq), payload)
        unseen.apply(Position(1, seq), payload)
        seen.digest()
        seen.state_digest()
        seen.stats()
    assert seen.state_digest() == unseen.state_digest()


def test_the_state_digest_covers_the_rest() -> None:
    base = pinned_model()
    for change in ("position", "epoch", "duplicates", "examples", "names", "ids", "scores"):
        other = pinned_model()
        if change == "position":
            other.pass_over(Position(1, 4))
        elif change == "epoch":
            other.position = Position(2, 3)
        elif change == "names":
            other.names.add(["ad"])
        elif change == "ids":
            window = other.deduplication
            window.load(
                window.count, CONFLICT, [window.segment(0)], 1
            )  # another verdict is carried
        elif change == "scores":
            other.metrics.sums[0] = np.nextafter(other.metrics.sums[0], 99)
        else:
            setattr(other, change, getattr(other, change) + 1)
        assert other.digest() == base.digest()
        assert other.state_digest() != base.state_digest(), change


@pytest.mark.parametrize(
    "position",
    [Position(1, 4), Position(1, 6), Position(1, 0), Position(0, 5), Position(2, 4)],
)
def test_an_entry_that_is_not_next_is_refused(position: Position) -> None:
    model = folded(CONFIG, payloads(1, 4))
    before = model.state_digest()
    with pytest.raises(PositionNotNext):
        model.apply(position, next(payloads(2, 1)))
    assert model.state_digest() == before


def test_an_epoch_may_change_in_between() -> None:
    model = folded(CONFIG, payloads(1, 4))
    model.apply(Position(3, 5), next(payloads(2, 1)))
    assert model.position == (3, 5)
    assert model.learn(batch_of()).size == 5
    assert model.position == (3, 6)


def test_pass_over() -> None:
    model = folded(CONFIG, payloads(1, 4))
    digest, examples = model.digest(), model.examples
    with pytest.raises(PositionNotNext):
        model.pass_over(Position(1, 4))
    with pytest.raises(PositionNotNext):
        model.pass_over(Position(1, 6))
    model.pass_over(Position(1, 5))
    assert (model.position, model.digest(), model.examples) == ((1, 5), digest, examples)
    model.apply(Position(2, 6), encode_control("skip", {"seq": 5}))
    model.apply(Position(2, 7), next(payloads(9, 1)))
    assert model.examples > examples


def damage(payload: bytes) -> bytes:
    return payload[:-1] + bytes([payload[-1] ^ 1])


@pytest.mark.parametrize(
    "payload",
    [b"", damage(next(payloads(1, 1))), encode_control("restore", {"generation": "1-a"}),
     encode_control("delete", {})],
)  # fmt: skip
def test_what_cannot_be_folded_changes_nothing(payload: bytes) -> None:
    model = folded(CONFIG, payloads(1, 2))
    before = model.state_digest()
    with pytest.raises(BadEntry):
        model.apply(Position(1, 3), payload)
    assert model.state_digest() == before


def test_a_configuration_that_cannot_be_folded_changes_nothing() -> None:
    """It was right where it was checked, but another change came first: every replica skips it."""
    model = folded(CONFIG, payloads(1, 2))
    config, digest = model.config, model.digest()
    refused = ({"table_bits": 8}, {"optimizer": {"learning_rate": -1}}, {"table_bits": 99})
    for seq, changes in enumerate(refused, 3):
        model.apply(Position(1, seq), encode_control("configure", {"config": changes}))
    assert (model.config, model.digest(), model.position) == (config, digest, (1, 5))


def test_control_entries_return_nothing() -> None:
    model = Model(CONFIG)
    assert model.apply(Position(1, 1), encode_control("create", {"config": {}})) is None
    assert model.apply(Position(1, 2), encode_control("names", {"names": ["ad", "é"]})) is None
    assert model.names.in_order() == ["ad", "é"]
    assert model.digest() == Model(CONFIG).digest()


def test_names_are_bounded() -> None:
    model = Model(CONFIG)
    for seq in (1, 2):
        names = [f"n{seq}.{i}" for i in range(40_000)]
        model.apply(Position(1, seq), ControlEntry("names", {"names": names}))
    assert len(model.names.in_order()) == NAMES_MAX


def test_applied_says_what_happened() -> None:
    model = Model(CONFIG)
    batch = batch_of(6)
    parts = [RequestPart(2, 0, 5, 1), RequestPart(2, 0, 5, 1), RequestPart(2, 0, 5, 2)]
    applied = model.apply(Position(1, 1), payload_of(batch, *parts))
    assert applied is not None
    assert applied.verdicts.tolist() == [LEARN] * 2 + [DUPLICATE] * 2 + [CONFLICT] * 2
    assert np.isnan(applied.predictions).tolist() == [False] * 2 + [True] * 4
    assert applied.requests["rows"].tolist() == [2, 2, 2]
    assert (model.examples, model.duplicates, model.metrics.scored) == (2, 2, 2)


def test_a_request_over_several_entries_is_learned_once(seed: int) -> None:
    batch = batch_of(30, seed)
    cuts = [(0, 10), (10, 20), (20, 30)]
    sent = [
        payload_of(batch.slice(a, b), RequestPart(b - a, 0, 77 if a == 0 else 0, 1, a > 0))
        for a, b in cuts
    ]
    model, once = folded(CONFIG, sent), Model(CONFIG)
    once.learn(batch)
    assert model.digest() == once.digest()
    for seq, payload in enumerate(sent, 4):
        applied = model.apply(Position(1, seq), payload)
        assert applied is not None
        assert (applied.verdicts == DUPLICATE).all()
    assert model.digest() == once.digest()
    assert (model.examples, model.duplicates) == (30, 30)


def test_event_ids_are_learned_once(seed: int) -> None:
    batch = batch_of(60, seed, ids=20)
    model = Model(CONFIG)
    learned = int(np.isfinite(model.learn(batch)).sum())
    assert learned == len(set(batch.event_ids.tolist()))
    digest = model.digest()
    assert np.isnan(model.learn(batch)).all()
    assert model.digest() == digest
    assert (model.examples, model.duplicates) == (learned, 120 - learned)


def test_learning_wants_labels() -> None:
    """A label is an index in the metrics' kernel: a missing one would overwrite memory."""
    model = Model(CONFIG)
    batch = ExampleBatch.from_examples([{"features": {"a": "b"}}], require_labels=False)
    with pytest.raises(BadExample, match="label"):
        model.learn(batch)
    assert model.position == START
    assert model.predict(batch)[0] == 0.5


def test_restored_begins_the_figures_anew() -> None:
    model = folded(CONFIG, payloads(1, 4))
    digest = model.digest()
    model.restored(Position(2, 9))
    assert model.position == (2, 9)
    assert model.digest() == digest
    assert model.stats()["log_loss"] is None
    assert model.examples > 0
    assert model.table.dirty(8).tolist() == [0]
    assert (model.deduplication.segment_seqs == 9).all()


def test_a_features_record() -> None:
    model = Model({**CONFIG, **ONE_RATE, "hash_seed": 5})
    examples: list[dict[str, Any]] = [{"label": 1, "features": {"ad": "a9", "price": 2.0}}]
    model.learn(ExampleBatch.from_examples(examples, hash_seed=5))
    ad, price = model.record("ad", "a9"), model.record("price")
    assert price["n"] == 4 * ad["n"] == 1.0
    assert price["weight"] > ad["weight"] > 0
    logit = model.record("price")["weight"] * 2 + ad["weight"]
    logit -= float(model.bias[0] / (1.0 + np.sqrt(model.bias[1])))
    p = model.predict(ExampleBatch.from_examples(examples, hash_seed=5))[0]
    assert p == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-6)
    assert model.record("ad", "never seen")["weight"] == 0.0


def test_no_rows() -> None:
    model = Model(CONFIG)
    assert model.learn(batch_of(0)).size == 0
    assert model.predict(batch_of(0)).size == 0
    assert model.position == (1, 1)


def test_a_window_of_nothing_learns_everything() -> None:
    model = Model({"table_bits": 4, "deduplication_window": 0})
    batch = batch_of(10, ids=2)
    model.learn(batch)
    model.learn(batch)
    assert (model.examples, model.duplicates) == (20, 0)
    assert len(model.state_digest()) == 32


def test_the_reference_fold_reads_a_whole_log() -> None:
    """From the `create` entry on, as the recovery tests use it; what it cannot fold it refuses."""
    model, reference = Model(CONFIG), ExactFold()
    log = [
        encode_control("create", {"config": model.config.to_dict()}),
        *payloads(1, 3, ids=90),
        encode_control("names", {"names": ["ad"]}),
        encode_control("skip", {"seq": 9}),
        *payloads(2, 2, weights=True),
    ]
    for seq, payload in enumerate(log, 1):
        model.apply(Position(1, seq), payload)
        reference.apply(payload)
        assert reference.digest() == model.digest()
    assert (reference.examples, reference.duplicates) == (model.examples, model.duplicates)
    for op in ("configure", "restore", "delete"):
        with pytest.raises(ValueError, match=op):
            reference.apply(encode_control(op, {}))
    with pytest.raises(ValueError, match="damaged"):
        reference.apply(damage(log[1]))
