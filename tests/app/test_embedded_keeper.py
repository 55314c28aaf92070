"""A died embedded server comes back on the same socket, with what was acknowledged."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import redis

from app.embedded_keeper import EmbeddedKeeper
from app.embedded_server import EmbeddedServer
from app.starting import Progress


def test_killed_server_is_started_again_with_its_data(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as server:
        keeper = EmbeddedKeeper(server, Progress())
        redis.Redis(unix_socket_path=str(server.socket_path)).set("k", "v")
        url, pid = server.url, server.pid
        os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while server.is_running() and time.monotonic() < until:
            time.sleep(0.01)
        keeper.look()
        assert server.is_running()
        assert server.url == url
        assert server.pid != pid
        assert redis.Redis(unix_socket_path=str(server.socket_path)).get("k") == b"v"


def test_running_server_is_left_alone(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as server:
        pid = server.pid
        EmbeddedKeeper(server, Progress()).look()
        assert server.pid == pid


def test_without_a_server_nothing_is_done() -> None:
    EmbeddedKeeper(None, Progress()).look()
