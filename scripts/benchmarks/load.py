"""A closed-loop load generator: connections that each send the next request when answered.

    python -m scripts.benchmarks.load PORT CONNECTIONS SECONDS FILE

FILE holds whole HTTP requests, each after its length (uint32, little-endian); connections take
them in turn. Prints one JSON line: requests answered, seconds, latency percentiles in milliseconds
and the statuses seen. Raw asyncio protocols on uvloop: the generator costs less than the server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import uvloop


def write_requests(path: Path, requests: list[bytes]) -> None:
    """Store requests for the generator."""
    path.write_bytes(b"".join(len(r).to_bytes(4, "little") + r for r in requests))


def read_requests(path: Path) -> list[bytes]:
    """The requests of a file."""
    content, requests, at = path.read_bytes(), [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "little")
        requests.append(content[at + 4 : at + 4 + size])
        at += 4 + size
    return requests


def post(path: str, body: bytes) -> bytes:
    """A whole HTTP/1.1 request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Load:
    """What the connections share."""

    def __init__(self, requests: list[bytes], seconds: float) -> None:
        self.requests = requests
        self.next = 0
        self.until = time.perf_counter() + seconds
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()

    def take(self) -> bytes:
        """The next request, from the beginning again after the last."""
        self.next += 1
        return self.requests[(self.next - 1) % len(self.requests)]


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight."""

    def __init__(self, load: Load, done: asyncio.Future[None]) -> None:
        self._load = load
        self._done = done
        self._buffer = b""
        self._need = -1
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        if self._sent > self._load.until:
            self._transport.close()
            return
        self._transport.write(self._load.take())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._need < 0:
            self._read_head()
        if 0 <= self._need <= len(self._buffer):
            self._buffer, self._need = self._buffer[self._need :], -1
            self._load.latencies.append(time.perf_counter() - self._sent)
            self._send()

    def _read_head(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        self._load.statuses[head[9:12].decode()] += 1
        at = head.index(b"content-length:") + 15
        self._need = end + 4 + int(head[at:].split(b"\r\n", 1)[0])

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def run(port: int, connections: int, seconds: float, path: Path) -> dict[str, object]:
    """Send for so many seconds; the figures."""
    loop = asyncio.get_running_loop()
    load = Load(read_requests(path), seconds)
    started = time.perf_counter()
    futures = [loop.create_future() for _ in range(connections)]
    for future in futures:
        await loop.create_connection(partial(Connection, load, future), "127.0.0.1", port)
    await asyncio.gather(*futures)
    took = time.perf_counter() - started
    milliseconds = np.array(load.latencies) * 1000
    p50, p99 = np.percentile(milliseconds, [50, 99]).tolist()
    return {
        "requests": len(load.latencies),
        "seconds": took,
        "per_second": len(load.latencies) / took,
        "p50_ms": p50,
        "p99_ms": p99,
        "statuses": dict(load.statuses),
    }


if __name__ == "__main__":
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    uvloop.install()
    print(json.dumps(asyncio.run(run(port, connections, seconds, Path(sys.argv[4])))))
