-- Append a group of entries, all or nothing.
--
-- KEYS  1 meta   2 log   3 producers   4 generations
-- ARGV  1 incarnation
--       2 epoch              of the caller
--       3 producer           id drawn at random by the caller's process
--       4 batch              number of this call, from 1; a repeated call repeats it
--       5 after              <epoch>-<seq>: the caller's position, 0-0 before the first entry
--       6 after nonce        of the entry there; the incarnation before the first entry
--       7 log bytes cap      0: none
--       8 channel            where the new head is published
--       9 control            '' | restore | skip | delete | configure
--      10 11 12              restore: generation, pages, segments; skip: seq; else ''
--      13 configuration      '' leaves meta's; else the text that replaces it
--      14 15 ...             nonce, payload of each entry
--
-- reply {'ok', first, last, previous, previous nonce, time ms, 'new' | 'again'}
--
-- refuses, in this order
--       {'gone'}                     no such model, or deleted (after a repeated batch is answered)
--       {'incarnation', live one}
--       {'stale_batch'}              the producer has appended a later batch, or another one
--                                    under this number
--       {'producer_unknown'}         evicted, or cannot be told from one that was
--       {'epoch', current}
--       {'regressed', head}          the log does not hold the caller's position with its nonce
--       {'full', bytes now, cap}
--       {'checkpoint', reason}       restore: the registration does not stand in full
--       {'skip'}                     skip: a kept checkpoint is at or past the position
--
-- A producer's last batch is remembered (its number, the words of the reply, its last nonce), for
-- the 1,024 producers that appended last. An unknown producer is taken for new only with batch 1
-- and only from a position not before the last entry of anyone evicted: a late copy of an evicted
-- producer's batch was sent from before that batch's own entries, so it can never pass for new.
-- restore and skip begin a new epoch with their entry; the seq goes on. Readers learn the rest
-- from the fields of an entry:
--
--   n nonce   p previous nonce   t append time ms   c log bytes up to and with it   b payload

local PRODUCERS_MAX = 1024
local PAYLOAD_MAX = 67108864

local meta, refusal = open_meta(KEYS[1], ARGV[1], {
  'epoch', 'seq', 'nonce', 'time', 'bytes_total', 'bytes_trimmed', 'trimmed_seq', 'evicted_seq',
  'manifest_seq', 'open',
})
if not meta then return refusal end

local batch = tonumber(ARGV[4])
local after_epoch, after_seq = string.match(ARGV[5], '^(%d+)%-(%d+)$')
after_seq = tonumber(after_seq)
local cap = tonumber(ARGV[7])
local count = (#ARGV - 13) / 2
local control = ARGV[9]
local bumps = control == 'restore' or control == 'skip'
local whole = count >= 1 and count == math.floor(count)
if not (batch and batch >= 1 and after_seq and cap and whole) then
  return redis.error_reply('ERR append.lua: malformed arguments')
end
if control ~= '' and count ~= 1 then
  return redis.error_reply('ERR append.lua: a control entry stands alone')
end

-- The producer first: a repeated call gets the reply it missed, whatever happened since.
local record = redis.call('HGET', KEYS[3], ARGV[3])
if record then
  local w = words(record)
  if batch == tonumber(w[1]) and ARGV[#ARGV - 1] == w[7] then
    -- A write that changes nothing, for a WAITAOF that follows: it waits for the writes of its own
    -- connection, and the call that appended came over another one.
    redis.pcall('HSET', KEYS[3], ARGV[3], record)
    return {'ok', w[2], w[3], w[4], w[5], w[6], 'again'}
  end
  if batch <= tonumber(w[1]) then return {'stale_batch'} end
elseif batch > 1 or after_seq < tonumber(meta.evicted_seq) then
  return {'producer_unknown'}
end
if meta.state ~= 'live' then return {'gone'} end
if ARGV[2] ~= meta.epoch then return {'epoch', meta.epoch} end

local seq = tonumber(meta.seq)
local function caller_is_in_log()
  if after_seq > seq then return false end
  if after_seq == seq then return ARGV[6] == meta.nonce end
  if after_seq == 0 then return ARGV[6] == ARGV[1] end
  if after_seq <= tonumber(meta.trimmed_seq) then return true end
  local id = after_epoch .. '-' .. text(after_seq)
  local found = redis.call('XRANGE', KEYS[2], id, id)[1]
  return found ~= nil and found[2][1] == 'n' and found[2][2] == ARGV[6]
end
if not caller_is_in_log() then return {'regressed', meta.epoch .. '-' .. meta.seq} end

local total = tonumber(meta.bytes_total)
local grown = total
for i = 15, #ARGV, 2 do
  if #ARGV[i] > PAYLOAD_MAX then
    return redis.error_reply('ERR append.lua: a payload is too large')
  end
  grown = grown + #ARGV[i] + ENTRY_OVERHEAD
end
if cap > 0 and grown - tonumber(meta.bytes_trimmed) > cap then
  return {'full', text(total - tonumber(meta.bytes_trimmed)), ARGV[7]}
end

local restored
if control == 'restore' then
  restored = read_row(KEYS[4], ARGV[10])
  if not restored then return {'checkpoint', 'unregistered'} end
  if restored.state == 'dead' then return {'checkpoint', 'dead'} end
  if restored.state ~= 'open' or restored.kind ~= 'restore' then return {'checkpoint', 'closed'} end
  if restored.pages ~= tonumber(ARGV[11]) or restored.segments ~= tonumber(ARGV[12]) then
    return {'checkpoint', 'incomplete'}
  end
elseif control == 'skip' and tonumber(meta.manifest_seq) >= tonumber(ARGV[10]) then
  return {'skip'}
end

local evicted, evicted_seq
if not record and redis.call('HLEN', KEYS[3]) >= PRODUCERS_MAX then
  local all = redis.call('HGETALL', KEYS[3])
  for i = 1, #all, 2 do
    local last = tonumber(string.match(all[i + 1], '^%S+ %S+ %d+%-(%d+)'))
    if not evicted or last < evicted_seq then evicted, evicted_seq = all[i], last end
  end
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local time = text(math.max(now, tonumber(meta.time)))
local epoch = bumps and text(tonumber(meta.epoch) + 1) or meta.epoch
local previous = meta.epoch .. '-' .. meta.seq
local first = epoch .. '-' .. text(seq + 1)
local last = epoch .. '-' .. text(seq + count)

-- From here on everything is written. The first XADD can still fail (out of memory, a stream that
-- somebody else wrote to) and then nothing is; what follows it cannot.
local nonce = meta.nonce
for i = 14, #ARGV, 2 do
  seq = seq + 1
  total = total + #ARGV[i + 1] + ENTRY_OVERHEAD
  redis.call('XADD', KEYS[2], epoch .. '-' .. text(seq),
    'n', ARGV[i], 'p', nonce, 't', time, 'c', text(total), 'b', ARGV[i + 1])
  nonce = ARGV[i]
end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', text(seq), 'nonce', nonce, 'time', time,
  'bytes_total', text(total))
if ARGV[13] ~= '' then redis.call('HSET', KEYS[1], 'configuration', ARGV[13]) end
if bumps then redis.call('HDEL', KEYS[1], 'agreement') end
if control == 'delete' then redis.call('HSET', KEYS[1], 'state', 'deleted') end
if restored then
  restored.state, restored.pin = 'pinned', seq
  write_row(KEYS[4], ARGV[10], restored)
  redis.call('HSET', KEYS[1], 'open', without(meta.open, ARGV[10]))
end
if evicted then
  redis.call('HDEL', KEYS[3], evicted)
  if evicted_seq > tonumber(meta.evicted_seq) then
    redis.call('HSET', KEYS[1], 'evicted_seq', text(evicted_seq))
  end
end
redis.call('HSET', KEYS[3], ARGV[3],
  table.concat({ARGV[4], first, last, previous, meta.nonce, time, nonce}, ' '))
-- Only a hint, and a server may forbid it: readers look at meta once a second anyway.
redis.pcall('PUBLISH', ARGV[8], epoch .. '-' .. text(seq) .. ' ' .. nonce)
return {'ok', first, last, previous, meta.nonce, time, 'new'}
