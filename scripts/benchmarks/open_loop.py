"""An open-loop load generator: requests at a fixed rate, whether or not earlier ones are answered.

    python -m scripts.benchmarks.open_loop PORT RATE SECONDS FILE [CONNECTIONS]

FILE as of scripts.benchmarks.load. A request takes an idle connection when it is due and else waits
for one; its latency counts from when it was due, so a server that stalls is not asked less. Prints
one JSON line; `answered_share` below 1 says that the server did not keep up.

Plain sockets and select: its timeout is in microseconds, where event loops round to milliseconds,
which is what is measured here.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import Counter, deque
from pathlib import Path

import numpy as np

from scripts.benchmarks.load import http_length, http_status, read_requests

CONNECTIONS = 32
DRAIN_SECONDS = 2.0


class Connection:
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._due = 0.0

    def fileno(self) -> int:
        """For select."""
        return self.socket.fileno()

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that was due then."""
        self._due = due
        self.socket.sendall(request)

    def receive(self) -> tuple[float, str] | None:
        """The latency and the status, once the reply is whole."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise SystemExit("the connection was closed")
        self._buffer += data
        if not 0 <= http_length(self._buffer) <= len(self._buffer):
            return None
        reply, self._buffer = self._buffer, b""
        return time.perf_counter() - self._due, http_status(reply)


def run(
    port: int, rate: float, seconds: float, path: Path, connections: int = CONNECTIONS
) -> dict[str, object]:
    """Ask for so many seconds; the figures."""
    requests, count = read_requests(path), int(rate * seconds)
    idle = [Connection(port) for _ in range(connections)]
    asking: list[Connection] = []
    waiting: deque[float] = deque()
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    began, worked = time.perf_counter(), time.process_time()
    due, number, until = began, 0, began + seconds + DRAIN_SECONDS
    while len(latencies) < count and (now := time.perf_counter()) < until:
        while number < count and due <= now:
            waiting.append(due)
            number += 1
            due = began + number / rate
        while waiting and idle:
            connection = idle.pop()
            connection.ask(requests[number % len(requests)], waiting.popleft())
            asking.append(connection)
        pause = (due if number < count else until) - time.perf_counter()
        for connection in select.select(asking, [], [], max(0.0, pause))[0]:
            if (answer := connection.receive()) is not None:
                latencies.append(answer[0])
                statuses[answer[1]] += 1
                asking.remove(connection)
                idle.append(connection)
    for connection in [*idle, *asking]:
        connection.socket.close()
    p50, p99, p999 = np.percentile(np.array(latencies) * 1000, [50, 99, 99.9]).tolist()
    return {
        "rate": rate,
        "answered_share": len(latencies) / count,
        "p50_ms": p50,
        "p99_ms": p99,
        "p999_ms": p999,
        "generator_share": (time.process_time() - worked) / (time.perf_counter() - began),
        "statuses": dict(statuses),
    }


if __name__ == "__main__":
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    connections = int(sys.argv[5]) if len(sys.argv) > 5 else CONNECTIONS
    print(json.dumps(run(port, rate, seconds, Path(sys.argv[4]), connections)))
