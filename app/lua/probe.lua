-- What an append would be refused with now, found out without writing anything.
--
-- KEYS  1 meta   2 log
--
-- reply {'ok'}, or the error reply that an append would get: out of memory, read-only, forbidden
--
-- refuses
--       {'ended', last id}   the stream ends with an id that no append of ours gave
--
-- XADD under the id 0-0 is always an error, yet only after all that forbids a write is looked at.

local tried = redis.pcall('XADD', KEYS[2], '0-0', 'n', '')
if not string.find(tried.err, 'greater than 0-0', 1, true) then return tried end
if redis.call('EXISTS', KEYS[2]) == 0 then return {'ok'} end
local info = redis.pcall('XINFO', 'STREAM', KEYS[2])
if info.err then return info end
local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' and head[1] and info[i + 1] ~= head[1] .. '-' .. head[2] then
    return {'ended', info[i + 1]}
  end
end
return {'ok'}
