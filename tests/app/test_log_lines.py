"""Log lines: nobody who sends something writes in them."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import time
from pathlib import Path

import httpx2
import pytest

from app.log_lines import JsonLines, TextLines, one_line
from tests.app.test_server import serving

HOSTILE = [
    "two\nlines",
    "a\r\nclickfold ERROR forged: all is lost",
    "\x1b[2Jgone\x1b[31m",
    "\x00\x07\x7f\x9b",
    "\u2028\u2029\u202e\ufeff",
    "half \ud800",
    '"}, {"level": "error"',
    "%s %d %(name)s",
]


def record(text: str) -> logging.LogRecord:
    """A record with hostile text in its message, its exception and the exception's notes."""
    try:
        raise ValueError(text)
    except ValueError as error:
        error.add_note(text)
        information = sys.exc_info()
    name = "clickfold.http"
    return logging.LogRecord(name, logging.ERROR, __file__, 1, "%s!", (text,), information)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_record_is_a_line_and_marked_ones(text: str) -> None:
    first, *trace = TextLines().format(record(text)).split("\n")
    assert first == f"clickfold ERROR clickfold.http: {one_line(text)}!"
    assert trace
    assert all(line.startswith("  | ") and line.isprintable() for line in trace)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_record_is_one_json_object(text: str) -> None:
    line = JsonLines().format(record(text))
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert found["message"] == f"{text}!"
    assert found["level"] == "error"
    assert found["trace"][0].startswith("Traceback")
    assert found["time"].endswith("Z")


SECRET = "the-secret-key-0123456789"
MARK = "INJECTED"


def hostile_requests() -> list[bytes]:
    """Requests with a mark, newlines and escapes wherever a client may write something."""
    evil = f"{MARK}\\nclickfold ERROR x: {MARK}\\u001b[31m"
    body = json.dumps({"id": f"{MARK}\nx\x1b", "label": 7, "features": {f"{MARK}\n": "x"}}).encode()
    late = f'{{"examples":[{{"id":"{evil}","label":1,"features":{{"a":"{evil}"}}}}]}}'.encode()
    kind = "Content-Type: application/json\r\n"
    keyed = f"Authorization: Bearer {SECRET}\r\nHost: localhost"
    made = [
        f"GET /{MARK}%0aforged%1b[31m HTTP/1.1\r\n{keyed}\r\n\r\n",
        f"GET /models/{MARK}%0a/stats HTTP/1.1\r\n{keyed}\r\n\r\n",
        f"GET /stats?{MARK}=%0a HTTP/1.1\r\n{keyed}\r\n\r\n",
        f"GET /stats HTTP/1.1\r\n{keyed}\r\nX-{MARK}: \x1b[31m\t{MARK}\r\n\r\n",
        f"GET /stats HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MARK}\x1b{SECRET}x\r\n\r\n",
        f"{MARK} /stats HTTP/1.1\r\n{keyed}\r\n\r\n",
        f"PUT /models/{MARK} HTTP/1.1\r\n{keyed}\r\n{kind}Content-Length: 2\r\n\r\n{{}}",
        f"\x16\x03{MARK}\n{MARK}\r\n\r\n",
        f"GET /stats HTTP/1.1\r\n{keyed}\r\nUpgrade: {MARK}\r\nConnection: upgrade\r\n\r\n",
    ]
    learn = f"POST /learn HTTP/1.1\r\n{keyed}\r\n{kind}Idempotency-Key: {MARK}\r\n"
    made += [
        f"{learn}Content-Length: {len(content)}\r\n\r\n{content.decode()}"
        for content in (body, late, f'{{"{MARK}'.encode())
    ]
    return [text.encode("latin-1") for text in made]


def test_a_service_says_nothing_that_was_sent_and_stops_beside_slow_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKFOLD_KEYS", f"ops admin,learn,predict {SECRET}")
    monkeypatch.setenv("CLICKFOLD_LOG_FORMAT", "json")
    with serving(tmp_path) as server:
        server.wait()
        address = ("127.0.0.1", server.port)
        for sent in hostile_requests():
            with socket.create_connection(address, timeout=10) as connection:
                connection.sendall(sent)
                reply = connection.recv(1 << 16)
                assert not reply or reply.split(b" ")[1] < b"500"
                assert MARK.encode() not in reply
        key = {"authorization": f"Bearer {SECRET}"}
        one = {"label": 1, "features": {"a": "b"}}
        learned = httpx2.post(server.url + "/learn", json=one, headers=key, trust_env=False)
        assert learned.status_code == 200
        slow = [socket.create_connection(address, timeout=30) for _ in range(20)]
        head = f"POST /learn HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n"
        kind = "Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        for place, connection in enumerate(slow):
            connection.sendall((head + kind * (place % 2)).encode())
        time.sleep(0.2)
        assert server.stop(signal.SIGTERM) == 0
        ends = [connection.recv(1 << 16) for connection in slow]
        for connection in slow:
            connection.close()
        assert all(not end or b"/problems/stopping" in end for end in ends)
        assert any(ends)
        lines = server.log.read_text().splitlines()
    messages = [json.loads(line)["message"] for line in lines]
    assert any(message.startswith("ready: ") for message in messages)
    assert messages[-1] == "stopped"
    log = "\n".join(lines)
    assert MARK not in log
    assert SECRET not in log
    assert "Traceback" not in log
