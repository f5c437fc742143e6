"""What workers do with a lane, each in one step at the hot node. Keys: :func:`delivery.lanes.keys`; the first argument is the
token of who asks, unless another is named."""

TAKE = """
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""

HOLD = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""

# Only under one's own lease: a holder that lost it does not know what the next one has seen (R14).
TRIM = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
redis.call('DECRBY', KEYS[3], ARGV[3])
return 1
"""

# "Empty" and "given back" are one step, or an entry added in between would wait for the next one (R15).
END = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 1 end
if redis.call('XLEN', KEYS[1]) > 0 then return 0 end
redis.call('DEL', KEYS[2])
return 1
"""

GIVE_BACK = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
"""

# What waits in a lane is asked in the same step: the metrics show it.
ORPHAN = """
local waiting = redis.call('XLEN', KEYS[1])
if waiting == 0 then return {0, 0, 0} end
local t = redis.call('TIME')
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
local age = t[1] * 1000 + math.floor(t[2] / 1000) - tonumber(string.match(first, '^%d+'))
if redis.call('EXISTS', KEYS[2]) == 1 then return {0, waiting, age} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return {1, waiting, age}
"""
