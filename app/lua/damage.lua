-- Note that a page or segment named by both kept manifests is damaged.
--
-- KEYS  1 meta
-- ARGV  1 incarnation   2 item: <generation>/page/<index> or <generation>/state/<index>
--
-- reply {'ok'}
--
-- refuses
--       {'gone'}   {'incarnation', live one}
--
-- The next checkpoint of a replica that has the page in memory writes it though it is clean.
-- Items go when their generation is buried; the list is bounded in any case.

local DAMAGED_MAX = 1024

local meta, refusal = open_meta(KEYS[1], ARGV[1], {'damaged'})
if not meta then return refusal end
if meta.state ~= 'live' then return {'gone'} end
local items = words(without(meta.damaged or '', ARGV[2]))
items[#items + 1] = ARGV[2]
while #items > DAMAGED_MAX do table.remove(items, 1) end
redis.call('HSET', KEYS[1], 'damaged', table.concat(items, ' '))
return {'ok'}
