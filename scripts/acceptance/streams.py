"""What open live streams cost the requests beside them, and whether they leave anything behind.

    .venv/bin/python -m scripts.acceptance.streams [--streams 100] [--rounds 4] [--seconds 4]

One client learns and predicts in turn, one request at a time, while as many streams as asked for
are open, and while none is, in turn. Told are requests a second and the service's own processor
time a request (of /proc, so that the readers' time does not count), medians, and the memory of the
service before and after all rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from scripts.acceptance.service import Service

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


class Streams:
    """Open streams and a thread that reads what they send."""

    def __init__(self, port: int, count: int) -> None:
        self._open = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for one in self._open:
            one.sendall(b"GET /stats/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.bytes = 0
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while not self._stop.wait(0.5):
            for one in self._open:
                one.settimeout(0.001)
                try:
                    self.bytes += len(one.recv(1 << 20))
                except TimeoutError:
                    continue

    def close(self) -> None:
        """Close all."""
        self._stop.set()
        self._reader.join()
        for one in self._open:
            one.close()


def load(service: Service, seconds: float) -> tuple[float, float]:
    """Requests a second, and processor microseconds of the service for each."""
    features = {"site": "a", "hour": "3", "user": "u17", "ad": "a9", "price": 3.5}
    began, spent = time.monotonic(), processor_seconds(service.process.pid)
    count = 0
    while time.monotonic() - began < seconds:
        for path in ("/predict", "/predict", "/predict", "/learn"):
            reply = service.client.post(path, json={"label": count % 2, "features": features})
            assert reply.status_code == 200, reply.text
            count += 1
    spent = processor_seconds(service.process.pid) - spent
    return count / (time.monotonic() - began), 1e6 * spent / count


def measure(streams: int, rounds: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Both ways in turn."""
    found: dict[str, list[tuple[float, float]]] = {"none": [], "open": []}
    with Service(folder / "data") as service:
        load(service, seconds)
        before, received = resident_bytes(service.process.pid), 0
        for _ in range(rounds):
            found["none"].append(load(service, seconds))
            opened = Streams(service.port, streams)
            time.sleep(1.0)
            found["open"].append(load(service, seconds))
            opened.close()
            received += opened.bytes
            time.sleep(0.5)
        after = resident_bytes(service.process.pid)
    rates = {name: statistics.median(rate for rate, _ in runs) for name, runs in found.items()}
    costs = {name: statistics.median(cost for _, cost in runs) for name, runs in found.items()}
    return {
        "streams": streams,
        "requests_a_second": {name: round(rate) for name, rate in rates.items()},
        "processor_us_a_request": {name: round(cost, 1) for name, cost in costs.items()},
        "rate_ratio": round(rates["open"] / rates["none"], 3),
        "processor_ratio": round(costs["open"] / costs["none"], 3),
        "streamed_bytes": received,
        "memory_grown_bytes": after - before,
    }


def main() -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given.streams, given.rounds, given.seconds, Path(folder))
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
