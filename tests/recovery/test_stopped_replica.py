"""A replica process that is stopped while the others learn, checkpoint and trim past it."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from tests.app.test_server import READY_SECONDS, serving
from tests.recovery.harness import Disk, batch_of, default_of, hub_on, state_of


async def test_it_loads_the_newest_checkpoint_and_agrees(disk: Disk, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    async with hub_on(disk.url, tmp_path / "hub") as hub:
        replica = await default_of(hub)
        await replica.learn(batch_of(random, 50))
        with serving(tmp_path, "--redis-url", disk.url) as server:
            server.wait()
            server.process.send_signal(signal.SIGSTOP)
            stopped_at = replica.require_model().position
            for _ in range(3):
                await replica.learn(batch_of(random, 50))
                await replica.checkpoint()
            head = await replica._owner._log.head()
            assert head.trimmed_seq > stopped_at.seq
            server.process.send_signal(signal.SIGCONT)
            position, digest = await state_of(replica)
            stats = _stats_at(server.url, position)
            assert stats["state_digest"] == digest
            assert stats["log_regressions"] == 1
            assert server.stop() == 0


def _stats_at(url: str, position: str) -> dict[str, Any]:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        reply = httpx2.get(url + "/stats", timeout=5, trust_env=False)
        if reply.status_code == 200 and reply.json()["position"] == position:
            stats: dict[str, Any] = reply.json()
            return stats
        time.sleep(0.05)
    raise AssertionError(reply.text)
