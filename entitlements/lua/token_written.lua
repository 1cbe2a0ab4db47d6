-- Take entries out of the journal that are in the database now. What was written over meanwhile stays for the next round.
-- KEYS: 1 the journal, 2 when something was last taken out (µs). ARGV: entry, value, entry, value …
local gone = 0
for place = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[place]) == ARGV[place + 1] then
    gone = gone + redis.call('HDEL', KEYS[1], ARGV[place])
  end
end
if gone > 0 then
  -- The time, not a count: one that was evicted would begin again and could come to the same figure.
  local clock = redis.call('TIME')
  redis.call('SET', KEYS[2], clock[1] .. '.' .. clock[2])
end
return gone
