"""The hub: which models there are, made and replaced and deleted, and a Redis that forgot them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from app.errors import Conflict, ModelNotFound, RedisAway, Unavailable
from app.hub import memory_bytes
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadConfig
from ftrl_core.model import Model
from tests.recovery.harness import SMALL, assert_agree, batch_of, default_of, hub_on, until


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(13)


async def test_default_is_made_in_a_new_place_and_found_again(
    redis_url: str, tmp_path: Path
) -> None:
    async with hub_on(redis_url, tmp_path, config={"table_bits": 9}) as hub:
        incarnation = (await default_of(hub)).incarnation
        assert await hub.names() == ["default"]
        assert hub.ready()[1]["learn"]
    async with hub_on(redis_url, tmp_path, config={"table_bits": 10}) as hub:
        replica = await default_of(hub)
        assert replica.incarnation == incarnation
        assert replica.require_model().config.table_bits == 9


async def test_making_the_same_model_twice_finds_it(redis_url: str, tmp_path: Path) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        first, made = await hub.create("m", SMALL)
        again, made_again = await hub.create("m", SMALL)
        assert (made, made_again) == (True, False)
        assert again is first
        with pytest.raises(BadConfig):
            await hub.create("n", {"table_bits": 99})


async def test_a_model_that_learned_nothing_is_replaced_and_one_that_did_is_not(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        empty, _ = await hub.create("m", SMALL)
        replaced, made = await hub.create("m", {**SMALL, "table_bits": 11})
        assert made
        assert replaced.incarnation != empty.incarnation
        await replaced.learn(batch_of(random, 1))
        with pytest.raises(Conflict):
            await hub.create("m", SMALL)
        same, made = await hub.create("m", {**SMALL, "table_bits": 11})
        assert (same, made) == (replaced, False)


async def test_a_model_whose_deleter_died_can_be_made_again_at_once(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        doomed, _ = await hub.create("m", SMALL)
        await doomed.learn(batch_of(random, 1))
        await doomed.append_delete()
    async with hub_on(redis_url, tmp_path) as hub:
        made, is_new = await hub.create("m", SMALL)
        assert is_new
        assert made.incarnation != doomed.incarnation
        assert made.require_model().examples == 0


async def test_a_model_deleted_elsewhere_a_moment_ago_is_made_again(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """Who has not heard of the deletion yet must not say that the model is there."""
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        doomed, _ = await a.create("m", SMALL)
        await doomed.learn(batch_of(random, 1))
        await b.get("m")
        await doomed.append_delete()
        made, is_new = await b.create("m", SMALL)
        assert is_new
        assert made.incarnation != doomed.incarnation
        await made.learn(batch_of(random, 1))


async def test_two_hubs_making_one_model_at_once_agree_on_who_made_it(
    redis_url: str, tmp_path: Path
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        for round_ in range(5):
            name = f"m{round_}"
            (one, made_a), (two, made_b) = await asyncio.gather(
                a.create(name, SMALL), b.create(name, SMALL)
            )
            assert (made_a, made_b) in [(True, False), (False, True)]
            assert one.incarnation == two.incarnation


async def test_a_model_made_from_a_snapshot_has_its_weights(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    snapshot = Model({"table_bits": 11, "deduplication_window": 64})
    snapshot.learn(batch_of(random, 50))
    digest = snapshot.digest()
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        made, _ = await a.create("copy", {}, from_model=snapshot)
        assert made.require_model().digest() == digest
        with pytest.raises(Conflict):
            await a.create("copy", {}, from_model=snapshot)
        other = await b.get("copy")
        await assert_agree(made, other)


async def test_only_named_models_are_hosted(redis_url: str, tmp_path: Path) -> None:
    async with (
        hub_on(redis_url, tmp_path / "a") as a,
        hub_on(redis_url, tmp_path / "b", models="shop-*") as b,
    ):
        await a.create("shop-1", SMALL)
        await a.create("news", SMALL)
        assert (await b.get("shop-1")).model is not None
        assert await b.names() == ["shop-1"]
        for name in ("news", "default"):
            with pytest.raises(ModelNotFound):
                await b.get(name)
        with pytest.raises(Conflict):
            await b.create("news", SMALL)


async def test_a_model_over_the_memory_limit_is_not_loaded(redis_url: str, tmp_path: Path) -> None:
    config = {"table_bits": 16, "deduplication_window": 64}
    limit = 2 * memory_bytes(ModelConfig.from_dict(config)) - 1
    async with (
        hub_on(redis_url, tmp_path / "a") as a,
        hub_on(redis_url, tmp_path / "b", memory_limit=limit, models="m*") as b,
    ):
        await a.create("m1", config)
        await a.create("m2", config)
        assert (await b.get("m1")).model is not None
        with pytest.raises(Unavailable) as refusal:
            await b.get("m2")
        assert refusal.value.type_slug == "memory-limit"
        assert str(limit) in refusal.value.detail


async def test_redis_found_empty_at_start_is_an_alarm_and_not_a_new_model(
    redis_url: str, tmp_path: Path
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        await hub.connections.write_command("FLUSHALL")
    async with hub_on(redis_url, tmp_path) as hub:
        ready, body = hub.ready()
        assert not ready
        assert "models.json" in body["detail"]
        for name in ("default", "other"):
            with pytest.raises(Unavailable):
                await hub.get(name)
            with pytest.raises(Unavailable):
                await hub.create(name, SMALL)
        assert await hub.connections.read_command("DBSIZE") == 0


async def test_redis_emptied_under_a_running_hub_is_an_alarm(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    async with hub_on(redis_url, tmp_path, idle_seconds=0.1) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 5))
        await hub.connections.write_command("FLUSHALL")
        await until(lambda: not hub.ready()[0], "not ready", 3.0)
        for name in ("default", "other"):
            with pytest.raises(Unavailable):
                await hub.create(name, SMALL)
        with pytest.raises(Unavailable):
            await replica.learn(batch_of(random, 5))
        await asyncio.sleep(0.3)  # time for an idle checkpoint, were there one
        assert await hub.connections.read_command("DBSIZE") == 0


async def test_deleting_what_is_not_there_says_so(redis_url: str, tmp_path: Path) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        with pytest.raises(ModelNotFound):
            await hub.delete("nothing")
        await hub.create("m", SMALL)
        await hub.delete("m")
        with pytest.raises(ModelNotFound):
            await hub.delete("m")
        left = await hub.connections.read_command("KEYS", "{ctr:m}*")
        assert left == []


async def test_a_deletion_cut_short_is_finished_by_who_comes_next(
    redis_url: str, tmp_path: Path, random: np.random.Generator
) -> None:
    """The process that deleted died after its entry was appended."""
    async with hub_on(redis_url, tmp_path / "a") as a, hub_on(redis_url, tmp_path / "b") as b:
        one, _ = await a.create("m", SMALL)
        two = await b.get("m")
        await one.learn(batch_of(random, 5))
        await one.checkpoint()
        await one.append_delete()
        await until(lambda: two.state == "deleted", "the entry is folded")
        with pytest.raises(ModelNotFound):
            await b.get("m")
        assert await a.connections.read_command("KEYS", "{ctr:m}*") == []
        made, new = await b.create("m", SMALL)
        assert new
        assert made.require_model().examples == 0


async def test_deleting_again_removes_what_an_interrupted_call_left(
    redis_url: str, tmp_path: Path, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hub_on(redis_url, tmp_path) as hub:
        replica, _ = await hub.create("m", SMALL)
        await replica.learn(batch_of(random, 5))

        async def interrupted(*_: object) -> None:
            raise RedisAway("the connection is gone")

        with monkeypatch.context() as patch:
            patch.setattr(hub._index, "finish_delete", interrupted)
            with pytest.raises(RedisAway):
                await hub.delete("m")
        left = await hub.connections.read_command("KEYS", "{ctr:m}:*")
        assert left
        with pytest.raises(ModelNotFound):
            await hub.delete("m")
        assert await hub.connections.read_command("KEYS", "{ctr:m}:*") == []


async def test_a_damaged_configuration_in_meta_is_said_and_not_a_failure(
    redis_url: str, tmp_path: Path
) -> None:
    async with hub_on(redis_url, tmp_path / "a") as hub:
        await hub.create("m", SMALL)
        for damaged in (b"{", b"\xff"):
            meta = "{ctr:m}:meta"
            await hub.connections.write_command("HSET", meta, "configuration", damaged)
            async with hub_on(redis_url, tmp_path / "b") as other:
                with pytest.raises(Unavailable, match="damaged"):
                    await other.get("m")
