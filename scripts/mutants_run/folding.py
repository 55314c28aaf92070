"""Planted bugs of the fold: what is folded how often, the window, and what is not in the log."""

from __future__ import annotations

from scripts.mutants_run.mutation import Edit, Mutation, mutation

FOLDING = "app/folding.py"
MODEL = "ftrl_core/model.py"

MUTATIONS: tuple[Mutation, ...] = (
    mutation(
        "own-entry-not-folded",
        "the appender moves past its own entry without learning it",
        FOLDING,
        "        applied = self.loaded.apply(entry.position, decoded, entry.time_ms)\n"
        "        assert applied is not None\n",
        "        from copy import deepcopy\n\n"
        "        applied = deepcopy(self.loaded).apply(entry.position, decoded, entry.time_ms)\n"
        "        assert applied is not None\n"
        "        self.loaded.pass_over(entry.position)\n",
    ),
    mutation(
        "entry-folded-twice",
        "the weights learn each entry twice",
        MODEL,
        "        self.examples = self.coefficients.learn(rows, self.examples, seq, logits, "
        "predictions)\n",
        "        self.examples = self.coefficients.learn(rows, self.examples, seq, logits, "
        "predictions)\n"
        "        self.coefficients.learn(rows, self.examples, seq, logits, predictions)\n",
    ),
    mutation(
        "duplicates-learned",
        "rows known to be duplicates are learned all the same",
        MODEL,
        "importances if by_weight else weights, verdicts)",
        "importances if by_weight else weights, np.zeros_like(verdicts))",
    ),
    mutation(
        "window-off-by-one",
        "the window of ids is one shorter than it says",
        MODEL,
        "self.deduplication = Deduplication(config.deduplication_window)",
        "self.deduplication = Deduplication(max(0, config.deduplication_window - 1))",
    ),
    mutation(
        "dither-not-replicated",
        "n is rounded by dice that every process throws for itself",
        MODEL,
        "        self.examples = self.coefficients.learn(rows, self.examples, seq, logits, "
        "predictions)\n",
        "        own = id(self) & 0xFFFFFF\n"
        "        self.examples += (\n"
        "            self.coefficients.learn(rows, own, seq, logits, predictions) - own\n"
        "        )\n",
    ),
    mutation(
        "clock-of-the-replica",
        "ids are dated by who folds them and not by the log",
        "app/writing.py",
        "            time_ms = appended.time_ms[place]\n",
        "            time_ms = int(time.time() * 1000) + 1000\n",
    ),
    mutation(
        "payload-checksum-unchecked",
        "a damaged entry is decoded and folded",
        "ftrl_core/entry.py",
        'if xxh64(memoryview(payload)[:-8]) != int.from_bytes(payload[-8:], "little"):',
        "if len(payload) < 8:",
    ),
    mutation(
        "key-of-one-row-forgotten",
        "the idempotency key of a request of one row is not remembered",
        "ftrl_core/deduplication.py",
        "            if keys[q] and ids.size:\n",
        "            if keys[q] and ids.size and rows[q] > 1:\n",
    ),
)

SNAPSHOTS = "app/snapshots.py"
SNAPSHOT_FILE = "ftrl_core/snapshot_file.py"

SNAPSHOT_MUTATIONS: tuple[Mutation, ...] = (
    mutation(
        "restore-forgets-the-window",
        "events learned before the snapshot are learned again after its restore",
        MODEL,
        "        self.table.touch_all(position.seq)\n        self.deduplication.segment",
        "        self.deduplication = Deduplication(self.config.deduplication_window)\n"
        "        self.table.touch_all(position.seq)\n        self.deduplication.segment",
    ),
    mutation(
        "restore-without-a-new-epoch",
        "positions of before and after a restore cannot be told apart",
        "app/lua/append.lua",
        "local bumps = control == 'restore' or control == 'skip'",
        "local bumps = control == 'skip'",
    ),
    mutation(
        "restored-pages-count-as-clean",
        "a checkpoint after a restore builds on pages of before it",
        MODEL,
        "        self.table.touch_all(position.seq)\n        self.deduplication.segment",
        "        self.deduplication.segment",
    ),
    mutation(
        "restored-generation-not-pinned",
        "the pages that a restore entry names are dropped while the log still names them",
        "app/lua/append.lua",
        "restored.state, restored.pin = 'pinned', seq",
        "restored.state, restored.pin = 'pinned', 0",
    ),
    mutation(
        "upload-not-verified",
        "a damaged snapshot file is given a name",
        "app/routes_snapshots.py",
        "    upload.verify()\n",
        "",
    ),
    mutation(
        "snapshot-named-before-it-is-whole",
        "a snapshot being written can be listed and restored",
        SNAPSHOTS,
        '        self._file = os.fdopen(os.open(self._part, _NEW, 0o600, dir_fd=folder), "w+b")\n',
        "        self._part = name + SUFFIX\n"
        '        self._file = os.fdopen(os.open(self._part, _NEW, 0o600, dir_fd=folder), "w+b")\n',
        Edit(
            SNAPSHOTS,
            "            os.link(self._part, final, "
            "src_dir_fd=self._folder, dst_dir_fd=self._folder)\n",
            "            self._part += PART_SUFFIX\n            del final\n",
        ),
    ),
    mutation(
        "frame-checksum-unchecked",
        "a changed byte of a snapshot is not seen where it is read",
        SNAPSHOT_FILE,
        "        if self._chain != expected:\n",
        "        if self._chain < 0:\n",
    ),
    mutation(
        "snapshot-without-the-window",
        "a snapshot does not hold which events it has learned",
        "app/replica.py",
        "        taken = await asyncio.to_thread(cut, restored, -1)\n",
        "        restored.deduplication.count = 0\n"
        "        taken = await asyncio.to_thread(cut, restored, -1)\n",
    ),
)
