-- Make a generation's manifest the newest one.
--
-- KEYS  1 meta   2 log   3 generations   4 manifest key of the generation
-- ARGV  1 incarnation   2 generation   3 epoch
--       4 seq           position of the cut
--       5 nonce         of the entry there
--       6 pages         pages the manifest names of this very generation
--       7 segments      the same for state segments
--       8 full          1: the caller was refused an append because the log is full
--       9 manifest      its bytes
--
-- reply {'ok', 'new' | 'again'}     again: it is one of the two kept already (a repeated call)
--
-- refuses, in this order
--       {'gone'}   {'incarnation', live one}
--       {'checkpoint', 'unregistered' | 'dead' | 'closed'}
--       {'checkpoint', 'incomplete'}    a put was lost, or never came
--       {'epoch', current}              the cut is of a history that a restore left
--       {'checkpoint', 'base_gone'}     two commits came between: pages it names may be dropped
--       {'regressed', head}             the log holds no entry with that nonce at that position
--       {'checkpoint', 'not_newer'}     equal is taken only with `full`: begin trims to the older
--                                       of two manifests, so a full log empties only when both
--                                       are at its end

local meta, refusal = open_meta(KEYS[1], ARGV[1], {
  'epoch', 'seq', 'nonce', 'bytes_total', 'open', 'commits', 'manifest', 'previous',
  'manifest_epoch', 'manifest_seq', 'manifest_nonce', 'manifest_bytes',
})
if not meta then return refusal end
if meta.state ~= 'live' then return {'gone'} end
local generation = ARGV[2]
if generation == meta.manifest or generation == meta.previous then return {'ok', 'again'} end
local row = read_row(KEYS[3], generation)
if not row then return {'checkpoint', 'unregistered'} end
if row.state == 'dead' then return {'checkpoint', 'dead'} end
if row.state ~= 'open' or row.kind ~= 'checkpoint' then return {'checkpoint', 'closed'} end
if row.pages ~= tonumber(ARGV[6]) or row.segments ~= tonumber(ARGV[7]) then
  return {'checkpoint', 'incomplete'}
end
if ARGV[3] ~= meta.epoch then return {'epoch', meta.epoch} end
if row.base ~= meta.manifest and row.base ~= meta.previous then
  return {'checkpoint', 'base_gone'}
end

-- Log bytes up to the cut, or nil when the log does not hold it.
local seq = tonumber(ARGV[4])
local function bytes_at_cut()
  if seq < 1 or seq > tonumber(meta.seq) then return nil end
  if seq == tonumber(meta.seq) then return ARGV[5] == meta.nonce and meta.bytes_total or nil end
  local id = ARGV[3] .. '-' .. text(seq)
  local found = redis.call('XRANGE', KEYS[2], id, id)[1]
  if found then
    local fields = found[2]
    return fields[1] == 'n' and fields[2] == ARGV[5] and fields[7] == 'c' and fields[8] or nil
  end
  -- Trimmed up to the newest manifest, which is then also the older one: its own record decides.
  local same = seq == tonumber(meta.manifest_seq) and ARGV[5] == meta.manifest_nonce
  return same and meta.manifest_bytes or nil
end
local bytes = bytes_at_cut()
if not bytes then return {'regressed', meta.epoch .. '-' .. meta.seq} end
local newest = tonumber(meta.manifest_seq)
if seq < newest or (seq == newest and ARGV[8] ~= '1') then return {'checkpoint', 'not_newer'} end

local commits = tonumber(meta.commits) + 1
local open, dead = part_open(
  KEYS[3], without(meta.open, generation), generation, meta.manifest, commits, math.huge)

-- From here on everything is written; SET comes first, for it alone can be refused for memory.
redis.call('SET', KEYS[4], ARGV[9])
row.state = 'committed'
write_row(KEYS[3], generation, row)
redis.call('HSET', KEYS[1],
  'previous', meta.manifest, 'previous_epoch', meta.manifest_epoch,
  'previous_seq', meta.manifest_seq, 'previous_nonce', meta.manifest_nonce,
  'previous_bytes', meta.manifest_bytes,
  'manifest', generation, 'manifest_epoch', ARGV[3], 'manifest_seq', text(seq),
  'manifest_nonce', ARGV[5], 'manifest_bytes', bytes,
  'commits', text(commits), 'open', table.concat(open, ' '))
write_dead(KEYS[3], dead)
return {'ok', 'new'}
