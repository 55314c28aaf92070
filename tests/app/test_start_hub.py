"""Opening the models at start: a Redis that goes away meanwhile is waited for, a refusal is not."""

from __future__ import annotations

from typing import Any, cast

import pytest

from app import service_thread
from app.errors import AppendUnknown, ForeignKey, LogError, RedisAway, RedisRefused, ServerRefused
from app.hub import Hub
from app.service_thread import start_hub


class FailingHub:
    """Fails with each of `errors` in turn, then starts."""

    def __init__(self, *errors: LogError) -> None:
        self.errors = list(errors)
        self.starts = 0

    async def start(self, _config: dict[str, Any]) -> None:
        self.starts += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_thread, "REDIS_WAIT_SECONDS", 0.0)


async def opened(hub: FailingHub, *, must_end: bool = False) -> list[str]:
    said: list[str] = []
    await start_hub(cast(Hub, hub), {}, said.append, lambda: must_end)
    return said


async def test_a_connection_that_breaks_is_made_again_and_told_once() -> None:
    hub = FailingHub(RedisAway("gone"), AppendUnknown("cut"), RedisAway("gone"))
    assert await opened(hub) == ["waiting: gone"]
    assert hub.starts == 4


@pytest.mark.parametrize("error", [RedisRefused("READONLY"), ForeignKey("not ours")])
async def test_what_waiting_does_not_mend_ends_the_start(error: LogError) -> None:
    hub = FailingHub(error)
    with pytest.raises(ServerRefused, match=r"models cannot be opened"):
        await opened(hub)
    assert hub.starts == 1


async def test_a_service_that_is_told_to_end_does_not_wait() -> None:
    with pytest.raises(ServerRefused, match="gone"):
        await opened(FailingHub(RedisAway("gone")), must_end=True)
