"""Requests over HTTP: every contender answers the same requests, in turn, round after round.

    predict        POST /predict, one example of 39 string features, 16 connections
    learn          POST /learn, 100 examples a request, log on, fsync always, 16 connections
    learn_packed   the same examples in the service's packed body
    learn_arrow    the same examples as an Arrow stream
    learn_msgpack  the same examples as msgpack
    learn_1        POST /learn, one example a request, 64 connections
    ..._criteo     the same with examples of a real log (Criteo's), where one lies beside

Contenders: `echo`, the bare ASGI limit with the same bodies; `ours`, at its defaults (a mixture of
four rates); `ours, one rate`; `River` and `Vowpal Wabbit` behind FastAPI, which keep nothing on
disk; `XADD`, the limit of the log: the entries of the same examples put into Redis under fsync
always by as many connections.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from redis import Redis

from scripts import data_logs
from scripts.benchmarks import contenders, examples, machine, packed, xadd
from scripts.benchmarks.contenders import ONE_RATE, Contender, Missing
from scripts.benchmarks.examples import Example
from scripts.benchmarks.load import post, write_requests

OURS = ("ours", "ours, one rate")
PEERS = ("River", "Vowpal Wabbit")
GENERATED_EXAMPLES, REAL_EXAMPLES = 12_800, 7_200
SINGLE_REQUESTS = 2_048
OK, UNAVAILABLE = 200, 503
AWAKE_SECONDS = 5.0  # a service that was frozen first finds its Redis again
Figures = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """What is asked: the requests by contender, and how; `data` is empty for generated ones."""

    data: str
    route: str
    examples: int  # of one request
    connections: int
    requests: dict[str, Callable[[], list[bytes]]] = field(repr=False)

    @property
    def name(self) -> str:
        """Of the line in tables."""
        return f"{self.route}_{self.data}" if self.data else self.route


def _same(names: tuple[str, ...], make: Callable[[], list[bytes]]) -> dict[str, Any]:
    return dict.fromkeys(names, make)


def _xadd(given: list[Example]) -> list[bytes]:
    return xadd.commands(xadd.entries(examples.json_bodies(given, 100, labelled=True)))


def _packed(kind: str, given: list[Example]) -> list[bytes]:
    content_type, bodies = packed.bodies(kind, list(examples.chunks(given, 100)))
    return [post("/learn", body, content_type) for body in bodies]


def lines_of(given: list[Example], data: str, connections: int) -> list[Line]:
    """The lines on these examples."""
    few = given[:SINGLE_REQUESTS]
    single = partial(examples.json_posts, "/learn", few, 1)
    hundred = partial(examples.json_posts, "/learn", given, 100)
    predict = partial(examples.json_posts, "/predict", few, 1)
    limit = {"XADD": partial(_xadd, given)}
    line = partial(Line, data)
    binary = [
        line(f"learn_{kind}", 100, connections, _same(OURS, partial(_packed, kind, given)))
        for kind in packed.KINDS
    ]
    return [
        line("predict", 1, connections, _same(("echo", *OURS, *PEERS), predict)),
        line("learn", 100, connections, _same((*OURS, *PEERS), hundred) | limit),
        *binary,
        line("learn_1", 1, 4 * connections, _same((*OURS, *PEERS), single)),
    ]


def all_lines(seed: int, connections: int, *, with_real: bool) -> list[Line]:
    """On generated examples, and on the real log's if wanted and there."""
    lines = lines_of(examples.generated(GENERATED_EXAMPLES, seed), "", connections)
    if with_real and not data_logs.missing("criteo"):
        lines += lines_of(examples.real("criteo", REAL_EXAMPLES), "criteo", connections)
    return lines


STARTERS: dict[str, Callable[[Path], Contender]] = {
    "echo": contenders.echo,
    "ours": lambda folder: contenders.ours(folder, "ours"),
    "ours, one rate": lambda folder: contenders.ours(folder, "ours, one rate", ONE_RATE),
    "River": lambda folder: contenders.peer(folder, "River", "river_service"),
    "Vowpal Wabbit": lambda folder: contenders.peer(
        folder, "Vowpal Wabbit", "vowpal_wabbit_service"
    ),
    "XADD": contenders.redis,
}


class Served:
    """The running contenders, and the requests of each line in files."""

    def __init__(self, folder: Path, lines: list[Line], names: tuple[str, ...]) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self.missing: dict[str, str] = {}
        self._running: dict[str, Contender] = {}
        self._lines = lines
        for name in names:
            try:
                self._running[name] = self._stack.enter_context(STARTERS[name](folder))
                self._running[name].freeze()
            except Missing as reason:
                self.missing[name] = str(reason)
        self.plan = [(line, name) for line in lines for name in line.requests if name in names]
        self._files = {(line.name, name): self._file(line, name) for line, name in self.plan}

    def close(self) -> None:
        """End all of them."""
        self._stack.close()

    def memory(self) -> dict[str, Any]:
        """Of each contender's processes."""
        return {n: machine.memory(c.pids()) for n, c in self._running.items()}

    def _file(self, line: Line, name: str) -> Path | str:
        """The requests, or why there are none."""
        if name in self.missing:
            return self.missing[name]
        path = self._folder / f"{line.name}-{name}"
        try:
            requests = line.requests[name]()
            self._running[name].thaw()
            if name != "XADD":
                _try(self._running[name].address, requests[0])
        except Missing as reason:
            return str(reason)
        finally:
            self._running[name].freeze()
        write_requests(path, requests)
        return path

    def measure(self, line: Line, name: str, seconds: float) -> Figures:
        """One round of one contender in one line."""
        file = self._files[line.name, name]
        if isinstance(file, str):
            return {"missing": file}
        contender = self._running[name]
        contender.thaw()
        contender.settle()
        pids = contender.pids()
        worked = machine.processor_seconds(pids)
        command = [sys.executable, "-m", "scripts.benchmarks.load", contender.address]
        command += [str(line.connections), str(seconds), str(file)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures: Figures = json.loads(output)
        figures["processor_share"] = (machine.processor_seconds(pids) - worked) / figures["seconds"]
        if name == "XADD":  # or it would grow from round to round
            Redis(unix_socket_path=contender.address).delete("log")
        contender.freeze()
        if set(figures["statuses"]) != {"200"}:
            raise SystemExit(f"{line.name}, {name}: statuses {figures['statuses']}")
        figures["examples_per_second"] = figures["per_second"] * line.examples
        return figures


def _try(port: str, request: bytes) -> None:
    """Send one request; Missing when it is not taken."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in rest)
    status, until = UNAVAILABLE, time.monotonic() + AWAKE_SECONDS
    while status == UNAVAILABLE and time.monotonic() < until:
        connection = HTTPConnection("127.0.0.1", int(port), timeout=60)
        connection.request("POST", first.split()[1], body, headers)
        status = connection.getresponse().status
        connection.close()
        if status == UNAVAILABLE:
            time.sleep(0.1)
    if status != OK:
        raise Missing(f"not available: the service answers {status}")
