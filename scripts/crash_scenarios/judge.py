"""What the journal, the log folded by the reference, and the replicas must agree on.

Of every request: each acknowledgement stands in the log at its position with the verdicts and the
predictions that were told; what was only told `not_learned` is nowhere in the log; and, where the
window was never left and no history was lost (`strict`), every row acknowledged was learned exactly
once, every other at most once, and a repeated one was told to be a duplicate.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, field

import mmh3

from scripts.crash_scenarios.clients import Ack, Journal, Request
from scripts.crash_scenarios.cluster import Cluster, Fault, Node
from scripts.crash_scenarios.history import Reading, same
from tests.oracle.exact import ExactFold
from tests.oracle.payload import Row
from tests.oracle.window import CONFLICT, DUPLICATE, LEARN

Features = list[tuple[int, int, float]]


@dataclass
class Occurrence:
    """One time that a request stands in the log."""

    epoch: int = 0
    seq: int = 0  # of the last row
    verdicts: list[int] = field(default_factory=list)
    predictions: list[float] = field(default_factory=list)


def features_of(row: dict[str, str], seed: int) -> Features:
    """Hashes of a row of categories, in canonical order, by another implementation of murmur3."""
    found = []
    for name, value in row.items():
        hashed = mmh3.hash(name, seed, signed=False)
        found.append((hashed, mmh3.hash(value, hashed, signed=False), 1.0))
    return sorted(found)


def judge(
    journal: Journal, reading: Reading, *, strict: bool, excused: frozenset[int] = frozenset()
) -> list[str]:
    """Faults; `excused` are seqs whose entries were given up by an operator."""
    faults = [*journal.faults, *reading.faults]
    seeds = {entry.hash_seed for entry in reading.entries}
    found, broken = _occurrences(journal, reading, seeds)
    if not excused:
        faults += broken.values()
    for request in journal.requests:
        if request.number in broken:  # an entry of it was skipped
            continue
        for text in _request_faults(request, found[request.number], journal.era, strict, excused):
            faults.append(f"request {request.number} ({request.kind}): {text}")
    return faults


def probe_faults(journal: Journal, reading: Reading) -> list[str]:
    """Answers to /predict that are not the reference's at their position."""
    epochs = {entry.seq: entry.epoch for entry in reading.entries}
    faults = []
    for probe in journal.probes:
        fold = reading.copies.get(probe.seq)
        if fold is None or epochs.get(probe.seq) != probe.epoch:
            continue
        wanted = [_predicted(fold, row) for row in probe.rows]
        if not same(list(probe.predictions), wanted):
            faults.append(f"predicted {probe.predictions} at {probe.seq}, not {wanted}")
    return faults


def _predicted(fold: ExactFold, row: dict[str, str]) -> float:
    features = features_of(row, int(fold.config["hash_seed"]))
    return copy.deepcopy(fold).learn(Row(features, 0, 1.0, 0))


def _occurrences(
    journal: Journal, reading: Reading, seeds: set[int]
) -> tuple[dict[int, list[Occurrence]], dict[int, str]]:
    """By request: where it stands, and what is wrong with the order of its rows."""
    markers: dict[tuple[int, int], tuple[int, int]] = {}
    for seed in seeds:
        name = mmh3.hash("r", seed, signed=False)
        for request in journal.requests:
            for row in range(len(request.examples)):
                hashed = mmh3.hash(f"{request.number}:{row}", name, signed=False)
                markers[seed, hashed] = request.number, row
    found: dict[int, list[Occurrence]] = defaultdict(list)
    broken: dict[int, str] = {}
    for entry in reading.entries:
        name = mmh3.hash("r", entry.hash_seed, signed=False)
        for i, learned in enumerate(entry.content.rows):
            hashes = [hashed for n, hashed, _ in learned.features if n == name]
            number, place = markers.get((entry.hash_seed, hashes[0] if hashes else 0), (-1, 0))
            if number < 0:
                broken[-1] = f"nobody sent row {i} of the entry at {entry.seq}"
                continue
            if place == 0:
                found[number].append(Occurrence())
            if not found[number] or len(found[number][-1].verdicts) != place:
                broken[number] = f"rows of request {number} are out of order at {entry.seq}"
                continue
            last = found[number][-1]
            last.epoch, last.seq = entry.epoch, entry.seq
            last.verdicts.append(entry.verdicts[i])
            last.predictions.append(entry.predictions[i])
    for number, occurrences in found.items():
        rows = len(journal.requests[number].examples)
        if any(len(one.verdicts) != rows for one in occurrences):
            broken[number] = f"only part of request {number} is in the log"
    return found, broken


def _request_faults(
    request: Request, found: list[Occurrence], era: int, strict: bool, excused: frozenset[int]
) -> list[str]:
    faults = []
    rows = len(request.examples)
    told = set(request.outcomes)
    if told == {"not_learned"} and request.era == era and found:
        faults.append("told not_learned, and in the log")
    for ack in request.acks:
        if ack.era == era and ack.seq not in excused:
            faults += _ack_faults(ack, [o for o in found if (o.epoch, o.seq) == ack.place])
    if strict:
        faults += _strict_faults(request, found, rows, excused)
    return faults


def _ack_faults(ack: Ack, there: list[Occurrence]) -> list[str]:
    """`there`: where the request stands at the acknowledged place, twice if two sent it at once."""
    if not there:
        return [f"acknowledged at {ack.place}, and not there"]
    told = ack.accepted, ack.duplicates
    verdicts = [(one.verdicts.count(LEARN), one.verdicts.count(DUPLICATE)) for one in there]
    if told not in verdicts:
        return [f"told {told} at {ack.place}, wanted {verdicts}"]
    if not any(same(ack.predictions, one.predictions) for one in there):
        return [f"told {ack.predictions}, wanted {[one.predictions for one in there]}"]
    return []


def _strict_faults(
    request: Request, found: list[Occurrence], rows: int, excused: frozenset[int]
) -> list[str]:
    whole = [one for one in found if len(one.verdicts) == rows]
    if request.conflicts_with is not None:
        wrong = [one.verdicts for one in whole if set(one.verdicts) != {CONFLICT}]
        if wrong or request.acks:
            return [f"another body under a known key: {wrong}, {len(request.acks)} times accepted"]
        return []
    learned = [sum(one.verdicts[i] == LEARN for one in whole) for i in range(rows)]
    if any(count > 1 for count in learned):
        return [f"rows learned {max(learned)} times"]
    acked = [ack for ack in request.acks if ack.seq not in excused]
    if len(acked) == len(request.acks) > 0 and any(count != 1 for count in learned):
        return [f"acknowledged; rows learned: {learned}"]
    return []


async def agree(reading: Reading, *nodes: Node) -> None:
    """All nodes have the reference's figures, and one state among them. Raises Fault."""
    wanted = {
        "digest": reading.fold.digest(),
        "examples": reading.fold.examples,
        "duplicates": reading.fold.duplicates,
    }
    states = set()
    for node in nodes:
        reply = await node.call("GET", "/stats")
        if reply is None or reply.status != 200:
            raise Fault(f"node {node.number} has no figures: {reply}")
        told = {name: reply.body[name] for name in wanted}
        if told != wanted:
            at = reply.body["position"]
            raise Fault(f"node {node.number} at {at} has {told}, the reference {wanted}")
        states.add((reply.body["position"], reply.body["state_digest"]))
    if len(states) != 1:
        raise Fault(f"replicas differ: {states}")


async def orphans(cluster: Cluster) -> list[str]:
    """Keys of pages and states whose generation has no row: nobody will ever remove them."""
    rows = {name.decode() for name in await cluster.redis.hkeys("{ctr:default}:generations")}
    keys = await cluster.redis.keys("{ctr:default}:page:*")
    keys += await cluster.redis.keys("{ctr:default}:state:*")
    return [key.decode() for key in keys if key.decode().split(":")[3] not in rows]
