"""Redis' own replication: a service at a replica, at one that is promoted, and at one that lagged.

Replication is asynchronous, so a failover can lose what was acknowledged. Nothing can prevent that
here; it must be noticed by every replica of ours, said, and answered by loading what is left.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from app.embedded_server import EmbeddedServer
from app.errors import Unavailable
from tests.recovery.harness import (
    Disk,
    assert_agree,
    batch_of,
    default_of,
    hub_on,
    state_of,
    until,
)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(47)


def _ask(server: EmbeddedServer, *command: str | int) -> object:
    with Redis(unix_socket_path=str(server.socket_path)) as client:
        return client.execute_command(*command)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def standby(disk: Disk, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that replicates the disk's."""
    port = _free_port()
    _ask(disk.server, "CONFIG", "SET", "port", port)
    with EmbeddedServer.start(tmp_path / "standby", "bundled") as server:
        _ask(server, "REPLICAOF", "127.0.0.1", port)
        yield server


def _in_step(master: EmbeddedServer, standby: EmbeddedServer) -> bool:
    def offset(server: EmbeddedServer) -> object:
        info = _ask(server, "INFO", "replication")
        assert isinstance(info, dict)
        return info["master_repl_offset"] if info.get("master_link_status") != "down" else None

    return offset(master) == offset(standby)


async def test_a_standby_that_lagged_is_promoted(
    disk: Disk, standby: EmbeddedServer, tmp_path: Path, random: np.random.Generator
) -> None:
    master = disk.server
    async with hub_on(disk.url, tmp_path / "a") as a, hub_on(disk.url, tmp_path / "b") as b:
        one, two = await default_of(a), await default_of(b)
        await one.learn(batch_of(random, 30, first_id=1), covered=True)
        kept = await assert_agree(one, two)
        await until(lambda: _in_step(master, standby), "replicated")
        os.kill(standby.pid, signal.SIGSTOP)
        _ask(master, "CLIENT", "KILL", "TYPE", "replica")
        lost = batch_of(random, 30, first_id=1001)
        assert (await one.learn(lost, covered=True)).accepted == 30
        await assert_agree(one, two)
        master.kill()
        os.kill(standby.pid, signal.SIGCONT)
        _ask(standby, "REPLICAOF", "NO", "ONE")
        disk.server = standby
        disk._point()
        for replica in (one, two):
            await until(lambda: replica._owner.log_regressions == 1, "noticed", 5.0)  # noqa: B023
            await until(replica.can_learn, "loaded again")
        assert await assert_agree(one, two) == kept
        assert (await two.learn(lost, covered=True)).accepted == 30
        await assert_agree(one, two)


async def test_a_service_at_a_standby_predicts_and_learns_once_it_is_promoted(
    disk: Disk, standby: EmbeddedServer, tmp_path: Path, random: np.random.Generator
) -> None:
    """As when a name is moved before the promotion: READONLY, and MASTERDOWN when it is told to."""
    master = disk.server
    async with hub_on(disk.url, tmp_path, socket_timeout=1.0) as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 30))
        await until(lambda: _in_step(master, standby), "replicated")
        master.kill()
        disk.server = standby
        disk._point()
        with pytest.raises(Unavailable) as refusal:
            await replica.learn(batch_of(random, 1))
        assert (refusal.value.type_slug, refusal.value.outcome) == ("not-durable", "not_learned")
        assert "role" in refusal.value.detail
        state = await state_of(replica)
        _ask(standby, "CONFIG", "SET", "replica-serve-stale-data", "no")
        await until(lambda: replica.stale_seconds() > 0, "MASTERDOWN is no answer")
        replica.predict(batch_of(random, 1))
        _ask(standby, "CONFIG", "SET", "replica-serve-stale-data", "yes")
        _ask(standby, "REPLICAOF", "NO", "ONE")
        started = time.monotonic()
        await until(replica.can_learn, "promoted")
        assert time.monotonic() - started < 2.0
        assert await state_of(replica) == state
        assert replica._owner.log_regressions == 0
        assert (await replica.learn(batch_of(random, 5))).accepted == 5
