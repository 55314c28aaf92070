-- Make a model: its meta and its first entry, `create`, at position 1-1.
--
-- KEYS  1 meta   2 log   3 producers   4 generations
-- ARGV  1 incarnation      random, drawn by the caller; the nonce before the first entry
--       2 nonce            of the create entry
--       3 payload          of the create entry
--       4 configuration    text kept in meta
--       5 channel          where the new head is published
--
-- reply {'ok', created ms, 'new' | 'again'}    again: this very incarnation is there and lives
--
-- refuses
--       {'exists', incarnation, 'live' | 'deleted'}
--       {'foreign'}        no meta, but another key of the model: somebody else wrote it, or meta
--                          was lost; made anew it would mix two histories

local there = redis.call('HMGET', KEYS[1], 'incarnation', 'state', 'created')
if there[1] then
  if there[1] == ARGV[1] and there[2] == 'live' then return {'ok', there[3], 'again'} end
  return {'exists', there[1], there[2]}
end
if redis.call('EXISTS', unpack(KEYS)) > 0 then return {'foreign'} end

local clock = redis.call('TIME')
local time = text(tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))
local bytes = text(#ARGV[3] + ENTRY_OVERHEAD)
redis.call('XADD', KEYS[2], '1-1',
  'n', ARGV[2], 'p', ARGV[1], 't', time, 'c', bytes, 'b', ARGV[3])
redis.call('HSET', KEYS[1],
  'incarnation', ARGV[1], 'state', 'live', 'created', time, 'configuration', ARGV[4],
  'epoch', '1', 'seq', '1', 'nonce', ARGV[2], 'time', time,
  'bytes_total', bytes, 'bytes_trimmed', '0', 'trimmed_seq', '0', 'evicted_seq', '0',
  'next_generation', '1', 'open', '', 'commits', '0',
  'manifest', '-', 'manifest_epoch', '0', 'manifest_seq', '0', 'manifest_nonce', ARGV[1],
  'manifest_bytes', '0',
  'previous', '-', 'previous_epoch', '0', 'previous_seq', '0', 'previous_nonce', ARGV[1],
  'previous_bytes', '0')
redis.pcall('PUBLISH', ARGV[5], '1-1 ' .. ARGV[2])
return {'ok', time, 'new'}
