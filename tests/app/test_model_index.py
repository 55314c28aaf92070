"""Making models: every crash between meta and row, late commands, and foreign keys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.errors import ForeignKey, ModelExists, ModelGone
from app.event_log import DeleteControl
from app.model_index import ModelIndex, ModelRow
from app.redis_keys import ModelKeys
from tests.app.model_in_redis import ModelInRedis, draw, opened

pytestmark = pytest.mark.compat


@pytest.fixture
async def model(redis_url: str) -> AsyncIterator[ModelInRedis]:
    async with opened(redis_url) as made:
        yield made


async def test_making_a_model_twice(model: ModelInRedis) -> None:
    """The same call again is fine, another incarnation is told whose the name is."""
    created = (await model.log.head()).created_ms
    arguments = (model.incarnation, draw(), b"create", "{}")
    assert await model.index.create("m", *arguments) == created
    with pytest.raises(ModelExists) as error:
        await model.index.create("m", draw(), draw(), b"create", "{}")
    assert (error.value.incarnation, error.value.deleting) == (model.incarnation, False)
    assert await model.index.rows() == {"m": ModelRow(model.incarnation, deleted=False)}
    assert await model.ask("XLEN", model.keys.log) == 1


async def test_an_empty_redis_has_no_models(model: ModelInRedis) -> None:
    empty = ModelIndex(model.connections, "other")
    assert not await empty.exists()
    assert await empty.rows() == {}
    assert await model.index.exists()
    with pytest.raises(ModelGone):
        await empty.adopt("m")


async def test_a_maker_that_died_before_the_row(model: ModelInRedis) -> None:
    await model.ask("DEL", "ctr:models")
    with pytest.raises(ModelExists):
        await model.index.create("m", draw(), draw(), b"create", "{}")
    for _ in range(2):
        await model.index.adopt("m")
        assert await model.index.rows() == {"m": ModelRow(model.incarnation, deleted=False)}


async def test_a_late_row_changes_nothing(model: ModelInRedis) -> None:
    """The row of a maker that slept while its model was deleted and made again."""
    await model.append(b"delete", control=DeleteControl())
    for _ in range(2):
        await model.index.bury("m", model.incarnation)
    await model.index.finish_delete("m", model.incarnation)
    again = ModelInRedis(model.connections, model.keys)
    await again.create()
    await model.index._set_row("m", "", model.incarnation)
    await model.index._set_row("m", f"deleted:{draw()}", model.incarnation)
    await model.index.bury("m", model.incarnation)
    assert await model.index.rows() == {"m": ModelRow(again.incarnation, deleted=False)}


async def test_a_living_model_is_not_buried(model: ModelInRedis) -> None:
    await model.index.bury("m", model.incarnation)
    assert await model.index.rows() == {"m": ModelRow(model.incarnation, deleted=False)}


@pytest.mark.parametrize("key", ["log", "producers", "generations"])
async def test_keys_without_a_meta_are_foreign(model: ModelInRedis, key: str) -> None:
    """A meta that was lost is an alarm, not a new model."""
    keys = ModelKeys("ctr", "other")
    await model.ask("SET", getattr(keys, key), "x")
    with pytest.raises(ForeignKey, match="without its meta"):
        await model.index.create("other", draw(), draw(), b"create", "{}")
