-- Take entries out of the journal that are in the database now. What was written over meanwhile stays for the next round.
-- KEYS: 1 the journal. ARGV: entry, value, entry, value …
local gone = 0
for place = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[place]) == ARGV[place + 1] then
    gone = gone + redis.call('HDEL', KEYS[1], ARGV[place])
  end
end
return gone
