-- Change the row of a model in <prefix>:models, only from the value the caller saw.
--
-- KEYS  1 <prefix>:models      no hash tag: never together with a key of a model
-- ARGV  1 model name   2 expected row, '' for none   3 new row
--
-- reply {'ok', row now}        the new row, or the other one that stands there and was left alone

local row = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if row == ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  row = ARGV[3]
end
return {'ok', row}
