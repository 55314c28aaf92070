"""A checkpoint cut short at every one of its calls: nothing is lost, and nothing stays behind.

Calls to Redis are counted from the beginning of the checkpoint; the n-th and all later ones fail,
either before they are executed (the process died, the network is gone) or after (only the reply
was lost). A fresh replica must load what the first one has, and later checkpoints must clean up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import AppendUnknown, LogError
from app.hub import Hub
from app.redis_connections import Command
from app.redis_keys import ModelKeys
from tests.oracle.streams import ONE_RATE
from tests.recovery.harness import assert_agree, batch_of, default_of, hub_on

KEYS = ModelKeys("ctr", "default")
CONFIG = {**ONE_RATE, "table_bits": 15, "deduplication_window": 64}
PAGES = 8
CALLS = 9  # more than a checkpoint of this size makes


class _Failing:
    """Stands before the write connection of a hub."""

    def __init__(self, hub: Hub, first: int, *, executed: bool) -> None:
        self._write = hub.connections.write_commands
        self._left, self._executed = first, executed

    async def __call__(self, commands: Sequence[Command]) -> list[Any]:
        if self._left > 0:
            self._left -= 1
            return await self._write(commands)
        if self._executed:
            self._executed = False
            await self._write(commands)
        raise AppendUnknown("no reply")


async def _keys(hub: Hub, pattern: str) -> int:
    return len(await hub.connections.read_command("KEYS", pattern))


@pytest.mark.parametrize("executed", [False, True])
async def test_a_checkpoint_that_ends_at_any_call_harms_nothing(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executed: bool
) -> None:
    random = np.random.default_rng(37)
    async with (
        hub_on(redis_url, tmp_path / "a", config=CONFIG) as a,
        hub_on(redis_url, tmp_path / "b", config=CONFIG) as b,
    ):
        one, two = await default_of(a), await default_of(b)
        for first in range(CALLS):
            await one.learn(batch_of(random, 300))
            with monkeypatch.context() as patch:
                failing = _Failing(a, first, executed=executed)
                patch.setattr(a.connections, "write_commands", failing)
                try:
                    await one.checkpoint()
                except LogError:
                    pass
            async with hub_on(redis_url, tmp_path / f"c{first}", config=CONFIG) as c:
                await assert_agree(one, two, await default_of(c))
        for _ in range(3):
            await two.learn(batch_of(random, 300))
            await two.checkpoint()
        assert await _keys(a, "{ctr:default}:page:*") <= 2 * PAGES
        assert await _keys(a, "{ctr:default}:manifest:*") <= 2
        assert await a.connections.read_command("HLEN", KEYS.generations) <= 3
