-- Register a new generation, trim the log, and mark dead what can no longer be committed.
--
-- KEYS  1 meta   2 log   3 generations
-- ARGV  1 incarnation
--       2 random       16 hex digits drawn by the caller
--       3 base         generation whose manifest the checkpoint builds on, `-` for none
--       4 position     of the caller, for people
--       5 kind         checkpoint | restore
--       6 trim         1 | 0
--
-- reply {'ok', generation}      "<counter>-<random>": the random part makes it new also when a
--                               lossy restart turned the counter back
--
-- refuses
--       {'gone'}   {'incarnation', live one}
--       {'checkpoint', 'base_gone'}   the base is not one of the two manifests kept. `-` counts as
--                                     kept until there are two
--
-- The log is trimmed up to the older manifest and never above it, here and not at commit: a reader
-- that has just taken a manifest then has a whole interval to load it and read on.
--
-- At most OPEN_MAX checkpoints stay open, so that a process that dies before each commit cannot
-- fill the memory with pages that nobody names.

local OPEN_MAX = 8

local meta, refusal = open_meta(KEYS[1], ARGV[1], {
  'manifest', 'previous', 'previous_epoch', 'previous_seq', 'previous_bytes', 'trimmed_seq',
  'next_generation', 'open', 'commits',
})
if not meta then return refusal end
if meta.state ~= 'live' then return {'gone'} end
if ARGV[5] == 'checkpoint' and ARGV[3] ~= meta.manifest and ARGV[3] ~= meta.previous then
  return {'checkpoint', 'base_gone'}
end

local commits = tonumber(meta.commits)
local open, dead =
  part_open(KEYS[3], meta.open, meta.manifest, meta.previous, commits, OPEN_MAX - 1)
local generation = meta.next_generation .. '-' .. ARGV[2]
open[#open + 1] = generation

-- From here on everything is written. XTRIM comes first: it is allowed when memory is full, and
-- what a script writes after its first write is no longer refused for memory.
local older = tonumber(meta.previous_seq)
if ARGV[6] == '1' and meta.previous ~= '-' and older > tonumber(meta.trimmed_seq) then
  redis.call('XTRIM', KEYS[2], 'MINID', '=', meta.previous_epoch .. '-' .. text(older + 1))
  redis.call('HSET', KEYS[1], 'trimmed_seq', meta.previous_seq,
    'bytes_trimmed', meta.previous_bytes)
end
write_row(KEYS[3], generation, {
  state = 'open', kind = ARGV[5], base = ARGV[3], position = ARGV[4], commits = commits,
  pages = 0, page_end = 0, segments = 0, segment_end = 0, pin = 0,
})
redis.call('HSET', KEYS[1], 'open', table.concat(open, ' '),
  'next_generation', text(tonumber(meta.next_generation) + 1))
write_dead(KEYS[3], dead)
return {'ok', generation}
