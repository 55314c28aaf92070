"""Clients that learn and predict at any node, and the journal of all they were told.

Every row of every request has a feature of its own, so that it is found again in the log. There
are four kinds of requests: with event ids, with an idempotency key, with both, and bare. What may
be retried is, as a client should: what has ids or a key until it is acknowledged (some give up);
what is bare only after an answer that says that nothing was learned.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.crash_scenarios.cluster import Node, Reply

KINDS = ("ids", "key", "both", "bare", "bare")
GIVE_UP = 0.12
AGAIN = 0.2
PROBES_MAX = 12
CONFLICT_STATUS, LEARNED_STATUS, UNAVAILABLE_STATUS = 422, 200, 503


@dataclass
class Ack:
    """An answer 200 to a learn request."""

    epoch: int
    seq: int
    accepted: int
    duplicates: int
    predictions: list[float | None]
    era: int

    @property
    def place(self) -> tuple[int, int]:
        return self.epoch, self.seq


@dataclass(eq=False)
class Request:
    """A learn request and what came of each time it was sent."""

    number: int
    kind: str
    examples: list[dict[str, Any]]
    era: int
    key: str | None = None
    conflicts_with: Request | None = None
    acks: list[Ack] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)  # unknown, not_learned, conflict, ack

    @property
    def covered(self) -> bool:
        return self.kind != "bare"


@dataclass
class Probe:
    """An answer to /predict."""

    epoch: int
    seq: int
    rows: list[dict[str, str]]
    predictions: list[float]


@dataclass
class Journal:
    """What all clients sent and saw."""

    requests: list[Request] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    era: int = 0  # another one after each loss of history
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


class Client:
    """One that sends requests one after the other."""

    def __init__(
        self,
        journal: Journal,
        draw: random.Random,
        nodes: Callable[[], Sequence[Node]],
        again: float = AGAIN,
    ) -> None:
        self.journal, self._draw, self._nodes = journal, random.Random(draw.random()), nodes
        self._again = again
        self.stopped = False

    async def run(self) -> None:
        """Until `stopped`."""
        while not self.stopped:
            await self.turn()
            await asyncio.sleep(self._draw.choice([0.0, 0.0, 0.003, 0.01]))

    async def turn(self) -> None:
        """One request, new or an old one again; sometimes another node is asked at once."""
        done = [r for r in self.journal.requests[-400:] if r.acks and r.covered]
        dice = self._draw.random()
        if done and dice < self._again:
            await self.deliver(self._draw.choice(done[-60:]))
            return
        keyed = [r for r in done if r.key and r.era == self.journal.era and r.kind == "key"]
        if keyed and dice > 0.95:
            await self.deliver(self.conflicting(self._draw.choice(keyed)))
            return
        await self.deliver(self.new_request())

    def new_request(self, rows: int | None = None, kind: str | None = None) -> Request:
        """A request that nobody has sent."""
        draw = self._draw
        rows = rows or (draw.randint(14, 40) if draw.random() < 0.06 else draw.randint(1, 5))
        request = self._of(kind or draw.choice(KINDS), rows)
        if request.kind in ("key", "both"):
            request.key = f"k{request.number}"
        return request

    def conflicting(self, other: Request) -> Request:
        """Another body under a key that was acknowledged."""
        request = self._of("key", len(other.examples))
        request.key, request.conflicts_with = other.key, other
        return request

    def _of(self, kind: str, rows: int) -> Request:
        draw, number = self._draw, len(self.journal.requests)
        examples = []
        for row in range(rows):
            features = {
                "r": f"{number}:{row}",
                "u": f"u{int(draw.paretovariate(0.7))}",
                "a": f"a{draw.randrange(20)}",
            }
            example: dict[str, Any] = {"features": features, "label": int(draw.random() < 0.3)}
            if kind in ("ids", "both"):
                example["id"] = f"{number}:{row}"
            examples.append(example)
        request = Request(number, kind, examples, self.journal.era)
        self.journal.requests.append(request)
        return request

    async def deliver(self, request: Request) -> bool:
        """Send until it is settled or given up; whether it was acknowledged."""
        while True:
            living = [node for node in self._nodes() if not node.is_dead]
            if not living:
                await asyncio.sleep(0.02)
                if self.stopped:
                    return False
                continue
            node = self._draw.choice(living)
            outcome = await self.send(request, node)
            if outcome in ("ack", "conflict", "fault"):
                return outcome == "ack"
            if outcome == "unknown" and not request.covered:
                return False
            if self.stopped or self._draw.random() < GIVE_UP:
                return False
            await asyncio.sleep(self._draw.uniform(0.0, 0.04))

    async def send(self, request: Request, node: Node) -> str:
        """Send once; what came of it."""
        headers = {"idempotency-key": request.key} if request.key else {}
        era = self.journal.era
        reply = await node.call("POST", "/learn", {"examples": request.examples}, headers)
        outcome = self._outcome(request, reply, era)
        request.outcomes.append(outcome)
        self.journal.count(outcome)
        if outcome == "ack" and self._draw.random() < 0.3:
            await self._read_elsewhere(request.acks[-1])
        return outcome

    def _outcome(self, request: Request, reply: Reply | None, era: int) -> str:
        if reply is None:
            return "unknown"
        body, rows = reply.body, len(request.examples)
        if reply.status == LEARNED_STATUS:
            epoch, seq = map(int, body["position"].split("-"))
            told = body["accepted"], body["duplicates"]
            request.acks.append(Ack(epoch, seq, *told, body["predictions"], era))
            if sum(told) != rows:
                self.journal.faults.append(f"request {request.number} of {rows} rows: {told}")
            return "ack"
        if reply.status == UNAVAILABLE_STATUS and body.get("outcome") in ("unknown", "not_learned"):
            return str(body["outcome"])
        if reply.status == CONFLICT_STATUS and "idempotency" in body.get("type", ""):
            return "conflict"
        self.journal.faults.append(f"request {request.number}: {reply.status} {body}")
        return "fault"

    async def _read_elsewhere(self, ack: Ack) -> None:
        """Read your own writes: any node must answer from the acknowledged position or later."""
        living = [node for node in self._nodes() if not node.is_dead]
        if not living:
            return
        node, era = self._draw.choice(living), self.journal.era
        rows = [{"u": f"u{i}", "a": f"a{i}", "r": "none"} for i in range(1, 4)]
        target = f"/predict?min_position={ack.epoch}-{ack.seq}"
        body = {"examples": [{"features": row} for row in rows]}
        reply = await node.call("POST", target, body)
        if reply is None or era != self.journal.era or era != ack.era:
            return
        if reply.status != LEARNED_STATUS:
            late = reply.status == UNAVAILABLE_STATUS and "not-reached" in reply.body["type"]
            if late and node.network.readable.is_set():
                self.journal.faults.append(f"{ack.epoch}-{ack.seq} is never reached elsewhere")
            return
        epoch, seq = map(int, reply.body["position"].split("-"))
        if epoch == ack.epoch and seq < ack.seq:
            self.journal.faults.append(f"asked for {ack.seq}, answered from {seq}")
        if len(self.journal.probes) < PROBES_MAX:
            self.journal.probes.append(Probe(epoch, seq, rows, reply.body["predictions"]))
