"""Planted bugs of appending: acknowledgement, repeated calls, outcomes, positions, groups."""

from __future__ import annotations

from scripts.mutants_run.mutation import Edit, Mutation, mutation

APPEND_LUA = "app/lua/append.lua"
WRITING = "app/writing.py"
OWNER = "app/replica_owner.py"
GROUP = "app/group.py"
WORK = "app/replica_work.py"
DIRECT = "app/direct_path.py"

MUTATIONS: tuple[Mutation, ...] = (
    mutation(
        "acknowledge-before-append",
        "a death between acknowledgement and append loses an acknowledged event",
        WRITING,
        "            resolve(group, await self.append_and_fold(incarnation, plan(group)))\n",
        "            model = self._follower.loaded\n"
        "            position = Position(max(model.position.epoch, 1), model.position.seq + 1)\n"
        "            for request in group:\n"
        "                predictions = model.predict(request.batch)\n"
        "                outcome = LearnOutcome(position, request.batch.rows, 0, predictions)\n"
        "                request.done.set_result(outcome)\n"
        "            resolve(group, await self.append_and_fold(incarnation, plan(group)))\n",
        Edit(
            WRITING,
            "from app.group import LearnRequest, plan, resolve\n",
            "from app.group import LearnOutcome, LearnRequest, plan, resolve\n",
        ),
    ),
    mutation(
        "acknowledge-although-append-failed",
        "a call without a reply is taken for done",
        WRITING,
        "                if time.monotonic() > deadline:\n",
        "                if isinstance(error, AppendUnknown):\n"
        "                    epoch, seq = append.epoch, append.after.seq\n"
        "                    last = Position(epoch, seq + len(append.entries))\n"
        "                    return Appended(\n"
        "                        Position(epoch, seq + 1), last, append.after,\n"
        "                        append.after_nonce, [0] * len(append.entries),\n"
        "                    )\n"
        "                if time.monotonic() > deadline:\n",
    ),
    mutation(
        "retry-as-a-new-batch",
        "a call of unknown outcome is repeated under a new number: appended twice",
        WRITING,
        "            await asyncio.sleep(REPEAT_PAUSE_SECONDS)\n",
        "            await asyncio.sleep(REPEAT_PAUSE_SECONDS)\n"
        "            self._batch_number += 1\n"
        "            append = Append(\n"
        "                append.incarnation, append.epoch, append.producer, self._batch_number,\n"
        "                append.after, append.after_nonce, append.entries, append.log_bytes_max,\n"
        "                append.control,\n"
        "            )\n",
    ),
    mutation(
        "producer-unchecked",
        "append.lua does not know a repeated or a late call",
        APPEND_LUA,
        "if record then\n  local w = words(record)",
        "if record and false then\n  local w = words(record)",
        Edit(
            APPEND_LUA,
            "elseif batch > 1 or after_seq < tonumber(meta.evicted_seq) then",
            "elseif false then",
        ),
    ),
    mutation(
        "late-batch-appended",
        "a late copy of a call, overtaken by a later batch, is appended again",
        APPEND_LUA,
        "  if batch <= tonumber(w[1]) then return {'stale_batch'} end\n",
        "",
    ),
    mutation(
        "repeated-call-refused",
        "a repeated call is not recognised: what was appended is appended under another producer",
        APPEND_LUA,
        "if batch == tonumber(w[1]) and ARGV[#ARGV - 1] == w[7] then",
        "if batch < tonumber(w[1]) and ARGV[#ARGV - 1] == w[7] then",
    ),
    mutation(
        "epoch-unchecked",
        "what was hashed under the seed of before a restore is appended after it",
        APPEND_LUA,
        "if ARGV[2] ~= meta.epoch then return {'epoch', meta.epoch} end",
        "",
    ),
    mutation(
        "position-unchecked",
        "whoever folded a lost history appends to the one that is left, and folds it there",
        APPEND_LUA,
        "if not caller_is_in_log() then",
        "if false then",
        Edit(
            WRITING,
            "        if previous != (follower.loaded.position.seq, follower.nonce):",
            "        if previous[0] != follower.loaded.position.seq:",
        ),
    ),
    mutation(
        "previous-unchecked",
        "own entries are folded though another replica's came between",
        WRITING,
        "        if previous != (follower.loaded.position.seq, follower.nonce):",
        "        if previous == ():",
        Edit(
            WRITING,
            "Position(appended.first.epoch, appended.first.seq + place)",
            "Position(appended.first.epoch, follower.loaded.position.seq + 1)",
        ),
    ),
    mutation(
        "chain-broken-in-a-group",
        "every entry of a group names the nonce before the group",
        APPEND_LUA,
        "    'n', ARGV[i], 'p', nonce, 't', time",
        "    'n', ARGV[i], 'p', meta.nonce, 't', time",
    ),
    mutation(
        "first-position-off-by-one",
        "the acknowledged position is the one before",
        APPEND_LUA,
        "local first = epoch .. '-' .. text(seq + 1)",
        "local first = epoch .. '-' .. text(seq)",
    ),
    mutation(
        "unknown-told-as-not-learned",
        "an append of unknown outcome is told as one that surely did not happen",
        WORK,
        "    elif isinstance(error, LogError) and not isinstance(error, AppendUnknown):",
        "    elif isinstance(error, LogError):",
    ),
    mutation(
        "sent-forgotten",
        "a call sent once and then not deliverable is told as never sent",
        WRITING,
        "                if isinstance(error, RedisAway) and not sent:\n",
        "                if isinstance(error, RedisAway):\n",
    ),
    mutation(
        "cut-told-as-undelivered",
        "a connection that broke after sending counts as one that never was",
        "app/redis_connections.py",
        "raise (AppendUnknown(silent) if commands else RedisAway(silent)) from error",
        "raise RedisAway(silent) from error",
    ),
    mutation(
        "verdicts-of-the-neighbour",
        "requests of one group get the predictions and verdicts of the first",
        GROUP,
        "        start = end\n",
        "",
    ),
    mutation(
        "key-not-stored",
        "the idempotency key is not written into the entry: a retry counts twice",
        GROUP,
        "                    request.idempotency_key,\n",
        "                    0,\n",
    ),
    mutation(
        "body-not-compared",
        "another body under a known key passes for a duplicate",
        GROUP,
        "                    request.body_hash,\n",
        "                    0,\n",
    ),
    mutation(
        "continuation-judged-anew",
        "the second entry of a request is taken for a repetition of the first, and dropped",
        GROUP,
        "continues=start < first,",
        "continues=False,",
    ),
    mutation(
        "other-seed-appended",
        "a request hashed before a restore to another seed is appended after it",
        WORK,
        "    return [request for request in group if request.hash_seed == hash_seed]\n",
        "    return list(group)\n",
        Edit(
            WORK,
            '    fail(other, not_learned("the model was restored meanwhile"))\n',
            "    del other\n",
        ),
    ),
    mutation(
        "one-entry-of-a-request-lost",
        "of a request cut over several entries the last is not appended",
        "app/event_log.py",
        "        for payload, nonce in append.entries:\n",
        "        for payload, nonce in append.entries[: max(1, len(append.entries) - 1)]:\n",
    ),
    mutation(
        "direct-answer-before-the-append",
        "a request answered where it is received is acknowledged when it is handed over",
        DIRECT,
        "        done.add_done_callback(partial(self._learned, replica, route, answer, started))\n",
        "        from ftrl_core.position import Position\n"
        "        model = replica.require_model()\n"
        "        position = Position(max(model.position.epoch, 1), model.position.seq + 1)\n"
        "        early: asyncio.Future[LearnOutcome] = asyncio.get_running_loop().create_future()\n"
        "        predictions = model.predict(decoded.batch)\n"
        "        early.set_result(LearnOutcome(position, decoded.batch.rows, 0, predictions))\n"
        "        self._learned(replica, route, answer, started, early)\n",
        detector="crash",
    ),
    mutation(
        "direct-request-handed-over-twice",
        "a request that was handed to its replica goes the usual way too",
        DIRECT,
        "        done.add_done_callback(partial(self._learned, replica, route, answer, started))\n"
        "        return True\n",
        "        return False\n",
        detector="crash",
    ),
)
