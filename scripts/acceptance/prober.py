"""Asks one question on a fixed schedule and writes down how late each answer was.

    python -m scripts.acceptance.prober ADDRESS INTERVAL_SECONDS REQUESTS ANSWERS

ADDRESS is a port of this machine or the path of a unix socket; REQUESTS a file as of
scripts.benchmarks.load, taken in turn. With sync:PATH there is nothing to ask: 32 KiB are appended
to the file and synced. Until standard input ends this is done every interval; then ANSWERS gets
float64[n, 2]: the scheduled time (time.monotonic) and the seconds from then to the last byte of the
answer.

Requests are sent on schedule whether or not earlier ones are answered, and delays are counted from
the schedule: when one answer takes a second, all that were due meanwhile are late too. A prober
that waited before it asked again would have seen one slow answer only.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np

from scripts.benchmarks.load import read_requests

SYNC_BYTES = 32 << 10
OK = (b"HTTP/1.1 200", b"+PONG")


def connect(address: str) -> socket.socket:
    """A blocking connection to a port of this machine or a unix socket."""
    if address.isdigit():
        connection = socket.create_connection(("127.0.0.1", int(address)), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(address)
    return connection


class Probes:
    """Requests sent on schedule over one connection, whether or not earlier ones are answered."""

    def __init__(self, connection: socket.socket, requests: list[bytes]) -> None:
        self.answers: list[tuple[float, float]] = []
        self._connection, self._requests = connection, requests
        self._waiting: deque[float] = deque()
        self._sent = 0
        self._buffer = b""

    def send(self, due: float) -> None:
        """The next request, which was due then."""
        self._connection.sendall(self._requests[self._sent % len(self._requests)])
        self._waiting.append(due)
        self._sent += 1

    def receive(self) -> None:
        """Take what has come; an error when an answer is no success."""
        got = self._connection.recv(1 << 16)
        if not got:
            raise SystemExit("the connection was closed")
        self._buffer += got
        while 0 <= (end := _length(self._buffer)) <= len(self._buffer):
            if not self._buffer.startswith(OK):
                raise SystemExit(f"not the answer hoped for: {self._buffer[:200]!r}")
            due = self._waiting.popleft()
            self.answers.append((due, time.monotonic() - due))
            self._buffer = self._buffer[end:]

    def finish(self) -> None:
        """Wait for the answers still to come."""
        while self._waiting:
            self.receive()


def _length(answers: bytes) -> int:
    """Of the first answer; -1 while it cannot be told."""
    if not answers.startswith(b"HTTP"):
        end = answers.find(b"\r\n")
        return end + 2 if end >= 0 else -1
    head, found, _ = answers.partition(b"\r\n\r\n")
    at = head.lower().find(b"content-length:") + 15
    return len(head) + 4 + int(head[at:].split(b"\r\n")[0]) if found else -1


def sync(path: str, interval: float) -> list[tuple[float, float]]:
    """Append to a file and sync it until standard input ends: when, and the seconds it took."""
    taken = []
    with Path(path).open("ab", buffering=0) as file:
        while not select.select([sys.stdin], [], [], interval)[0]:
            started = time.monotonic()
            file.write(os.urandom(SYNC_BYTES))
            os.fsync(file.fileno())
            taken.append((started, time.monotonic() - started))
    return taken


def ask(address: str, interval: float, requests: list[bytes]) -> list[tuple[float, float]]:
    """Ask until standard input ends: when each was due, and the seconds until its answer."""
    connection = connect(address)
    probes = Probes(connection, requests)
    due = time.monotonic()
    while True:
        pause = max(0.0, due - time.monotonic())
        ready = select.select([sys.stdin, connection], [], [], pause)[0]
        if sys.stdin in ready:
            break
        if connection in ready:
            probes.receive()
        while due <= time.monotonic():
            probes.send(due)
            due += interval
    probes.finish()
    return probes.answers


def main() -> None:
    """Do what the head of this file says."""
    address, interval = sys.argv[1], float(sys.argv[2])
    if address.startswith("sync:"):
        answers = sync(address.removeprefix("sync:"), interval)
    else:
        answers = ask(address, interval, read_requests(Path(sys.argv[3])))
    np.array(answers).reshape(-1, 2).tofile(sys.argv[4])


if __name__ == "__main__":
    main()
