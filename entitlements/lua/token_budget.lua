-- One operation on one account's token budget, in one round trip.
--
-- KEYS: 1 the account; with an idempotency key also 2 the answer kept under it, 3 the account's keys by time. The others that are
--       used have the same hash tag: the account's reservations by expiry, the era, the journal.
-- ARGV: 1 operation, 2 business time (s), 3 tokens (-1 = all that was reserved), 4 reservation, 5 its life (ms),
--       6 fingerprint of the request, 7 the idempotency key's name (6 and 7 are missing without one)
-- Answers "ok" or "exceeded" and the facts, "again" and the facts kept, "reused", "unknown", "full", or "load", the account's turn,
-- the era and why, when the account has to be read from the database first.
--
-- Few and short arguments and one text in return: most of a call's time is what the client packs and reads.
-- Redis refuses a script that would write beyond its memory at the first write that needs memory, so HSET comes before HDEL.
local ERA, JOURNAL = '{tokens}:era', '{tokens}:journal'
local KEY_KEPT_MS, KEYS_MAX, RESERVATIONS_MAX = @KEY_KEPT_MS@, @KEYS_MAX@, @RESERVATIONS_MAX@
local budget, operation, tokens = KEYS[1], ARGV[1], tonumber(ARGV[3])
local reservation, fingerprint = ARGV[4], ARGV[6]
local reservations = budget .. ':r'

-- Lua writes great numbers as 1e+15 by itself.
local function text(number)
  return string.format('%.0f', number)
end

if fingerprint then
  local kept = redis.call('GET', KEYS[2])
  if kept then
    local cut = string.find(kept, '\n', 1, true)
    if string.sub(kept, 1, cut - 1) ~= fingerprint then
      return 'reused'
    end
    return 'again ' .. string.sub(kept, cut + 1)
  end
end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local held = redis.call('HMGET', budget, 'era', 'check_at', 'until', 'limit', 'base', 'own', 'reserved', 'span', 'entry')
local era = redis.call('GET', ERA) or '-'
local function load(why)
  return 'load ' .. (redis.call('HGET', budget, 'turn') or '0') .. ' ' .. era .. ' ' .. why
end
if held[1] ~= era then
  return load(held[1] and 'moved' or 'missing')
end
if now >= tonumber(held[2]) or (held[3] ~= '' and tonumber(ARGV[2]) >= tonumber(held[3])) then
  return load('old')
end
local limit = tonumber(held[4])
-- No limit is still one: the greatest number that is counted exactly, so that the journal takes every figure.
local most = limit or 9007199254740991
local base, own, reserved = tonumber(held[5]), tonumber(held[6]), tonumber(held[7])

if reserved > 0 then
  local due = redis.call('ZRANGEBYSCORE', reservations, '-inf', text(now))
  if #due > 0 then
    local fields = {}
    for place, name in ipairs(due) do
      fields[place] = 'r:' .. name
    end
    for _, amount in ipairs(redis.call('HMGET', budget, unpack(fields))) do
      reserved = reserved - tonumber(amount or 0)
    end
    redis.call('HSET', budget, 'reserved', text(reserved))
    redis.call('HDEL', budget, unpack(fields))
    redis.call('ZREM', reservations, unpack(due))
  end
end

local function room_for(more)
  return base + own + reserved + more <= most
end

local function facts(amount, expires)
  return text(amount) .. ' ' .. (limit and held[4] or '-') .. ' ' .. text(base + own) .. ' ' .. text(reserved) .. ' ' .. held[8]
    .. ' ' .. (reservation or '-') .. ' ' .. (expires and text(expires) or '-')
end

local function exceeded(amount)
  return 'exceeded ' .. facts(amount)
end

local function use(amount)
  own = own + amount
  local figure = text(own)
  redis.call('HSET', budget, 'own', figure)
  redis.call('HSET', JOURNAL, held[9], figure)
end

local function of_account(kind, name)
  return kind .. string.sub(budget, #'{tokens}:a:' + 1) .. ':' .. name
end

local function done(answer)
  if fingerprint then
    local value = fingerprint .. '\n' .. answer
    redis.call('SET', KEYS[2], value, 'PX', text(KEY_KEPT_MS))
    redis.call('HSET', JOURNAL, of_account('k:', ARGV[7]), text(now + KEY_KEPT_MS) .. '\n' .. value)
    redis.call('ZADD', KEYS[3], text(now), KEYS[2])
    redis.call('PEXPIRE', KEYS[3], text(KEY_KEPT_MS))
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', text(now - KEY_KEPT_MS))
    local over = redis.call('ZCARD', KEYS[3]) - KEYS_MAX
    if over > 0 then
      for place, name in ipairs(redis.call('ZPOPMIN', KEYS[3], over)) do
        if place % 2 == 1 then
          redis.call('DEL', name)
        end
      end
    end
  end
  return 'ok ' .. answer
end

if operation == 'check' then
  return (room_for(tokens) and 'ok ' or 'exceeded ') .. facts(tokens)
end

if operation == 'consume' then
  if not room_for(tokens) then
    return exceeded(tokens)
  end
  use(tokens)
  return done(facts(tokens))
end

if operation == 'reserve' then
  if not room_for(tokens) then
    return exceeded(tokens)
  end
  if redis.call('ZCARD', reservations) >= RESERVATIONS_MAX then
    return 'full'
  end
  local expires = now + tonumber(ARGV[5])
  reserved = reserved + tokens
  redis.call('HSET', budget, 'reserved', text(reserved), 'r:' .. reservation, text(tokens))
  redis.call('ZADD', reservations, text(expires), reservation)
  redis.call('PEXPIRE', reservations, text(@IDLE_MS@))
  redis.call('HSET', JOURNAL, of_account('r:', reservation), text(tokens) .. ' ' .. text(expires) .. ' 0')
  return done(facts(tokens, expires))
end

-- commit and release
local amount = tonumber(redis.call('HGET', budget, 'r:' .. reservation) or nil)
if not amount then
  return 'unknown'
end
local used = tokens
if operation == 'release' then
  used = 0
elseif tokens < 0 then
  used = amount
end
if used > amount and not room_for(used - amount) then
  return exceeded(used - amount)
end
reserved = reserved - amount
local expires = tonumber(redis.call('ZSCORE', reservations, reservation))
redis.call('HSET', budget, 'reserved', text(reserved))
redis.call('HSET', JOURNAL, of_account('r:', reservation), text(amount) .. ' ' .. text(expires) .. ' 1')
redis.call('HDEL', budget, 'r:' .. reservation)
redis.call('ZREM', reservations, reservation)
if used > 0 then
  use(used)
end
return done(facts(used))
