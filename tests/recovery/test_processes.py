"""The service as a process: sockets closed anywhere, a signal under load, too few descriptors,
too little memory. What it acknowledged is there after a restart, and it recovers by itself."""

from __future__ import annotations

import json
import random
import resource
import signal
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.app.test_server import Server, serving
from tests.recovery.harness import Disk

GRACE_SECONDS = 20.0


def body_of(first: int, rows: int = 3) -> dict[str, Any]:
    """Examples whose ids are numbers from `first`."""
    examples = [
        {"id": f"e{n}", "label": n % 2, "features": {"ad": f"a{n % 9}"}}
        for n in range(first, first + rows)
    ]
    return {"examples": examples}


class Journal(threading.Thread):
    """A polite client: one request in flight, ids of its own, what came of each noted."""

    def __init__(self, server: Server, number: int) -> None:
        super().__init__(daemon=True)
        self._url = server.url
        self._next = 1_000_000 * (number + 1)
        self.acknowledged: list[int] = []
        self.unsure: list[int] = []
        self.outcomes: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=30, trust_env=False) as client:
            while not self.stopped.is_set():
                first, self._next = self._next, self._next + 3
                try:
                    reply = client.post("/learn", json=body_of(first))
                except httpx2.ConnectError:
                    return  # it listens no more: nothing was sent
                except httpx2.TransportError:
                    self.unsure.append(first)
                    continue
                if reply.status_code == 200:
                    assert reply.json()["accepted"] == 3
                    self.acknowledged.append(first)
                else:
                    assert reply.status_code == 503, reply.text
                    self.outcomes.append(reply.json()["outcome"])
                    if self.outcomes[-1] == "unknown":
                        self.unsure.append(first)


def _post(server: Server, path: str, body: dict[str, Any]) -> httpx2.Response:
    return httpx2.post(server.url + path, json=body, timeout=30, trust_env=False)


def _examples(server: Server) -> int:
    return int(server.get("/stats").json()["examples"])


def _check_journals(server: Server, journals: list[Journal]) -> None:
    """Every acknowledged event is there, and those unsure at most once."""
    before = _examples(server)
    acknowledged = sum(len(journal.acknowledged) for journal in journals)
    unsure = sum(len(journal.unsure) for journal in journals)
    assert 3 * acknowledged <= before <= 3 * (acknowledged + unsure)
    for journal in journals:
        for first in journal.acknowledged[-5:]:
            assert _post(server, "/learn", body_of(first)).json()["duplicates"] == 3
        for first in journal.unsure:
            assert _post(server, "/learn", body_of(first)).status_code == 200
    assert _examples(server) == 3 * (acknowledged + unsure)


def _descriptors(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def _request(first: int) -> bytes:
    body = json.dumps(body_of(first)).encode()
    head = f"POST /learn HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + body


def _cut_off(server: Server, sent: bytes, reset: bool) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(sent)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_sockets_closed_at_any_byte_then_a_signal_under_load(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    with serving(tmp_path) as server:
        server.wait()
        journals = [Journal(server, number) for number in range(4)]
        for journal in journals:
            journal.start()
        request = _request(1)
        for cut in range(0, len(request), 3):
            _cut_off(server, request[:cut], draw.random() < 0.5)
        _cut_off(server, request, reset=False)  # whole, and nobody waits for the reply
        assert _post(server, "/learn", body_of(1)).status_code == 200
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < GRACE_SECONDS
        for journal in journals:
            journal.join(30)
            assert journal.acknowledged
            assert set(journal.outcomes) <= {"not_learned"}
            assert len(journal.unsure) <= 1, "a connection closed while it was being used"
        log = server.log.read_text()
        assert "Traceback" not in log
        assert "ERROR" not in log
    with serving(tmp_path) as server:
        server.wait()
        acknowledged = Journal(server, 99)
        acknowledged.acknowledged = [1]
        _check_journals(server, [*journals, acknowledged])
        assert server.stop() == 0


def test_a_signal_while_redis_stands_still(disk: Disk, tmp_path: Path) -> None:
    """What was sent is answered as unknown after the timeout of one command, what only waited for
    it as not learned; then the process ends."""
    with serving(tmp_path, "--redis-url", disk.url) as server:
        server.wait()
        assert _post(server, "/learn", body_of(1)).json()["accepted"] == 3
        disk.freeze()
        journals = [Journal(server, number) for number in range(4)]
        for journal in journals:
            journal.start()
        time.sleep(1.5)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < GRACE_SECONDS
        for journal in journals:
            journal.join(30)
            assert not journal.acknowledged
            assert set(journal.outcomes) <= {"not_learned", "unknown"}
            assert len(journal.unsure) - journal.outcomes.count("unknown") <= 1
        assert any(journal.outcomes for journal in journals)
        assert "Traceback" not in server.log.read_text()
        disk.thaw()
    with serving(tmp_path, "--redis-url", disk.url) as server:
        server.wait()
        first = Journal(server, 99)
        first.acknowledged = [1]
        _check_journals(server, [*journals, first])
        assert server.stop() == 0


def test_too_few_descriptors_and_too_little_memory(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.wait()
        pid = server.process.pid
        assert _post(server, "/learn", body_of(1)).json()["accepted"] == 3
        time.sleep(0.5)
        few = _descriptors(server) + 3
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, before[1]))
        waiting = []
        for _ in range(40):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            client.sendall(_request(10))
            waiting.append(client)
        time.sleep(1.0)
        for client in waiting:
            client.close()
        deadline = time.monotonic() + 15
        while server.wait().status_code != 200:
            assert time.monotonic() < deadline
        assert _post(server, "/learn", body_of(10)).status_code == 200
        assert _examples(server) == 6
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        _with_little_memory(server)
        assert _post(server, "/learn", body_of(1)).json()["duplicates"] == 3
        assert _post(server, "/learn", body_of(20)).json()["accepted"] == 3
        assert "unforeseen" not in server.log.read_text()
        assert server.stop(signal.SIGTERM) == 0


def _with_little_memory(server: Server) -> None:
    """Bodies that fit no more: refused with 503, the process lives."""
    pid = server.process.pid
    status = Path(f"/proc/{pid}/status").read_text()
    size = int(status.partition("VmSize:")[2].split()[0]) << 10
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    large = {
        "examples": [{"label": 1, "features": {"text": "x" * 900, "n": n}} for n in range(9000)]
    }
    resource.prlimit(pid, resource.RLIMIT_AS, (size + (4 << 20), before[1]))
    try:
        replies = [_post(server, "/learn", large) for _ in range(3)]
        for reply in replies:
            assert reply.status_code in (200, 503), reply.text
            if reply.status_code == 503:
                assert reply.json()["outcome"] in ("not_learned", "unknown")
            assert _post(server, "/predict", body_of(1)).status_code == 200
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)
