"""What an older build does when a later one has written to a model that it follows.

The later build is played by entries, a configuration and a manifest made by hand: sealed as they
should be, and of a version that this one does not know. The older build must be not ready for that
model and say so, neither guess nor crash nor checkpoint, leave other models alone, and come back by
itself when the model does.
"""

from __future__ import annotations

import json
import logging
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import replica_owner
from app.errors import Unavailable
from app.event_log import Append, EventLog
from app.hub import Hub
from app.model_index import ModelIndex
from app.redis_keys import ModelKeys
from app.replica import ModelReplica
from ftrl_core import checkpoint
from ftrl_core.config import ModelConfig
from ftrl_core.entry import encode_control, encode_examples, whole_request
from ftrl_core.hashing import xxh64
from ftrl_core.model import Model
from ftrl_core.position import Position
from tests.recovery.harness import SMALL, assert_agree, batch_of, default_of, hub_on, until

LATER = ModelConfig.from_dict(SMALL).to_dict() | {"fold_version": 2}
RANDOM = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_owner, "HEAD_SECONDS", 0.1)


def _resealed(payload: bytes) -> bytes:
    return payload[:-8] + xxh64(payload[:-8]).to_bytes(8, "little")


def _later_format() -> bytes:
    batch = batch_of(RANDOM, 3)
    payload = bytearray(encode_examples(batch, whole_request(batch)))
    payload[4] = 2  # the format version
    return _resealed(bytes(payload))


def _later_operation() -> bytes:
    known = encode_control("names", {"names": ["abcde"]})
    return _resealed(known.replace(b'"op":"names"', b'"op":"merge"'))


LATER_ENTRIES = {
    "an entry's format": _later_format(),
    "an operation": _later_operation(),
    "a fold version": encode_control("configure", {"config": {"fold_version": 2}}),
    "an argument": encode_control("configure", {"config": {"optimizer": {"momentum": 0.5}}}),
}


async def _append(hub: Hub, model: str, payload: bytes) -> Position:
    """As the later build would."""
    log = EventLog(hub.connections, ModelKeys("ctr", model))
    head = await log.head()
    entry = (payload, secrets.token_hex(8))
    append = Append(
        head.incarnation, head.epoch, secrets.token_hex(8), 1, head.position, head.nonce, [entry], 0
    )
    return (await log.append(append)).last


async def _until_outdated(replica: ModelReplica) -> None:
    await until(lambda: replica.state == "outdated", "it stays behind")


@pytest.mark.parametrize("what", LATER_ENTRIES)
async def test_an_entry_of_a_later_version_takes_the_model_out_of_service(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    async with hub_on(redis_url, tmp_path, idle_seconds=0.05) as hub:
        replica = await default_of(hub)
        other, _ = await hub.create("other", SMALL)
        await replica.learn(batch_of(RANDOM, 20))
        await replica.checkpoint()
        commits = await _commits(hub)
        with caplog.at_level(logging.ERROR):
            position = await _append(hub, "default", LATER_ENTRIES[what])
            await _until_outdated(replica)
            ready, body = hub.ready()
            assert not ready
            assert body["models"]["default"]["state"] == "outdated"
            assert f"the entry at {position}" in body["models"]["default"]["detail"]
            assert "a later version of Clickfold is needed" in replica.detail
            for refused in (replica.learn(batch_of(RANDOM, 1)), replica.stats()):
                with pytest.raises(Unavailable):
                    await refused
            with pytest.raises(Unavailable):
                replica.predict(batch_of(RANDOM, 1))
            assert (await other.learn(batch_of(RANDOM, 5))).accepted == 5
            await _append(hub, "default", encode_control("names", {"names": ["more"]}))
            await until(lambda: other._owner.checkpoints.committed_seq >= 2, "others checkpoint")
            assert replica.state == "outdated"
        assert await _commits(hub) == commits
        told = [r for r in caplog.records if "model default" in r.getMessage()]
        assert len(told) == 1, [r.getMessage() for r in told]


async def _commits(hub: Hub) -> int:
    return int(
        await hub.connections.read_command("HGET", ModelKeys("ctr", "default").meta, "commits")
    )


async def test_a_model_made_by_a_later_version_is_left_alone_until_it_is_deleted(
    redis_url: str, tmp_path: Path
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        index = ModelIndex(hub.connections, "ctr")
        incarnation, nonce = secrets.token_hex(8), secrets.token_hex(8)
        create = encode_control("create", {"config": LATER})
        await index.create("ads", incarnation, nonce, create, json.dumps(LATER))
        replica = await hub.get("ads")
        assert replica.state == "outdated"
        assert "fold_version 2" in replica.detail
        assert not hub.ready()[0]
        log = EventLog(hub.connections, ModelKeys("ctr", "ads"))
        head = await log.head()
        await _delete(hub, log, incarnation, head.position, head.nonce)
        await until(lambda: replica.state == "deleted", "the deletion is seen")
        assert hub.ready()[0]
        await hub._remove("ads", incarnation)
        made, new = await hub.create("ads", SMALL)
        assert new
        assert (await made.learn(batch_of(RANDOM, 5))).accepted == 5


async def _delete(
    hub: Hub, log: EventLog, incarnation: str, position: Position, nonce: str
) -> None:
    from app.event_log import DeleteControl

    entry = (encode_control("delete", {}), secrets.token_hex(8))
    await log.append(
        Append(
            incarnation, 1, secrets.token_hex(8), 1, position, nonce, [entry], 0, DeleteControl()
        )
    )


def _of_fold_version_2(manifest: bytes) -> bytes:
    size = int.from_bytes(manifest[4:8], "little")
    text = manifest[8 : 8 + size].replace(b'"fold_version":1', b'"fold_version":2')
    return _resealed(manifest[:8] + text + manifest[8 + size :])


async def test_a_checkpoint_of_a_later_version_is_neither_used_nor_passed_by(
    redis_url: str, tmp_path: Path
) -> None:
    """Nothing older stands in for it: the log after the older one is not all there is to know."""
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        for _ in range(2):
            await one.learn(batch_of(RANDOM, 20))
            await one.checkpoint()
        newest = await one._owner.store.newest()
        assert newest is not None
        key = one._owner.store.keys.manifest(newest.generation)
        await a.connections.write_command("SET", key, _of_fold_version_2(newest.manifest))
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = await b.get("default")
            await _until_outdated(two)
            assert not b.ready()[0]
            await a.connections.write_command("SET", key, newest.manifest)
            await until(two.can_learn, "it loads what it knows")
            await assert_agree(one, two)


async def test_a_restore_to_a_known_version_brings_the_older_build_back(
    redis_url: str, tmp_path: Path
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        later, older = await default_of(a), await default_of(b)
        await later.learn(batch_of(RANDOM, 20))
        snapshot = later.require_model()
        position = await _append(a, "default", LATER_ENTRIES["a fold version"])
        await _until_outdated(older)
        await _until_outdated(later)
        later._owner.follower._skipped.add(position.seq)  # from here on it plays the later build
        later._owner.outdated = None
        await until(lambda: later.state == "live", "the later build goes on")
        restored = await later.restore(snapshot)
        assert older.state == "outdated"
        await later.checkpoint()
        await until(older.can_learn, "the checkpoint past the restore is known")
        assert older.require_model().position.seq >= restored.seq
        await older.learn(batch_of(RANDOM, 5))
        await assert_agree(later, older)


async def test_an_entry_of_a_later_version_that_was_lost_holds_nobody_back(
    redis_url: str, tmp_path: Path
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(RANDOM, 20))
        keys = ModelKeys("ctr", "default")
        before = await hub.connections.read_command("HGETALL", keys.meta)
        position = await _append(hub, "default", LATER_ENTRIES["an operation"])
        await _until_outdated(replica)
        await hub.connections.write_command("XDEL", keys.log, str(position))
        await hub.connections.write_command("HSET", keys.meta, *before)  # an older disk
        await until(replica.can_learn, "it goes on")


@pytest.mark.parametrize("change", [{"table_bits": 11}, {"optimizer": {"beta": -1}}])
async def test_a_change_that_came_too_late_is_no_later_version(
    redis_url: str, tmp_path: Path, change: dict[str, Any]
) -> None:
    """Known and impossible by now: every replica passes over it alike."""
    async with hub_on(redis_url, tmp_path) as hub:
        replica = await default_of(hub)
        position = await _append(hub, "default", encode_control("configure", {"config": change}))
        assert await replica.wait_for(position, 5.0)
        assert replica.can_learn()


async def test_a_version_that_observes_nothing_follows_the_same_model(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoints have no history: who loads one observes from there, and all still agree."""
    async with hub_on(redis_url, tmp_path / "a") as a:
        one = await default_of(a)
        await one.learn(batch_of(RANDOM, 20))
        with monkeypatch.context() as older:
            older.setattr(checkpoint, "observed_text", lambda _: {})
            await one.checkpoint()
        async with hub_on(redis_url, tmp_path / "b") as b:
            two = await b.get("default")
            await until(two.can_learn, "it loads the older version's checkpoint")
            for replica in (one, two, one):
                await replica.learn(batch_of(RANDOM, 5))
            await until(lambda: two.require_model().position == one.require_model().position, "")
            first, second = one.require_model(), two.require_model()
            assert first.state_digest() != second.state_digest()
            for replica in (one, two):  # would raise, and drop the memory
                await replica._owner.agreement.compare(replica.require_model())
            assert one.agreed() == two.agreed()
            assert (one.state, two.state) == ("live", "live")
            await two.checkpoint()
        async with hub_on(redis_url, tmp_path / "c") as c:
            three = await c.get("default")
            await until(three.can_learn, "it loads what the other observed")
            assert three.require_model().state_digest() == second.state_digest()


def test_a_model_without_slices_can_be_read_by_versions_without_them() -> None:
    """Nothing is new in a manifest; the core segment has one more member, which is passed by."""
    assert "slices" not in ModelConfig.from_dict(SMALL).to_dict()
    model = Model(SMALL)
    model.learn(batch_of(RANDOM, 20))
    core = json.loads(checkpoint.state_segments(model)[checkpoint.CORE])
    agreed = json.loads(checkpoint.agreed_segments(model)[checkpoint.CORE])
    assert core == agreed | {"observed": core["observed"]}
    ids, filters = model.deduplication.segment_seqs.size, model.coefficients.admission.segments()
    assert len(checkpoint.state_segments(model)) == checkpoint.IDS + ids + len(filters)
