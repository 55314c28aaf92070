"""The server as a process: starting, being asked too early, hostile bytes, stopping, in order."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.cli.service import Service
from app.server import ServeError, listen

START = "from app.cli.main import main; main()"
READY_SECONDS = 90.0
STOP_SECONDS = 20.0
ONE = {"label": 1, "features": {"ad": "a9"}}
CONFIG = '{"table_bits": 12, "deduplication_window": 4096}'


class Server:
    """A `clickfold serve` process on a free port."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = folder / "data"
        self.log = folder / f"log-{self.port}"
        command = [sys.executable, "-c", START, "serve", "--port", str(self.port)]
        command += ["--data-dir", str(self.data_dir), "--config", CONFIG, *arguments]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def get(self, path: str) -> httpx2.Response:
        """One GET, on a connection of its own."""
        return httpx2.get(self.url + path, timeout=5, trust_env=False)

    def wait(self, path: str = "/readyz", status: int = 200) -> httpx2.Response:
        """Poll until the status is answered."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                reply = self.get(path)
            except httpx2.TransportError:
                time.sleep(0.02)
                continue
            if reply.status_code == status:
                return reply
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Server]:
    """A server that is killed at the end if it still runs."""
    server = Server(folder, *arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


def test_life_of_a_server(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        early = server.wait(status=503).json()
        assert early["ready"] is False
        assert early["doing"]
        server.wait()
        learned = httpx2.post(server.url + "/learn", json=ONE, trust_env=False).json()
        digest = server.get("/stats").json()["digest"]
        while "Ctrl-C stops" not in server.log.read_text():
            time.sleep(0.05)
        assert server.stop() == 0
        log = server.log.read_text()
        assert f"ready: {server.url}" in log
        assert "curl" in log
        assert "stopped" in log
        assert "Traceback" not in log
    with serving(tmp_path) as server:
        server.wait()
        stats = server.get("/stats").json()
        assert (stats["digest"], stats["position"]) == (digest, learned["position"])
        assert server.stop(signal.SIGINT) == 0


def test_too_early_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.wait("/livez").status_code == 200
        reply = httpx2.post(server.url + "/learn", json=ONE, trust_env=False)
        if reply.status_code == 503:  # unless it has started meanwhile
            assert reply.json()["type"] == "/problems/starting"
            assert reply.json()["outcome"] == "not_learned"
            assert reply.headers["retry-after"] == "1"
        assert server.stop() == 0, server.log.read_text()


def test_a_signal_while_starting_ends_it(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        time.sleep(0.4)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 10
        assert "Traceback" not in server.log.read_text()


def test_a_busy_port_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ServeError, match=r"cannot listen on 127\.0\.0\.1 port .* in use"):
            listen("127.0.0.1", other.getsockname()[1])


def test_the_kernel_takes_little_of_a_reply_that_is_not_read() -> None:
    """Otherwise who never reads looks like one that has got everything, and nobody breaks off."""
    piece = bytes(1 << 20)
    with listen("127.0.0.1", 0) as listener, socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            accepted.setblocking(False)
            taken = 0
            with suppress(BlockingIOError):
                while taken < 64 << 20:
                    taken += accepted.send(piece)
            assert taken < 1 << 20


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_addresses(host: str) -> None:
    try:
        listen(host, 0).close()
    except ServeError:
        assert ":" in host  # a machine without IPv6


def test_a_busy_data_directory_names_its_holder(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.wait()
        with serving(tmp_path) as second:
            assert second.process.wait(READY_SECONDS) == 1
            log = second.log.read_text()
            assert f"in use by process {server.process.pid}" in log
            assert "Traceback" not in log
        assert server.get("/readyz").status_code == 200


def test_a_redis_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    with serving(tmp_path, "--redis-url", f"unix://{tmp_path}/nowhere") as server:
        deadline = time.monotonic() + READY_SECONDS
        while "waiting: Redis" not in server.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert server.get("/readyz").status_code == 503
        assert server.get("/livez").status_code == 200
        assert server.stop() == 0


def test_workers_share_the_port(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as server:
        server.wait()
        for _ in range(20):
            reply = httpx2.post(server.url + "/learn", json=ONE, trust_env=False, timeout=20)
            while reply.status_code == 503:  # the other worker still starts
                time.sleep(0.1)
                reply = httpx2.post(server.url + "/learn", json=ONE, trust_env=False, timeout=20)
            assert reply.status_code == 200, reply.text
            path = f"/predict?min_position={reply.json()['position']}"
            seen = httpx2.post(server.url + path, json=ONE, trust_env=False, timeout=20)
            if seen.status_code == 200:
                assert seen.json()["position"] >= reply.json()["position"]
        assert server.stop() == 0, server.log.read_text()


HOSTILE = [
    b"\x00" * 100,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /learn HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /learn HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    b"POST /learn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
    b"POST /learn HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
]


def _exchange(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while part := client.recv(65536):
                received += part
        except ConnectionResetError:
            pass
        return received


def test_hostile_bytes(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.wait()
        before = server.get("/stats").json()["state_digest"]
        for sent in HOSTILE:
            status = _exchange(server.port, sent).split(b" ")[1:2]
            assert not status or status[0][:1] == b"4" or b"websocket" in sent, (sent, status)
        assert server.get("/stats").json()["state_digest"] == before
        assert "Traceback" not in server.log.read_text()


def test_a_reply_is_one_segment(tmp_path: Path) -> None:
    body = json.dumps(ONE).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    request = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
    with serving(tmp_path) as server:
        server.wait()
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
            for _ in range(100):
                client.sendall(request)
                reply = client.recv(65536)
                assert reply.startswith(b"HTTP/1.1 200")
                assert reply.endswith(b"]}")
        headers: dict[str, Any] = dict(server.get("/livez").headers)
        assert "server" not in headers


def test_an_open_stream_does_not_hinder_the_end(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.wait()
        while "Ctrl-C stops" not in server.log.read_text():
            time.sleep(0.05)
        with Service(server.url, None) as service:
            lines = service.lines("/stats/stream")
            assert next(lines)["model"] == "default"
            server.process.send_signal(signal.SIGTERM)
            rest = list(lines)  # ends in order: a broken transfer raises
        assert all(line["model"] == "default" for line in rest)
        assert server.process.wait(STOP_SECONDS) == 0
        assert "Traceback" not in server.log.read_text()
