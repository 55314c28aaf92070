-- Delete pages and segments of one generation that neither kept manifest names.
--
-- KEYS  1 meta   2 generations   3 manifest key of the generation   4 ... pages, then segments
-- ARGV  1 incarnation   2 generation
--       3 newest   4 previous     the manifests kept, by which the caller decided; `-` for none
--       5 pages                   how many of KEYS 4 ... are pages
--       6 what                    pages: delete KEYS 4 ...
--                                 retire: also the manifest; its row stays while others name pages
--                                 bury: also the manifest and the row: nothing is left
--
-- reply {'ok', keys deleted}      a generation without a row is dropped already: 0
--
-- refuses
--       {'gone'}   {'incarnation', live one}
--       {'checkpoint', 'stale_drop'}  other manifests are kept by now. After a lossy restart they
--                                     may be older ones, which name what the caller thinks unnamed
--       {'checkpoint', 'in_use'}      open, kept, or pinned by a restore entry that two
--                                     checkpoints have not yet passed
--
-- What no kept manifest names is never named again: a new manifest names pages of its base, which
-- is kept, and of its own generation, which is open. Of a deleted model everything may go.

local meta, refusal = open_meta(KEYS[1], ARGV[1], {
  'manifest', 'previous', 'previous_seq', 'open', 'damaged',
})
if not meta then return refusal end
local generation = ARGV[2]
local row = read_row(KEYS[2], generation)
if meta.state ~= 'deleted' then
  if meta.manifest ~= ARGV[3] or meta.previous ~= ARGV[4] then
    return {'checkpoint', 'stale_drop'}
  end
  if generation == meta.manifest or generation == meta.previous then
    return {'checkpoint', 'in_use'}
  end
  if row and (row.state == 'open'
      or (row.state == 'pinned' and tonumber(meta.previous_seq) < row.pin)) then
    return {'checkpoint', 'in_use'}
  end
end
if not row then return {'ok', '0'} end

local page_last = 3 + tonumber(ARGV[5])
local deleted = 0
for i = 4, #KEYS do
  local one = redis.call('UNLINK', KEYS[i])
  deleted = deleted + one
  if i <= page_last then row.pages = row.pages - one else row.segments = row.segments - one end
end
if ARGV[6] ~= 'pages' then
  redis.call('UNLINK', KEYS[3])
  if row.state == 'committed' then row.state = 'retired' end
end
if ARGV[6] ~= 'bury' then
  write_row(KEYS[2], generation, row)
  return {'ok', text(deleted)}
end
redis.call('HDEL', KEYS[2], generation)
if meta.damaged then
  local left = {}
  for _, item in ipairs(words(meta.damaged)) do
    if string.sub(item, 1, #generation + 1) ~= generation .. '/' then left[#left + 1] = item end
  end
  redis.call('HSET', KEYS[1], 'damaged', table.concat(left, ' '))
end
return {'ok', text(deleted)}
