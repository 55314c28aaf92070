"""A body of a gigabyte, told or not, and a small one that becomes a gigabyte: are they refused?

    python -m scripts.acceptance.giant_bodies --megabytes 1000

Three requests to learn, sent by plain sockets as fast as they are taken: with Content-Length, in
chunks without it, and compressed a thousandfold. Each must be answered 413, the first before its
body; the service's memory may grow by one body and one decompressed body at most; nothing is
learned. Then `clickfold learn` is given a file of that size, whose batches are larger than a body
may be, and has to get it learned by itself.

Prints one JSON line; ends with 0 when all of this held.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.settings import DEFAULT_LIMITS
from scripts.acceptance.service import COMMAND, Service

PIECE = 1 << 20
HEAD = b"POST /learn HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
LINE = json.dumps({"label": 1, "features": {f"f{n}": "x" * 1000 for n in range(40)}}).encode()


def told(megabytes: int) -> Iterator[bytes]:
    """A body whose length is told."""
    yield HEAD + b"Content-Length: %d\r\n\r\n" % (megabytes * PIECE)
    for _ in range(megabytes):
        yield b" " * PIECE


def chunked(megabytes: int) -> Iterator[bytes]:
    """A body in chunks, of which nobody knows how many there will be."""
    yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    for _ in range(megabytes):
        yield b"%x\r\n%b\r\n" % (PIECE, b" " * PIECE)
    yield b"0\r\n\r\n"


def bomb(megabytes: int) -> Iterator[bytes]:
    """A body that is a thousandth of what it becomes."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(deflate.compress(b" " * PIECE) for _ in range(megabytes)) + deflate.flush()
    yield HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    yield body


def answer(port: int, pieces: Iterator[bytes]) -> tuple[bytes, int]:
    """Send until an answer comes: it, and the bytes sent until then."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.settimeout(60)
        for piece in pieces:
            try:
                connection.sendall(piece)
                sent += len(piece)
                connection.settimeout(0.0005)
                reply = connection.recv(1 << 16)
            except (TimeoutError, BlockingIOError):
                connection.settimeout(60)
            except ConnectionError:
                return b"", sent
            else:
                return reply, sent
        connection.settimeout(60)
        return connection.recv(1 << 16), sent


def swallowed(port: int, pieces: Iterator[bytes]) -> int:
    """Send on whatever is answered, as a client that reads later: the bytes that were taken."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except ConnectionError:
                break
            sent += len(piece)
    return sent


def peak(pid: int) -> int:
    """Bytes that a process has had resident at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measure(megabytes: int, folder: Path, **environment: str) -> dict[str, Any]:
    """Everything that the head of this file says."""
    report: dict[str, Any] = {"megabytes": megabytes}
    with Service(folder / "data", CLICKFOLD_CONFIG='{"table_bits": 18}', **environment) as service:
        before = service.json("GET", "/stats")["state_digest"]
        pid, port = service.process.pid, service.port
        most = peak(pid)
        for make in (told, chunked, bomb):
            reply, sent = answer(port, make(megabytes))
            status = reply[9:12].decode()
            report[make.__name__] = {"status": status, "sent_mb": round(sent / 1e6, 1)}
        report["swallowed_mb"] = round(swallowed(port, chunked(megabytes)) / 1e6, 1)
        report["grown_mb"] = round((peak(pid) - most) / 1e6, 1)
        report["nothing_learned"] = service.json("GET", "/stats")["state_digest"] == before
        report["learn"] = learned(service, megabytes, folder)
    return report


def learned(service: Service, megabytes: int, folder: Path) -> dict[str, Any]:
    """`clickfold learn` with a file of that size: what came of it."""
    file = folder / "large.ndjson"
    count = megabytes * PIECE // (len(LINE) + 1)
    with file.open("wb") as out:
        out.writelines(LINE + b"\n" for _ in range(count))
    url = f"http://127.0.0.1:{service.port}"
    done = subprocess.run(
        [str(COMMAND), "learn", str(file), "--url", url], check=False, capture_output=True
    )
    return {
        "examples": count,
        "batch_mb": round(1000 * len(LINE) / 1e6, 1),
        "exit_status": done.returncode,
        "learned": service.json("GET", "/stats")["examples"],
    }


def is_met(report: dict[str, Any], body_bytes: int, decompressed_bytes: int) -> bool:
    """Whether all of it held."""
    three = [report[name] for name in ("told", "chunked", "bomb")]
    room = (2 * body_bytes + decompressed_bytes) / 1e6 + 32
    return (
        [one["status"] for one in three] == ["413"] * 3
        and three[0]["sent_mb"] < 16
        and report["grown_mb"] <= room
        and report["nothing_learned"]
        and report["learn"]["exit_status"] == 0
        and report["learn"]["learned"] == report["learn"]["examples"]
    )


def main() -> int:
    """Do what the head of this file says."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--megabytes", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clickfold-giant-") as folder:
        report = measure(given.megabytes, Path(folder))
    limits = DEFAULT_LIMITS
    report["met"] = is_met(report, limits.body_bytes, limits.decompressed_bytes)
    print(json.dumps(report))
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
