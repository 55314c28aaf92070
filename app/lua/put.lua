-- Write one page, state segment or restore manifest of an open generation, once.
--
-- KEYS  1 meta   2 generations   3 the page, state or manifest key
-- ARGV  1 incarnation   2 generation   3 page | state | manifest   4 index   5 bytes
--
-- reply {'ok', 'new' | 'again'}     again: the key is there already; a generation's bytes are a
--                                   function of its cut, so nothing is compared or written
--
-- refuses
--       {'gone'}   {'incarnation', live one}
--       {'checkpoint', 'unregistered' | 'dead' | 'closed'}
--
-- Never a plain SET: one that arrives late would leave an orphan of a dropped generation, or of a
-- deleted model.

local meta, refusal = open_meta(KEYS[1], ARGV[1], {'seq'})
if not meta then return refusal end
if meta.state ~= 'live' then return {'gone'} end
local row = read_row(KEYS[2], ARGV[2])
if not row then return {'checkpoint', 'unregistered'} end
if row.state == 'dead' then return {'checkpoint', 'dead'} end
if row.state ~= 'open' then return {'checkpoint', 'closed'} end
local index = tonumber(ARGV[4])
if not index or (ARGV[3] == 'manifest' and row.kind ~= 'restore') then
  return redis.error_reply('ERR put.lua: malformed arguments')
end

if not redis.call('SET', KEYS[3], ARGV[5], 'NX') then return {'ok', 'again'} end
if ARGV[3] == 'page' then
  row.pages = row.pages + 1
  row.page_end = math.max(row.page_end, index + 1)
elseif ARGV[3] == 'state' then
  row.segments = row.segments + 1
  row.segment_end = math.max(row.segment_end, index + 1)
end
write_row(KEYS[2], ARGV[2], row)
return {'ok', 'new'}
