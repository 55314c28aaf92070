"""A disk whose fdatasync fails: Redis ends rather than acknowledge, and nothing is lost or doubled.

strace attaches to the running server and makes each further fdatasync fail with EIO. What the
kernel does to the pages of a failed sync is its own affair; here they are kept, so that the batch
of unknown outcome may be in the log or not, and either is right once it was sent again.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from app.errors import Unavailable
from tests.recovery.harness import Disk, assert_agree, batch_of, default_of, hub_on, until

ATTACHED = "attached"


@contextmanager
def failing_syncs(pid: int) -> Iterator[None]:
    """While it lasts, fdatasync and fsync of that process fail."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    calls = "fdatasync,fsync"
    tracer = subprocess.Popen(
        [strace, "-f", "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO", "-p", str(pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if ATTACHED not in said:
            pytest.skip(f"strace may not attach here: {said.strip()}")
        yield
    finally:
        tracer.terminate()
        tracer.communicate()


async def test_a_failed_sync_ends_the_server_and_nothing_is_lost_or_doubled(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(17)
    acknowledged = batch_of(random, 50, first_id=1)
    doubtful = batch_of(random, 50, first_id=51)
    disk = Disk(tmp_path)
    try:
        async with hub_on(disk.url, tmp_path / "a") as hub:
            replica = await default_of(hub)
            assert (await replica.learn(acknowledged, covered=True)).accepted == 50
            with failing_syncs(disk.server.pid):
                with pytest.raises(Unavailable) as refused:
                    await replica.learn(doubtful, covered=True)
                assert refused.value.outcome in ("not_learned", "unknown")
                await until(lambda: not disk.server.is_running(), "the server ends")
            await until(lambda: not replica.can_learn(), "it is noticed")
            replica.predict(batch_of(random, 1))
            disk.server.kill()
            disk.start()
            await until(replica.can_learn, "Redis is back")
            again = await replica.learn(doubtful, covered=True)
            assert again.accepted + again.duplicates == 50
            assert replica.require_model().examples == 100
            assert replica._owner.log_regressions == 0
            async with hub_on(disk.url, tmp_path / "b") as other:
                await assert_agree(replica, await default_of(other))
    finally:
        disk.close()
