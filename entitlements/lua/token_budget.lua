-- One operation on one account's token budget, in one round trip.
--
-- KEYS: 1 the account, 2 its reservations by expiry, 3 the era, 4 the journal, 5 the answer kept under an idempotency key,
--       6 the account's idempotency keys by time
-- ARGV: 1 operation, 2 account, 3 business time (s), 4 tokens (-1 = all that was reserved), 5 reservation, 6 its life (ms),
--       7 fingerprint of the request ("" = no key), 8 the key's name, 9 how long keys are kept (ms), 10 how many of them,
--       11 how many reservations may be open
-- Answers {"ok" | "exceeded", facts}, {"again", facts}, {"reused"}, {"unknown"}, {"full"}, or {"load", turn, era, why} when the
-- account has to be read from the database first.
--
-- Redis refuses a script that would write beyond its memory at the first write that needs memory, so HSET comes before HDEL.
local operation, account, business = ARGV[1], ARGV[2], tonumber(ARGV[3])
local tokens, reservation = tonumber(ARGV[4]), ARGV[5]
local fingerprint = ARGV[7]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Lua writes great numbers as 1e+15 by itself.
local function text(number)
  return string.format('%.0f', number)
end

if fingerprint ~= '' then
  local kept = redis.call('GET', KEYS[5])
  if kept then
    local cut = string.find(kept, '\n', 1, true)
    if string.sub(kept, 1, cut - 1) ~= fingerprint then
      return {'reused'}
    end
    return {'again', string.sub(kept, cut + 1)}
  end
end

local held = redis.call('HMGET', KEYS[1], 'period', 'era', 'limit', 'base', 'own', 'reserved', 'starts', 'ends', 'until', 'check_at', 'turn')
local era = redis.call('GET', KEYS[3]) or ''
if not held[1] or held[2] ~= era then
  return {'load', held[11] or '0', era, held[1] and 'moved' or 'missing'}
end
if now >= tonumber(held[10]) or (held[9] ~= '' and business >= tonumber(held[9])) then
  return {'load', held[11] or '0', era, 'old'}
end
local limit = held[3] ~= '' and tonumber(held[3]) or nil
local base, own, reserved = tonumber(held[4]), tonumber(held[5]), tonumber(held[6])

local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(now))
if #due > 0 then
  local fields = {}
  for place, name in ipairs(due) do
    fields[place] = 'r:' .. name
  end
  for _, amount in ipairs(redis.call('HMGET', KEYS[1], unpack(fields))) do
    reserved = reserved - tonumber(amount or 0)
  end
  redis.call('HSET', KEYS[1], 'reserved', text(reserved))
  redis.call('HDEL', KEYS[1], unpack(fields))
  redis.call('ZREM', KEYS[2], unpack(due))
end

local function room_for(more)
  return not limit or base + own + reserved + more <= limit
end

local function facts(amount, id, expires)
  return table.concat({text(amount), limit and text(limit) or '-', text(base + own), text(reserved), held[7],
    held[8] ~= '' and held[8] or '-', id or '-', expires and text(expires) or '-'}, ' ')
end

local function use(amount)
  own = own + amount
  redis.call('HSET', KEYS[1], 'own', text(own))
  redis.call('HSET', KEYS[4], 'u:' .. held[1] .. ':' .. era, text(own))
end

local function close(amount)
  reserved = reserved - amount
  redis.call('HSET', KEYS[1], 'reserved', text(reserved))
  local expires = tonumber(redis.call('ZSCORE', KEYS[2], reservation))
  redis.call('HSET', KEYS[4], 'r:' .. account .. ':' .. reservation, text(amount) .. ' ' .. text(expires) .. ' 1')
  redis.call('HDEL', KEYS[1], 'r:' .. reservation)
  redis.call('ZREM', KEYS[2], reservation)
end

local function done(answer)
  if fingerprint ~= '' then
    local keep = tonumber(ARGV[9])
    local value = fingerprint .. '\n' .. answer
    redis.call('SET', KEYS[5], value, 'PX', text(keep))
    redis.call('HSET', KEYS[4], 'k:' .. account .. ':' .. ARGV[8], text(now + keep) .. '\n' .. value)
    redis.call('ZADD', KEYS[6], text(now), KEYS[5])
    redis.call('PEXPIRE', KEYS[6], text(keep))
    redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', text(now - keep))
    local over = redis.call('ZCARD', KEYS[6]) - tonumber(ARGV[10])
    if over > 0 then
      for place, name in ipairs(redis.call('ZPOPMIN', KEYS[6], over)) do
        if place % 2 == 1 then
          redis.call('DEL', name)
        end
      end
    end
  end
  return {'ok', answer}
end

if operation == 'check' then
  return {room_for(tokens) and 'ok' or 'exceeded', facts(tokens)}
end

if operation == 'consume' then
  if not room_for(tokens) then
    return {'exceeded', facts(tokens)}
  end
  use(tokens)
  return done(facts(tokens))
end

if operation == 'reserve' then
  if not room_for(tokens) then
    return {'exceeded', facts(tokens)}
  end
  if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[11]) then
    return {'full'}
  end
  local expires = now + tonumber(ARGV[6])
  reserved = reserved + tokens
  redis.call('HSET', KEYS[1], 'reserved', text(reserved), 'r:' .. reservation, text(tokens))
  redis.call('ZADD', KEYS[2], text(expires), reservation)
  redis.call('HSET', KEYS[4], 'r:' .. account .. ':' .. reservation, text(tokens) .. ' ' .. text(expires) .. ' 0')
  return done(facts(tokens, reservation, expires))
end

-- commit and release
local amount = tonumber(redis.call('HGET', KEYS[1], 'r:' .. reservation) or nil)
if not amount then
  return {'unknown'}
end
local used = tokens
if operation == 'release' then
  used = 0
elseif tokens < 0 then
  used = amount
end
if used > amount and not room_for(used - amount) then
  return {'exceeded', facts(used - amount)}
end
close(amount)
if used > 0 then
  use(used)
end
return done(facts(used, reservation))
