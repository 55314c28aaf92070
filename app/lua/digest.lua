-- Note the state digest that a replica has at a position, beside what others have said of it.
--
-- KEYS  1 meta
-- ARGV  1 incarnation   2 <epoch>-<seq>   3 digest
--       4 votes         1; 2 from who has just loaded and folded anew; 0 from who said so before
--       5 seconds after which what nobody says any more does not stand
--
-- reply {'ok', position, digest, votes}   what stands now, maybe of a later position; or {'ok'} to
--                                         who has not read the newest epoch yet
--
-- refuses
--       {'gone'}   {'incarnation', live one}
--
-- meta.agreement is `<position> <digest> <votes> <another digest, or -> <second of Redis' clock>`,
-- of the newest position. The first digest stands until another one is said by two replicas, or by
-- one that has loaded and folded anew; a digest with two votes stands as long as it is said. A new
-- epoch begins without one (append.lua): what a skipped entry did is no state of the model. What
-- cannot be read, or is of a position that the log does not have, is damaged and stands for nothing.

local meta, refusal = open_meta(KEYS[1], ARGV[1], {'agreement', 'epoch', 'seq'})
if not meta then return refusal end
if meta.state ~= 'live' then return {'gone'} end

local function numbers_of(position)
  local epoch, seq = string.match(position, '^(%d+)%-(%d+)$')
  return tonumber(epoch), tonumber(seq)
end

local epoch, seq = numbers_of(ARGV[2])
if epoch < tonumber(meta.epoch) then return {'ok'} end
local at, digest, votes, other, said_at = unpack(words(meta.agreement or ''))
votes, said_at = tonumber(votes), tonumber(said_at)
local at_seq = select(2, numbers_of(at or ''))
local stands = votes and said_at and at_seq and at_seq <= tonumber(meta.seq)
local said = tonumber(ARGV[4])
local now = tonumber(redis.call('TIME')[1])
if not stands or seq > at_seq then
  at, digest, votes, other, said_at = ARGV[2], ARGV[3], math.max(said, 1), '-', now
elseif at == ARGV[2] and digest == ARGV[3] then
  votes, said_at = math.min(votes + said, 1000), now
elseif at == ARGV[2] then
  local unsaid = now - said_at > tonumber(ARGV[5])
  if (said > 1 and (votes < 2 or unsaid)) or (votes < 2 and other == ARGV[3]) then
    digest, votes, other, said_at = ARGV[3], 2, '-', now
  elseif other == '-' then
    other = ARGV[3]
  end
end
redis.call('HSET', KEYS[1], 'agreement',
  table.concat({at, digest, text(votes), other, text(said_at)}, ' '))
return {'ok', at, digest, text(votes)}
