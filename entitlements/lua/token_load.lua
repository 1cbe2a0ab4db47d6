-- Put an account's budget into Redis as the database has it, without losing what Redis knows better.
--
-- KEYS: 1 the account, 2 its reservations by expiry, 3 the account's idempotency keys by time, 4 the era, 5 the journal,
--       6 when something was last taken out of the journal
-- ARGV: 1 what the database says, as JSON
-- Answers 1, or 0 when what the database said may be too old: since it was asked, the era has changed, or something was taken out
-- of the journal, which the account itself would know, but is not here.
local given = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function text(number)
  return string.format('%.0f', number)
end

local era = redis.call('GET', KEYS[4]) or '-'
if era ~= given.era then
  return 0
end
if era == '-' then
  era = given.new_era
  redis.call('SET', KEYS[4], era)
end

-- What this Redis counted itself in this era, and what was counted before and elsewhere. The first only grows, and the greatest
-- of its three copies is the newest.
local held = redis.call('HMGET', KEYS[1], 'period', 'era', 'own', 'base', 'reserved', 'turn')
local counts_on = held[2] == era and held[1] == given.period
if not counts_on and (redis.call('GET', KEYS[6]) or '-') ~= given.written then
  return 0
end
local own, base = 0, 0
for _, use in ipairs(given.uses) do
  if use[1] == era then
    own = math.max(own, use[2])
  else
    base = base + use[2]
  end
end
own = math.max(own, tonumber(redis.call('HGET', KEYS[5], 'u:' .. given.period .. ':' .. era) or 0))

local reserved = 0
if held[2] == era then
  reserved = tonumber(held[5])
  if held[1] == given.period then
    own, base = math.max(own, tonumber(held[3])), math.max(base, tonumber(held[4]))
  end
else
  redis.call('DEL', KEYS[1], KEYS[2])
  for _, one in ipairs(given.reservations) do
    if one[3] > now then
      reserved = reserved + one[2]
      redis.call('HSET', KEYS[1], 'r:' .. one[1], text(one[2]))
      redis.call('ZADD', KEYS[2], text(one[3]), one[1])
    end
  end
  for _, one in ipairs(given.keys) do
    if one[3] > now then
      redis.call('SET', one[1], one[2], 'PX', text(one[3] - now), 'NX')
      redis.call('ZADD', KEYS[3], text(one[3] - given.keep), one[1])
    end
  end
  redis.call('PEXPIRE', KEYS[3], text(given.keep))
end

-- Somebody changed what the account is on while the database was read: look again at the next call.
local turn = held[6] or '0'
local check_at = turn == given.turn and now + given.fresh or 0
redis.call('HSET', KEYS[1], 'period', given.period, 'era', era, 'limit', given.limit, 'base', text(base), 'own', text(own),
  'reserved', text(reserved), 'span', given.starts .. ' ' .. given.ends, 'until', given['until'], 'check_at', text(check_at),
  'entry', 'u:' .. given.period .. ':' .. era, 'turn', turn)
redis.call('PEXPIRE', KEYS[1], text(given.idle))
redis.call('PEXPIRE', KEYS[2], text(given.idle))
return 1
