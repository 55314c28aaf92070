"""History, journal and what is served, against the sequential fold of tests/oracle.

(a) an acknowledged batch is in the log at the position that it was told, once, with the
    verdicts and the predictions that the fold gives there
(b) no event is learned twice in a lineage, whatever was retried; a restore goes back to the
    lineage of its snapshot
(c) nothing is in the log that was never sent, nor what was refused every time
(d) replicas, a cold restart and an exported snapshot have the fold's digest, and the file the
    fold's table byte for byte
(e) so equal positions have equal digests: snapshots told theirs on the way
(f) every prediction served on the way is the fold's at the position that it told
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import xxhash

from scripts.crash_run.history import Entry, is_whole
from scripts.crash_run.journal import Acknowledged, Batch, Journal
from tests.oracle.lineage import Lineage
from tests.oracle.payload import Control, Examples, Row

LEARN, DUPLICATE = 0, 1
WHOLE_WINDOW = 1 << 16  # holds every id of an episode


@dataclass(slots=True)
class Occurrence:
    """One request in the log."""

    key: int
    ids: tuple[int, ...]
    verdicts: list[int]
    predictions: list[float]


@dataclass(slots=True)
class State:
    """A fold, and what it has learned by name."""

    fold: Lineage
    learned: set[int] = field(default_factory=set)

    def copy(self) -> State:
        """For a restore to come back to."""
        return State(self.fold.copy(), set(self.learned))


@dataclass(slots=True)
class Verdict:
    """What came out; `violations` are one line each."""

    violations: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    entries: int = 0
    examples: int = 0
    acknowledged: int = 0
    predictions: int = 0
    digests: int = 0
    lost_by_redis: int = 0  # acknowledged before Redis was made to lose it (mode everysec)


def hashed(text: str) -> int:
    """How the log names an event id or a key."""
    return int(xxhash.xxh64_intdigest(text.encode())) or 1


class Judge:
    """Of one incarnation's log."""

    def __init__(
        self,
        model: str,
        log: list[Entry],
        journal: Journal,
        verdict: Verdict,
        surviving: Sequence[int],
    ) -> None:
        self._model, self._log, self._journal, self.verdict = model, log, journal, verdict
        self.state = State(Lineage())
        self.ended = False  # by a delete entry
        self.occurrences: dict[str, list[Occurrence]] = defaultdict(list)
        self._sent = {hashed(name) for name in journal.sent}
        self._keys = {hashed(name) for name in journal.keys_sent}
        self._rows: dict[int, Row] = {}
        self._saved: dict[str, State] = {}
        self._probes: dict[str, list[tuple[str, float]]] = defaultdict(list)
        self._restorable = {
            journal.snapshots[name]["position"] for name in journal.restored.values()
        }
        self._digests: dict[str, set[str]] = defaultdict(set)
        if model == "default":
            for position, digest, era in journal.checkpoints:
                if not is_lost(position, era, surviving):
                    self._digests[position].add(digest)
            for snapshot in journal.snapshots.values():
                self._digests[snapshot["position"]].add(snapshot["digest"])
        if model == "default":
            for told in journal.predicted:
                if is_lost(told.position, told.era, surviving):
                    continue
                self._probes[told.position].append((told.event, told.prediction))

    def wrong(self, text: str) -> None:
        """Note a violation."""
        self.verdict.violations.append(f"{self._model}: {text}")

    def fold(self) -> None:
        """Fold the whole log, looking at what was said at each position."""
        if not is_whole(self._log):
            self.wrong("the log has a gap, or a broken chain")
        for entry in self._log:
            if isinstance(entry.content, Examples):
                self._rows.update((row.event_id, row) for row in entry.content.rows)
        for entry in self._log:
            self._fold_one(entry)
            self._compare_at(entry.position)
        self.verdict.entries += len(self._log)
        self.verdict.examples += self.state.fold.examples

    def _fold_one(self, entry: Entry) -> None:
        content = entry.content
        if isinstance(content, Examples):
            self.state.fold.apply(entry.payload)
            self._note(entry, content)
        elif content.op == "restore":
            self._restore(entry)
        elif content.op == "delete":
            self.ended = True
        else:
            self.state.fold.apply(entry.payload)

    def _restore(self, entry: Entry) -> None:
        name = self._journal.restored.get(entry.epoch)
        if name is None:
            self.wrong(f"a restore at {entry.position} that nobody asked for")
            return
        position = self._journal.snapshots[name]["position"]
        if position not in self._saved:
            self.wrong(f"snapshot {name} is of {position}, which is not in the log before")
            return
        self.state = self._saved[position].copy()

    def _note(self, entry: Entry, content: Examples) -> None:
        fold, start = self.state.fold, 0
        for request in content.requests:
            end = start + request.rows
            rows, verdicts = content.rows[start:end], fold.verdicts[start:end]
            for row, one in zip(rows, verdicts, strict=True):
                self._learned(row.event_id, one)
            if request.continues:
                last = self._open
                last.ids += tuple(row.event_id for row in rows)
                last.verdicts += verdicts
                last.predictions += fold.predictions[start:end]
            else:
                self._open = last = Occurrence(
                    request.key, tuple(row.event_id for row in rows), list(verdicts),
                    list(fold.predictions[start:end]),
                )  # fmt: skip
            if request.key and request.key not in self._keys:
                self.wrong(f"a key at {entry.position} that nobody sent")
            self.occurrences[entry.position].append(last)
            start = end

    def _learned(self, event: int, verdict: int) -> None:
        if event and event not in self._sent:
            self.wrong("an event in the log that nobody sent")
        if not event or verdict != LEARN:
            return
        # In a small window that is no fault; whether it is right is what verdicts tell.
        if event in self.state.learned and self.state.fold.window.size >= WHOLE_WINDOW:
            self.verdict.doubled += 1
            self.wrong("an event is learned twice")
        self.state.learned.add(event)

    def _compare_at(self, position: str) -> None:
        for event, prediction in self._probes.pop(position, ()):
            row = self._rows.get(hashed(event))
            if row is None:
                continue  # it was never appended: its features are known to the client alone
            self.verdict.predictions += 1
            if self.state.fold.predict(row.features) != prediction:
                self.wrong(f"a wrong prediction was served at {position}")
        if position in self._restorable:
            self._saved[position] = self.state.copy()
        for digest in self._digests.pop(position, ()):
            self.verdict.digests += 1
            if digest != self.state.fold.digest():
                self.wrong(f"a checkpoint or snapshot of {position} has not the fold's digest")

    def strays(self) -> list[str]:
        """Positions that were told by somebody and that the log never had."""
        return [*self._probes, *self._digests]

    def matches(self, told: Acknowledged) -> str:
        """ "" when an acknowledgement is right; else what is wrong with it."""
        found = [o for o in self.occurrences.get(told.position, ()) if _is(o, told.batch)]
        if len(found) != 1:
            return "lost" if not found else "found twice at its position"
        occurrence = found[0]
        if told.accepted != occurrence.verdicts.count(LEARN):
            return "accepted another number of examples than the fold"
        if told.duplicates != occurrence.verdicts.count(DUPLICATE):
            return "found another number of duplicates than the fold"
        if told.predictions is not None and not _same(told.predictions, occurrence.predictions):
            return "predicted otherwise than the fold"
        return ""


def is_lost(position: str, era: int, surviving: Sequence[int]) -> bool:
    """Whether Redis was made to lose the entry that had this position in this era."""
    seq = int(position.partition("-")[2])
    return era < len(surviving) and seq > min(surviving[era:])


def _is(occurrence: Occurrence, batch: Batch) -> bool:
    if occurrence.key != (hashed(batch.key) if batch.key else 0):
        return False
    return not batch.ids or occurrence.ids == tuple(hashed(name) for name in batch.ids)


def _same(told: Sequence[float | None], folded: Sequence[float]) -> bool:
    pairs = zip(told, folded, strict=False)
    equal = all(math.isnan(q) if p is None else p == q for p, q in pairs)
    return equal and len(told) == len(folded)


def judge(
    logs: dict[str, list[list[Entry]]],
    journal: Journal,
    served: dict[str, list[dict[str, Any]]],
    surviving: Sequence[int] = (),
) -> tuple[Verdict, dict[str, Judge]]:
    """Judge an episode. `served` has the /stats of every replica by model; `surviving` the seq up
    to which the log of each era was kept."""
    verdict, last = Verdict(), {}
    judges: dict[str, list[Judge]] = {}
    verdict.violations += journal.faults
    for model, incarnations in logs.items():
        judges[model] = [Judge(model, log, journal, verdict, surviving) for log in incarnations]
        for one in judges[model]:
            one.fold()
        last[model] = judges[model][-1]
    _compare_acknowledged(judges, journal, verdict, surviving)
    _compare_attempts(judges, journal, verdict)
    _compare_refused(judges, journal, verdict)
    if "default" in last and (strays := last["default"].strays()):
        verdict.violations.append(f"the log never had {strays[0]}, which was told")
    _compare_models(last, journal, served, verdict)
    if not surviving:
        _compare_configured(logs["default"][-1], journal, verdict)
    return verdict, last


def _compare_acknowledged(
    judges: dict[str, list[Judge]], journal: Journal, verdict: Verdict, surviving: Sequence[int]
) -> None:
    for told in journal.acknowledged:
        if is_lost(told.position, told.era, surviving):
            verdict.lost_by_redis += told.accepted
            continue
        verdict.acknowledged += told.accepted
        found = [one.matches(told) for one in judges.get(told.batch.model, ())]
        if "" in found:
            continue
        why = next((text for text in found if text != "lost"), "lost")
        verdict.lost += told.accepted if why == "lost" else 0
        verdict.violations.append(f"an acknowledged batch at {told.position} is {why}")


def _compare_attempts(judges: dict[str, list[Judge]], journal: Journal, verdict: Verdict) -> None:
    """The service must not repeat by itself: the window would hide it, for what has an id."""
    allowed: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for (key, ids), count in journal.attempts.items():
        allowed[hashed(key) if key else 0, tuple(hashed(name) for name in ids)] += count
    found: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for one in (one for incarnations in judges.values() for one in incarnations):
        requests = {id(o): o for os in one.occurrences.values() for o in os}
        found.update((o.key, o.ids if any(o.ids) else ()) for o in requests.values())
    for identity, count in found.items():
        if count > allowed[identity]:
            text = f"a batch that was sent {allowed[identity]} times is in the log {count} times"
            verdict.violations.append(text)


def _compare_refused(judges: dict[str, list[Judge]], journal: Journal, verdict: Verdict) -> None:
    in_log = {
        (occurrence.key, occurrence.ids)
        for one in judges["default"]
        for occurrences in one.occurrences.values()
        for occurrence in occurrences
    }
    keys = {key for key, _ in in_log if key}
    for batch in journal.not_learned:
        ids = tuple(hashed(name) for name in batch.ids)
        if (hashed(batch.key) in keys) if batch.key else ((0, ids) in in_log):
            verdict.violations.append("a batch that was refused every time is in the log")


def _compare_models(
    last: dict[str, Judge],
    journal: Journal,
    served: dict[str, list[dict[str, Any]]],
    verdict: Verdict,
) -> None:
    for model, one in last.items():
        if one.ended:
            if model in journal.made or served.get(model):
                verdict.violations.append(f"{model} is deleted, and should not be")
            continue
        if model in journal.deleted:
            verdict.violations.append(f"{model} was deleted and has come back")
        position, digest = one._log[-1].position, one.state.fold.digest()
        for stats in served.get(model, ()):
            if (stats["position"], stats["digest"]) != (position, digest):
                verdict.violations.append(
                    f"{model} as {stats['who']} serves it is at {stats['position']} with digest"
                    f" {stats['digest']}; the fold is at {position} with {digest}"
                )
    for model in {"default", *journal.made} - last.keys():
        verdict.violations.append(f"{model} is gone")
    for model in {"default", *journal.made}:
        if not served.get(model):
            verdict.violations.append(f"{model} is not served")


def _compare_configured(log: list[Entry], journal: Journal, verdict: Verdict) -> None:
    done = [e.content.fields["config"] for e in log if isinstance(e.content, Control)
            and e.content.op == "configure"]  # fmt: skip
    for changes in journal.configured:
        if done.count(changes) != 1:
            verdict.violations.append(f"change {changes} is in the log {done.count(changes)} times")
