"""Workers as processes: who dies is replaced and nobody waits for it, who cannot start says so."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import httpx2

from app.embedded_server import EmbeddedServer
from app.redis_connections import RedisConnections
from tests.app.test_server import ONE, READY_SECONDS, Server, serving

WORKERS = 3


def _workers_of(server: Server) -> set[int]:
    """Pids of the parent's children that serve, from the process table."""
    found = set()
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        children = (task / "children").read_text().split()
        found |= {int(pid) for pid in children if _is_worker(int(pid))}
    return found


def _is_worker(pid: int) -> bool:
    try:
        return b"\0serve\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _until(server: Server, condition: Any, what: str, seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: {server.log.read_text()}"
        time.sleep(0.05)


def _ready_count(server: Server) -> int:
    return len(re.findall(r"worker \d: .*ready: http", server.log.read_text()))


def _answer(server: Server) -> int:
    try:
        return httpx2.post(
            server.url + "/predict", json=ONE, timeout=5, trust_env=False
        ).status_code
    except httpx2.TransportError:
        return 0


def test_a_worker_that_dies_is_replaced_while_the_others_serve(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", str(WORKERS)) as server:
        _until(server, lambda: _ready_count(server) == WORKERS, "all are ready")
        before = _workers_of(server)
        assert len(before) == WORKERS
        one, two, _ = sorted(before)
        os.kill(one, signal.SIGKILL)
        os.kill(two, signal.SIGKILL)
        answers: list[int] = []
        deadline = time.monotonic() + READY_SECONDS
        while _ready_count(server) < WORKERS + 2:
            assert time.monotonic() < deadline, server.log.read_text()
            answers.append(_answer(server))
            time.sleep(0.02)
        assert answers.count(200) > 0
        assert set(answers) <= {200, 503, 0}  # one that starts says so; a killed one's connection
        log = server.log.read_text()
        assert log.count("ended with status -9") == 2
        after = _workers_of(server)
        assert len(after) == WORKERS
        assert not {one, two} & after
        learned = httpx2.post(server.url + "/learn", json=ONE, timeout=20, trust_env=False)
        assert learned.status_code == 200
        assert server.stop() == 0, server.log.read_text()
        assert not any(Path(f"/proc/{pid}").exists() for pid in after)


def test_a_signal_is_not_kept_waiting_by_a_replacement(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as server:
        _until(server, lambda: _ready_count(server) == 2, "both are ready")
        for pid in _workers_of(server):
            os.kill(pid, signal.SIGKILL)
        _until(server, lambda: "ended with status -9" in server.log.read_text(), "it is noticed")
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 10


def test_workers_that_cannot_keep_the_promise_end_the_service(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "redis", "bundled", "everysec") as redis:
        with serving(tmp_path, "--workers", "2", "--redis-url", redis.url) as server:
            assert server.process.wait(READY_SECONDS) == 1
            log = server.log.read_text()
        assert log.count("has appendfsync everysec; always is needed") == 2
        assert "no worker could start" in log
        assert "Traceback" not in log


async def test_one_process_refuses_to_start_too(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "redis", "bundled", "fsync") as redis:
        connections = RedisConnections.from_url(redis.url)
        await connections.write_command("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
        await connections.aclose()
        with serving(tmp_path, "--redis-url", redis.url) as server:
            assert server.process.wait(READY_SECONDS) == 1
            assert "maxmemory-policy allkeys-lfu; noeviction is needed" in server.log.read_text()
