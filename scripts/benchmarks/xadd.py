"""The limit of durability: the entries that /learn would append, by plain XADD.

    python -m scripts.benchmarks.xadd DATA_DIR

runs the embedded server alone until it is ended, and prints the path of its socket.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from app.embedded_server import EmbeddedServer
from app.ingest import decode_body
from ftrl_core.entry import encode_examples, whole_request


def entries(bodies: list[bytes]) -> list[bytes]:
    """The payload of each JSON body's entry."""
    batches = [decode_body(body, content_type="application/json").batch for body in bodies]
    return [encode_examples(batch, whole_request(batch)) for batch in batches]


def commands(payloads: list[bytes]) -> list[bytes]:
    """XADD of each under one key, with the field that the service's log has."""
    head = b"*5\r\n$4\r\nXADD\r\n$3\r\nlog\r\n$1\r\n*\r\n$1\r\nb\r\n"
    return [head + b"$%d\r\n%b\r\n" % (len(payload), payload) for payload in payloads]


def main() -> None:
    """Serve until SIGTERM."""
    with EmbeddedServer.start(Path(sys.argv[1])) as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        print(server.socket_path, flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
