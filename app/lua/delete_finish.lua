-- Remove the last keys of a deleted model: log, producers, generations, and meta with them.
--
-- KEYS  1 meta   2 log   3 producers   4 generations
-- ARGV  1 incarnation
--
-- reply {'ok'}
--
-- refuses
--       {'gone'}                       finished by somebody else already
--       {'incarnation', live one}
--       {'checkpoint', 'live'}         not deleted, or a generation still has a row: its pages
--                                      would have no name left by which to find them

local meta, refusal = open_meta(KEYS[1], ARGV[1], {'seq'})
if not meta then return refusal end
if meta.state ~= 'deleted' or redis.call('HLEN', KEYS[4]) > 0 then return {'checkpoint', 'live'} end

-- UNLINK: the log may be large, and its memory is given back beside the event loop.
redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[1])
return {'ok'}
