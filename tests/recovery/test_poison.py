"""Entries with a right checksum and chain that no service of this version would have written.

Whatever they hold, a replica stays before them: it predicts, refuses to learn, names the position,
and goes on when the operator skips it. It never folds half of one, never reloads without end, and
every replica decides alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import Unavailable
from app.event_log import SkipControl
from app.replica import ModelReplica
from ftrl_core import entry as entries
from ftrl_core.entry import encode_control, encode_examples, whole_request
from ftrl_core.hashing import xxh64
from ftrl_core.position import Position
from tests.recovery.harness import append_raw, assert_agree, batch_of, default_of, hub_on, until


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(43)


def _sealed_again(payload: bytes, offset: int, value: int) -> bytes:
    """The payload with one byte changed and a checksum that fits."""
    changed = bytearray(payload)
    changed[offset] = value
    changed[-8:] = xxh64(memoryview(bytes(changed))[:-8]).to_bytes(8, "little")
    return bytes(changed)


def _examples(**fields: Any) -> bytes:
    batch = batch_of(np.random.default_rng(1), 3)
    return encode_examples(replace(batch, **fields), whole_request(batch))


def _numbers(value: float) -> bytes:
    batch = batch_of(np.random.default_rng(1), 3)
    return _examples(values=np.full_like(batch.values, value))


def _labels(label: int) -> bytes:
    return _examples(labels=np.full(3, label, np.uint8))


def _weights(weight: float) -> bytes:
    return _examples(weights=np.full(3, weight, np.float32))


def _raw_control(document: bytes) -> bytes:
    counts = (len(document), 0, 0, 0, 0, 0)
    return entries._sealed(entries.CONTROL, 0, counts, document)


def _continues() -> bytes:
    """A request's second part, though nothing came before that it could continue."""
    batch = batch_of(np.random.default_rng(1), 3)
    part = entries.RequestPart(3, 0, 7, 7, continues=True)
    return encode_examples(batch, entries.request_table([part]))


# What a later version may have written is no poison: tests/app/test_rolling_upgrade.py.
POISON: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "not a payload": lambda: b"hello" * 20,
    "more rows than there are": lambda: _sealed_again(_examples(), 12, 200),
    "an infinite value": lambda: _numbers(float("inf")),
    "a value that is no number": lambda: _numbers(float("nan")),
    "a value beyond the limit": lambda: _numbers(1e30),
    "a negative weight": lambda: _weights(-1.0),
    "a weight that is no number": lambda: _weights(float("nan")),
    "a label of 7": lambda: _labels(7),
    "no operation": lambda: _raw_control(b"{}"),
    "no JSON": lambda: _raw_control(b"\xff\xfe"),
    "a list": lambda: _raw_control(b"[]"),
    "deep JSON": lambda: _raw_control(b"[" * 100_000 + b"]" * 100_000),
    "a restore of nothing": lambda: encode_control("restore", {"generation": "9-" + "0" * 16}),
    "a restore of a strange name": lambda: encode_control("restore", {"generation": "\n* x"}),
    "a skip of what cannot be": lambda: encode_control("skip", {"seq": -1}),
    "a second create": lambda: encode_control("create", {"config": {}}),
    "a skip that begins no epoch": lambda: encode_control("skip", {"seq": 1_000_000}),
    "names that are no text": lambda: encode_control("names", {"names": ["\ud800", ""]}),
}
# Readable, and asking for what cannot be: every replica makes nothing of them.
EMPTY: dict[str, tuple[str, dict[str, Any]]] = {
    "a configuration out of range": ("configure", {"config": {"table_bits": 99}}),
    "a smaller table": ("configure", {"config": {"table_bits": 9}}),
    "an optimizer that is a list": ("configure", {"config": {"optimizer": []}}),
    "a rate that is a list of lists": ("configure", {"config": {"optimizer": {"beta": [[]]}}}),
    "a skip of the future": ("skip", {"seq": 1_000_000}),
}


async def test_an_entry_of_another_kind_stops_learning_until_it_is_skipped(
    redis_url: str,
    tmp_path: Path,
    random: np.random.Generator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        replicas = [await default_of(a), await default_of(b)]
        for number, (what, payload) in enumerate(POISON.items()):
            await replicas[0].learn(batch_of(random, 20))
            await assert_agree(*replicas)
            position = await append_raw(a, replicas[0], payload())
            stay = partial(_all_stuck, replicas, position)
            await until(stay, f"{what}: both stay")
            for replica in replicas:
                await _predicts_and_refuses(replica, 20 * (number + 1))
            await replicas[1].skip(position)
            await until(lambda: all(r.can_learn() for r in replicas), f"{what}: both go on")
        await replicas[0].learn(batch_of(random, 20))
        await assert_agree(*replicas)
        assert not [r for r in caplog.records if r.exc_info], "expected, so no trace"
        for replica in replicas:  # loaded again once for each
            assert replica._owner.log_regressions == len(POISON)
        async with hub_on(redis_url, tmp_path / "c") as c:  # which finds all of them skipped
            late = await default_of(c)
            await assert_agree(replicas[0], late)
            assert late._owner.log_regressions == 0


def _all_stuck(replicas: list[ModelReplica], before: Position) -> bool:
    return all(r.state == "stuck" and str(before) in r.detail for r in replicas)


async def _predicts_and_refuses(replica: ModelReplica, examples: int) -> None:
    assert replica.require_model().examples == examples
    batch = batch_of(np.random.default_rng(1), 1)
    replica.predict(batch)
    with pytest.raises(Unavailable) as refusal:
        await replica.learn(batch)
    assert refusal.value.outcome == "not_learned"


async def test_a_control_entry_that_asks_for_what_cannot_be_changes_nothing(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        await one.learn(batch_of(random, 20))
        await assert_agree(one, two)
        digest = one.require_model().digest()
        for what, (op, fields) in EMPTY.items():
            control = SkipControl(fields["seq"]) if op == "skip" else None
            position = await append_raw(a, one, encode_control(op, fields), control)
            for replica in (one, two):
                assert await replica.wait_for(position, 5.0), (what, replica.detail)
                assert replica.require_model().digest() == digest, what
                assert replica._owner.log_regressions == 0, what
        await one.learn(batch_of(random, 20))
        await assert_agree(one, two)
        async with hub_on(redis_url, tmp_path / "c") as c:
            await assert_agree(one, await default_of(c))


async def test_a_skip_of_what_a_checkpoint_holds_can_be_skipped_itself(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Nobody can give the entry up any more; loading again for ever would not help."""
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        old = (await replica.learn(batch_of(random, 20))).position
        await replica.learn(batch_of(random, 20))
        await replica.checkpoint()
        digest = replica.require_model().digest()
        position = await append_raw(hub, replica, encode_control("skip", {"seq": old.seq}))
        await until(lambda: replica.state == "stuck", "it stays before it", 8.0)
        await replica.skip(position)
        await until(replica.can_learn, "it goes on", 5.0)
        assert replica.require_model().digest() == digest
