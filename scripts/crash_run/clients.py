"""Clients that learn and predict while services and Redis die under them, each in its thread.

A batch is sent until it is acknowledged, to any of the services; now and then one is given up, and
now and then an acknowledged one is sent once more, which must come back as duplicates throughout.

Two of three clients fill their bodies with blanks to a round length, so that the heads of their
requests repeat, and the service answers them where it receives them (app/direct_protocol.py).
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from scripts.crash_run.journal import Acknowledged, Batch, Journal, Predicted
from scripts.crash_run.processes import Service

TIMEOUT_SECONDS = 20.0
FINISH_SECONDS = 45.0
PAUSE_SECONDS = 0.01
ROWS_MAX = 10
OLD_BATCHES = 40
ROUND_BYTES = 512
CONFLICT = 422
JSON = {"content-type": "application/json"}


class Gate:
    """Lets clients through, or stops them between two requests."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.finish_by: float | None = None  # no new batches; pending ones until then

    def wait(self) -> None:
        """Until it is open."""
        self._open.wait()

    def close(self) -> None:
        """Stop everybody at the next request."""
        self._open.clear()

    def open(self) -> None:
        """Go on."""
        self._open.set()

    def finish(self) -> None:
        """No new batches; what was begun is brought to its end."""
        self.finish_by = time.monotonic() + FINISH_SECONDS


class Client(threading.Thread):
    """One after the other: batches, retries of old ones, predictions."""

    def __init__(
        self, number: int, seed: int, services: Sequence[Service], journal: Journal, gate: Gate
    ) -> None:
        super().__init__(daemon=True)
        self._number, self._services = number, services
        self._journal, self._gate = journal, gate
        self._random = random.Random(f"client {number} of {seed}")
        self._sent = 0
        self._old: list[Batch] = []
        self._contested: set[str] = set()  # keys that were sent with two bodies
        self._position = ""  # of the latest acknowledgement
        self._features: dict[str, dict[str, Any]] = {}  # of some examples sent, by id
        self._connections: dict[int, http.client.HTTPConnection] = {}
        self.idle = threading.Event()  # waits at the gate

    def run(self) -> None:
        """Until the gate says to finish."""
        draw = self._random
        while self._gate.finish_by is None:
            self._pass_gate()
            choice = draw.random()
            if choice < 0.25 and self._features:
                self._predict()
            elif choice < 0.27 and self._old:
                self._contradict(draw.choice(self._old))
            elif choice < 0.4 and self._old:
                self._learn(draw.choice(self._old), again=True)
            else:
                self._learn(self._new_batch(), again=False)
            time.sleep(draw.choice([0.0, 0.002, 0.01]))
        self.idle.set()

    def _pass_gate(self) -> None:
        self.idle.set()
        self._gate.wait()
        self.idle.clear()

    def _new_batch(self) -> Batch:
        draw = self._random
        self._sent += 1
        keyed = draw.random()
        key = f"k{self._number}.{self._sent}" if keyed < 0.3 else None
        examples = [self._example() for _ in range(draw.randrange(1, ROWS_MAX + 1))]
        ids: tuple[str, ...] = ()
        if keyed >= 0.15:
            ids = tuple(f"{self._number}.{self._sent}.{i}" for i in range(len(examples)))
            for name, example in zip(ids, examples, strict=True):
                example["id"] = name
            self._features[ids[0]] = examples[0]["features"]
            if len(self._features) > OLD_BATCHES:
                self._features.pop(next(iter(self._features)))
        with self._journal.lock:
            self._journal.sent.update(ids)
            if key is not None:
                self._journal.keys_sent.add(key)
        return Batch("default", ids, key, json.dumps({"examples": examples}).encode())

    def _example(self) -> dict[str, Any]:
        draw = self._random
        features = {
            "user": f"u{int(draw.paretovariate(0.6)) % 100000}",
            "ad": f"a{draw.randrange(200)}",
            "price": draw.randrange(1, 40) / 8,
        }
        if draw.random() < 0.03:
            features[f"field{draw.randrange(10**6)}"] = "x"  # a name that the log does not have
        return {"features": features, "label": int(draw.random() < 0.3)}

    def _learn(self, batch: Batch, *, again: bool) -> None:
        """Until it is acknowledged, or given up."""
        patient = again or self._random.random() < 0.9
        refused = True  # every attempt so far was
        while True:
            if again and self._gate.finish_by is not None:
                return
            outcome = self._attempt(batch, again=again)
            if outcome == "acknowledged":
                self._old = [*self._old[-OLD_BATCHES:], batch]
                return
            if outcome == "conflict":
                return
            refused = refused and outcome == "not_learned"
            if not patient and not again:
                break
            if self._gate.finish_by is not None and time.monotonic() > self._gate.finish_by:
                self._journal.fault("a batch was never acknowledged")
                return
            time.sleep(PAUSE_SECONDS)
            self._pass_gate()
        if refused:
            with self._journal.lock:
                self._journal.not_learned.append(batch)

    def _contradict(self, old: Batch) -> None:
        """Send another body under a key that was used: refused while the window remembers it."""
        if old.key is not None:
            other = json.dumps({"examples": [self._example()]}).encode()
            self._contested.add(old.key)  # from here on either body may be the first
            self._attempt(Batch(old.model, (), old.key, other), again=False)

    def _attempt(self, batch: Batch, *, again: bool) -> str:
        """What is known of the batch after one more request: acknowledged, not_learned, unknown, or
        conflict."""
        headers = JSON if batch.key is None else {**JSON, "idempotency-key": batch.key}
        era = self._journal.era
        with self._journal.lock:
            self._journal.attempts[batch.key, batch.ids] += 1
        try:
            status, told = self._request("/learn", batch.body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._journal.count(type(error).__name__)
            return "unknown"
        if status == 200:
            self._acknowledged(batch, told, era, again=again)
            return "acknowledged"
        self._journal.count(f"{status} {told.get('outcome')}")
        if status == CONFLICT and batch.key in self._contested:
            return "conflict"
        if status != 503 or told.get("outcome") not in ("not_learned", "unknown"):
            self._journal.fault(f"/learn answers {status}: {told}")
        return str(told.get("outcome"))

    def _acknowledged(self, batch: Batch, told: dict[str, Any], era: int, *, again: bool) -> None:
        reply = Acknowledged(
            batch, told["position"], told["accepted"], told["duplicates"],
            told.get("predictions"), era,
        )  # fmt: skip
        self._position = told["position"]
        with self._journal.lock:
            self._journal.acknowledged.append(reply)
            self._journal.answers["200 again" if again else "200"] += 1

    def _predict(self) -> None:
        event = self._random.choice(list(self._features))
        body = json.dumps({"features": self._features[event]}).encode()
        era, awaited = self._journal.era, self._position if self._random.random() < 0.3 else ""
        query = f"?min_position={awaited}" if awaited else ""
        try:
            status, told = self._request(f"/predict{query}", body, JSON)
        except (OSError, http.client.HTTPException, ValueError):
            return
        if status == 200:
            if awaited and not _has_reached(told["position"], awaited):
                self._journal.fault(f"/predict at {told['position']} did not wait for {awaited}")
            reply = Predicted(event, told["position"], told["predictions"][0], era)
            with self._journal.lock:
                self._journal.predicted.append(reply)
        elif status != 503:
            self._journal.fault(f"/predict answers {status}: {told}")

    def _request(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        port = self._random.choice(self._services).port
        connection = self._connections.get(port)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
            self._connections[port] = connection
        if self._number > 0:
            body = body.ljust(-(-len(body) // ROUND_BYTES) * ROUND_BYTES)
        try:
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        except BaseException:
            connection.close()
            raise


def _has_reached(position: str, awaited: str) -> bool:
    here, there = (tuple(map(int, text.split("-"))) for text in (position, awaited))
    return here >= there


def pause(gate: Gate, clients: Sequence[Client]) -> None:
    """Stop all clients between two requests."""
    gate.close()
    for client in clients:
        client.idle.wait()
