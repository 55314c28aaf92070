-- What every script begins with: lua_scripts.py puts this file before each of the others.
--
-- Numbers travel as text. Lua's are doubles: tostring(1e15) is "1e+15", so text(n) prints them,
-- and seqs stay below 2^53. A script replies {'ok', ...} or {<why not>, ...}; a refusal comes
-- before the first write, for Redis does not roll a script back.
--
-- A generation's row in {...}:generations, ten words:
--
--   state      open | dead | committed | retired (its manifest is deleted) | pinned (by a restore)
--   kind       checkpoint | restore
--   base       generation whose manifest it builds on, `-` for none
--   position   <epoch>-<seq> of the head known at begin, for people
--   commits    meta.commits at begin
--   pages      pages written and not yet dropped
--   page_end   highest page index written, plus 1
--   segments   state segments written and not yet dropped
--   segment_end
--   pin        seq of the restore entry that names it, 0 before

-- Dead is always safe: the next put, commit or restore of such a generation is refused.

-- Bytes that an entry costs Redis beside its payload: fields, id and stream node, rounded up.
local ENTRY_OVERHEAD = 128
-- A restore's registration survives this many commits of others before it is dead: it has no base
-- that could be dropped, it only must not lie about for ever when its process died.
local RESTORE_COMMITS = 16

local function text(number)
  return string.format('%.0f', number)
end

local function words(line)
  local list = {}
  for word in string.gmatch(line, '%S+') do list[#list + 1] = word end
  return list
end

-- The fields asked for of meta as a table, or nil and the refusal.
local function open_meta(key, incarnation, names)
  local values = redis.call('HMGET', key, 'incarnation', 'state', unpack(names))
  if not values[1] then return nil, {'gone'} end
  if values[1] ~= incarnation then return nil, {'incarnation', values[1]} end
  local meta = {incarnation = values[1], state = values[2]}
  for i, name in ipairs(names) do meta[name] = values[i + 2] end
  return meta
end

local function read_row(key, generation)
  local line = redis.call('HGET', key, generation)
  if not line then return nil end
  local w = words(line)
  return {
    state = w[1], kind = w[2], base = w[3], position = w[4], commits = tonumber(w[5]),
    pages = tonumber(w[6]), page_end = tonumber(w[7]),
    segments = tonumber(w[8]), segment_end = tonumber(w[9]), pin = tonumber(w[10]),
  }
end

local function write_row(key, generation, row)
  redis.call('HSET', key, generation, table.concat({
    row.state, row.kind, row.base, row.position, text(row.commits),
    text(row.pages), text(row.page_end), text(row.segments), text(row.segment_end), text(row.pin),
  }, ' '))
end

-- The list meta.open without one generation.
local function without(open, generation)
  local left = {}
  for _, word in ipairs(words(open)) do
    if word ~= generation then left[#left + 1] = word end
  end
  return table.concat(left, ' ')
end

-- Parts meta.open into the generations that may still be committed while `newest` and `older` are
-- kept, and those that may not: what builds on a manifest no longer kept, since pages that only it
-- named may be dropped; a restore that waited for RESTORE_COMMITS commits; and the oldest
-- checkpoints beyond `limit`. Reads only; write_dead writes.
local function part_open(key, open, newest, older, commits, limit)
  local living, dead, checkpoints = {}, {}, 0
  local registered = words(open)
  for i = #registered, 1, -1 do
    local row = read_row(key, registered[i])
    if row then
      local lives
      if row.kind == 'restore' then
        lives = commits - row.commits < RESTORE_COMMITS
      else
        checkpoints = checkpoints + 1
        lives = (row.base == newest or row.base == older) and checkpoints <= limit
      end
      if lives then table.insert(living, 1, registered[i]) else dead[registered[i]] = row end
    end
  end
  return living, dead
end

local function write_dead(key, dead)
  for generation, row in pairs(dead) do
    row.state = 'dead'
    write_row(key, generation, row)
  end
end

