"""Planted bugs of readers: density and chain, lost history, reload, skip, what is served."""

from __future__ import annotations

from scripts.mutants_run.mutation import Edit, Mutation, mutation

FOLDING = "app/folding.py"
OWNER = "app/replica_owner.py"
EVENT_LOG = "app/event_log.py"

MUTATIONS: tuple[Mutation, ...] = (
    mutation(
        "chain-unchecked",
        "a reader of a lost history goes on in the one that is left",
        EVENT_LOG,
        "return self.position.seq == position.seq + 1 and self.previous_nonce == nonce",
        "return self.position.seq == position.seq + 1 and nonce is not None",
    ),
    mutation(
        "read-from-and-with",
        ">= for > in the reader: its own entry comes again",
        EVENT_LOG,
        'f"({after}", "+", "COUNT"',
        'f"{after}", "+", "COUNT"',
    ),
    mutation(
        "shorter-log-unnoticed",
        "a log that ends before the reader's position is not seen as lost",
        FOLDING,
        "        if head.seq < position.seq or head.epoch < position.epoch:",
        "        if head.epoch < position.epoch:",
    ),
    mutation(
        "nonce-of-the-head-unchecked",
        "another entry at the reader's own position is not seen",
        FOLDING,
        "        if head.seq == position.seq and head.nonce != self.nonce:",
        "        if head.seq == position.seq and not head.nonce:",
    ),
    mutation(
        "trimmed-past-unnoticed",
        "a log trimmed up to its end past a lagging reader looks like one without news",
        FOLDING,
        "        if self.loaded.position.seq < head.seq:",
        "        if self.loaded.position.seq < 0:",
    ),
    mutation(
        "reached-too-late",
        "> for >= in reached(): a replica at the position waits for the next",
        OWNER,
        "(position.epoch == at.epoch and position.seq <= at.seq)",
        "(position.epoch == at.epoch and position.seq < at.seq)",
    ),
    mutation(
        "reached-too-early",
        "a replica one entry behind answers for the position asked for",
        OWNER,
        "(position.epoch == at.epoch and position.seq <= at.seq)",
        "(position.epoch == at.epoch and position.seq <= at.seq + 1)",
    ),
    mutation(
        "head-never-looked-at",
        "who hears nothing never looks at the log: a lost history goes unnoticed",
        OWNER,
        "self._behind or self.redis.away or time.monotonic() >= self._head_due",
        "self._behind or self.redis.away",
    ),
    mutation(
        "unreadable-passed-over",
        "an entry that one replica cannot read is left out by that replica alone",
        FOLDING,
        "                await self._unreadable_entry(entry, error)\n",
        "                self._skipped.add(seq)\n                del error\n",
    ),
    mutation(
        "skip-of-a-folded-position-ignored",
        "who folded the entry that the others skip keeps it",
        FOLDING,
        "if seq not in self._passed_over and seq < entry.position.seq:",
        "if seq not in self._passed_over and seq > entry.position.seq:",
    ),
    mutation(
        "skipped-entry-folded",
        "the entry that a skip names is folded all the same, where it can be read",
        FOLDING,
        "        if seq in self._skipped:\n            self._passed_over.add(seq)",
        "        if seq < 0:\n            self._passed_over.add(seq)",
        Edit(
            FOLDING,
            "if seq not in self._passed_over and seq < entry.position.seq:",
            "if seq < 0:",
        ),
    ),
    mutation(
        "learn-served-while-stuck",
        "a replica that cannot read the log goes on appending to it",
        "app/replica.py",
        '        if owner.state != "live":\n            raise not_learned(self.detail)\n',
        "",
    ),
    mutation(
        "predictions-served-while-doubtful",
        "memory that may be wrong is served until another is loaded",
        FOLDING,
        "        self.model = None\n        if not self._keep_skipped:",
        "        self.last, self.model = self.model, None\n        if not self._keep_skipped:",
        Edit(
            FOLDING,
            "        self.model: Model | None = None\n",
            "        self.model: Model | None = None\n        self.last: Model | None = None\n",
        ),
        Edit(
            OWNER,
            'return self.follower.model if self.state in ("live", "stuck") else None',
            "return self.follower.model or self.follower.last",
        ),
    ),
    mutation(
        "stale-nonce-after-a-reload",
        "a reload takes the pages and keeps the nonce of the lost history",
        FOLDING,
        "self.model, self.nonce, self._tail = model, nonce, tail",
        "self.model, self.nonce, self._tail = model, self.nonce or nonce, tail",
    ),
    mutation(
        "stale-tail-after-a-reload",
        "entries read before a reload are folded after it",
        FOLDING,
        "        since_yield = 0\n        for entry in entries:\n",
        '        self._before = [*getattr(self, "_before", []), *entries][-2:]\n'
        "        since_yield = 0\n        for entry in entries:\n",
        Edit(
            FOLDING,
            "self.model, self.nonce, self._tail = model, nonce, tail",
            "self.model, self.nonce = model, nonce\n"
            '        self._tail = getattr(self, "_before", []) or tail',
        ),
    ),
    mutation(
        "emptied-redis-is-a-new-model",
        "a Redis that lost everything is taken for a new place",
        "app/hub.py",
        "        if not rows and known:\n",
        "        if not rows and not known and rows:\n",
    ),
)
