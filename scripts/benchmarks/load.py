"""A closed-loop load generator: connections that each send the next request when answered.

    python -m scripts.benchmarks.load ADDRESS CONNECTIONS SECONDS FILE

ADDRESS is a port of this machine, or the path of a unix socket on which a Redis listens. FILE holds
whole requests, each after its length (uint32, little-endian); connections take them in turn. Prints
one JSON line: requests answered, seconds, latency percentiles in milliseconds, the statuses seen,
and the share of one processor that the generator itself took: near 1 it is the generator that was
measured. Raw asyncio protocols on uvloop: the generator costs less than the server.
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

INCOMPLETE = -1


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


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """A whole HTTP/1.1 request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def http_length(buffer: bytes) -> int:
    """Bytes of the first reply in the buffer; INCOMPLETE while its head is."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return INCOMPLETE
    head = buffer[:end].lower()
    at = head.index(b"content-length:") + 15
    return end + 4 + int(head[at:].split(b"\r\n", 1)[0])


def redis_length(buffer: bytes) -> int:
    """The same of Redis: a short string after its length, a simple string, or an error."""
    end = buffer.find(b"\r\n")
    if end < 0:
        return INCOMPLETE
    return end + 2 + (int(buffer[1:end]) + 2 if buffer[:1] == b"$" else 0)


def http_status(reply: bytes) -> str:
    """The three digits."""
    return reply[9:12].decode()


def redis_status(reply: bytes) -> str:
    """200 for what is no error."""
    return "500" if reply.startswith(b"-") else "200"


class Load:
    """What the connections share."""

    def __init__(self, requests: list[bytes], seconds: float, *, http: bool) -> None:
        self.requests = requests
        self.next = 0
        self.length = http_length if http else redis_length
        self.status = http_status if http else redis_status
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
        self._need = INCOMPLETE
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
            self._need = self._load.length(self._buffer)
        if 0 <= self._need <= len(self._buffer):
            self._load.statuses[self._load.status(self._buffer)] += 1
            self._buffer, self._need = self._buffer[self._need :], INCOMPLETE
            self._load.latencies.append(time.perf_counter() - self._sent)
            self._send()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def run(address: str, connections: int, seconds: float, path: Path) -> dict[str, object]:
    """Send for so many seconds; the figures."""
    loop = asyncio.get_running_loop()
    load = Load(read_requests(path), seconds, http=address.isdigit())
    started, worked = time.perf_counter(), time.process_time()
    futures = [loop.create_future() for _ in range(connections)]
    for future in futures:
        connect = partial(Connection, load, future)
        if address.isdigit():
            await loop.create_connection(connect, "127.0.0.1", int(address))
        else:
            await loop.create_unix_connection(connect, address)
    await asyncio.gather(*futures)
    took = time.perf_counter() - started
    share = (time.process_time() - worked) / took
    milliseconds = np.array(load.latencies) * 1000
    p50, p99, p999 = np.percentile(milliseconds, [50, 99, 99.9]).tolist()
    return {
        "requests": len(load.latencies),
        "seconds": took,
        "per_second": len(load.latencies) / took,
        "p50_ms": p50,
        "p99_ms": p99,
        "p999_ms": p999,
        "generator_share": share,
        "statuses": dict(load.statuses),
    }


if __name__ == "__main__":
    address, connections, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    uvloop.install()
    print(json.dumps(asyncio.run(run(address, connections, seconds, Path(sys.argv[4])))))
