"""Planted bugs of checkpoints: cut, pages, manifest, commit, trim, drop, and loading them."""

from __future__ import annotations

from scripts.mutants_run.mutation import Edit, Mutation, mutation

BEGIN_LUA = "app/lua/begin.lua"
COMMIT_LUA = "app/lua/commit.lua"
PUT_LUA = "app/lua/put.lua"
CHECKPOINTING = "app/checkpointing.py"
GARBAGE = "app/checkpoint_garbage.py"
CHECKPOINT = "ftrl_core/checkpoint.py"
LOADER = "ftrl_core/loader.py"

MUTATIONS: tuple[Mutation, ...] = (
    mutation(
        "trim-to-the-newest-manifest",
        "the log that the older manifest needs is gone",
        BEGIN_LUA,
        "local older = tonumber(meta.previous_seq)",
        "local older = tonumber(meta.manifest_seq)",
        Edit(
            BEGIN_LUA,
            "  'manifest', 'previous', 'previous_epoch',",
            "  'manifest', 'manifest_seq', 'previous', 'previous_epoch',",
        ),
        Edit(BEGIN_LUA, "'trimmed_seq', meta.previous_seq,", "'trimmed_seq', meta.manifest_seq,"),
    ),
    mutation(
        "trim-before-commit",
        "begin trims up to the position that is still to be committed",
        BEGIN_LUA,
        "if ARGV[6] == '1' and meta.previous ~= '-' and older > tonumber(meta.trimmed_seq) then",
        "older = tonumber(string.match(ARGV[4], '%d+$'))\n"
        "if ARGV[6] == '1' and older > tonumber(meta.trimmed_seq) then",
        Edit(BEGIN_LUA, "'trimmed_seq', meta.previous_seq,", "'trimmed_seq', text(older),"),
    ),
    mutation(
        "older-checkpoint-committed",
        "commit takes a position before the newest manifest's",
        COMMIT_LUA,
        "if seq < newest or (seq == newest and ARGV[8] ~= '1') then",
        "if seq == newest and ARGV[8] ~= '1' then",
    ),
    mutation(
        "equal-position-never-committed",
        "> for >= in commit's position check: a full log is full for ever",
        COMMIT_LUA,
        "if seq < newest or (seq == newest and ARGV[8] ~= '1') then",
        "if seq <= newest then",
    ),
    mutation(
        "nonce-of-the-cut-unchecked",
        "a checkpoint of a lost history becomes the newest",
        COMMIT_LUA,
        "return ARGV[5] == meta.nonce and meta.bytes_total or nil end",
        "return meta.bytes_total end",
        Edit(COMMIT_LUA, "fields[1] == 'n' and fields[2] == ARGV[5] and", "fields[1] == 'n' and"),
    ),
    mutation(
        "page-left-out",
        "a page that the manifest names is not written, and not missed",
        CHECKPOINTING,
        "await store.put_pages(generation, taken.pages, taken.segments, self._in_flight)",
        "await store.put_pages(\n"
        "            generation, dict(list(taken.pages.items())[1:]), taken.segments\n        )",
        Edit(
            CHECKPOINTING,
            "            len(taken.pages),\n",
            "            max(0, len(taken.pages) - 1),\n",
        ),
    ),
    mutation(
        "commit-before-the-pages",
        "the manifest is flipped first: a death before the pages leaves one that names nothing",
        CHECKPOINTING,
        "        await store.put_pages(generation, taken.pages, taken.segments, self._in_flight)\n",
        "",
        Edit(
            CHECKPOINTING,
            "        self._full_rounds = max(0, self._full_rounds - 1)\n",
            "        await store.put_pages(generation, taken.pages, taken.segments)\n"
            "        self._full_rounds = max(0, self._full_rounds - 1)\n",
        ),
        Edit(
            COMMIT_LUA,
            "if row.pages ~= tonumber(ARGV[6]) or row.segments ~= tonumber(ARGV[7]) then",
            "if false then",
        ),
        Edit(PUT_LUA, "if row.state ~= 'open' then", "if row.state == 'retired' then"),
    ),
    mutation(
        "page-written-in-place",
        "pages of all generations share a key: a death in mid-writing tears both checkpoints",
        PUT_LUA,
        "if not redis.call('SET', KEYS[3], ARGV[5], 'NX') then return {'ok', 'again'} end",
        "redis.call('SET', KEYS[3], ARGV[5])",
        Edit(
            "app/redis_keys.py",
            'return f"{self.tag}:page:{generation}:{index}"',
            'return f"{self.tag}:page:{generation[:0]}:{index}"',
        ),
    ),
    mutation(
        "dirty-base-off-by-one",
        "pages that only the first entry after the base touched are not written",
        CHECKPOINT,
        "wanted = sorted({*model.table.dirty(base_seq).tolist(), *damaged})",
        "wanted = sorted({*model.table.dirty(base_seq + 1).tolist(), *damaged})",
    ),
    mutation(
        "segment-base-off-by-one",
        "a state segment that changed is named as the base has it",
        CHECKPOINT,
        "if seqs[i] > base_seq or i in damaged:",
        "if seqs[i] > base_seq + 2 or i in damaged:",
        Edit(
            CHECKPOINT,
            "    if same and (sums[:same][clean[:same]] != old_sums[:same][clean[:same]]).any():\n"
            '        raise BadCheckpoint("a page changed that no entry touched")\n',
            "",
        ),
    ),
    mutation(
        "fold-goes-on-during-the-cut",
        "pages, state and position of a checkpoint are of different moments",
        "app/replica.py",
        "started = await self._owner.job(self._owner.start_checkpoint)",
        "started = await self._owner.start_checkpoint()",
        Edit(
            "app/replica_owner.py",
            "self.checkpoints.start(self.follower.loaded, self.follower.nonce)",
            "self.checkpoints.start(self.follower.loaded, self.follower)",
        ),
        Edit(
            CHECKPOINTING,
            "self._write(taken, nonce, self._base)",
            "self._write(taken, nonce.nonce, self._base)",
        ),
    ),
    mutation(
        "pages-of-the-older-manifest-dropped",
        "what only the older of the kept manifests names is deleted",
        GARBAGE,
        "        for other in others:\n            common",
        "        for other in others[:1]:\n            common",
    ),
    mutation(
        "generation-in-use-buried",
        "a generation is buried although kept manifests name pages of it",
        GARBAGE,
        "if row.generation not in in_use and _may_be_buried(snapshot, row):",
        "if in_use and _may_be_buried(snapshot, row):",
    ),
    mutation(
        "page-checksum-unchecked",
        "a damaged page is loaded and served",
        LOADER,
        "if not right_size or page_checksum(content) != expected:",
        "if not right_size:",
    ),
    mutation(
        "segment-checksum-unchecked",
        "damaged state is loaded and served",
        LOADER,
        "if segment_checksum(content) != int(self.manifest.segment_checksums[index]):",
        "if len(content) == 0:",
    ),
    mutation(
        "manifest-checksum-unchecked",
        "a damaged manifest is believed",
        CHECKPOINT,
        'if xxh64(content[:-8]) != int.from_bytes(content[-8:], "little"):',
        "if len(content) == 0:",
    ),
    mutation(
        "retarget-keeps-old-pages",
        "a loader that moves to a newer manifest keeps pages that have changed since",
        LOADER,
        "return {i for i, (a, b) in enumerate(pairs) if a is not None and a == b}",
        "return {i for i, (a, b) in enumerate(pairs) if a is not None and b is not None}",
    ),
    mutation(
        "window-not-in-the-checkpoint",
        "a reloaded model has forgotten which events it has learned",
        LOADER,
        '    window.load(_count(core["remembered"]), _count(core["carried"]), ids, seq)\n',
        "    del ids[len(ids) :]\n",
    ),
    mutation(
        "examples-not-in-the-checkpoint",
        "a reloaded model rounds by other dice than one that was never away",
        LOADER,
        'model.examples = _count(core["examples"])',
        'model.examples = _count(core["scored"])',
        Edit(CHECKPOINT, '"scored": model.metrics.scored,', '"scored": 0,'),
    ),
    mutation(
        "nonce-of-the-manifest-is-the-newest",
        "the manifest tells the head's nonce and not the one at its position",
        CHECKPOINTING,
        "manifest = Manifest.advance(base.manifest, taken, generation, nonce)",
        "manifest = Manifest.advance(base.manifest, taken, generation, nonce[::-1])",
    ),
)
