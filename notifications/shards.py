"""Who is due, on the hot node: 64 shards by user, each with all its keys in one slot of a cluster.

- ``{push:N}:due`` zset user → when to look at the user, ms since the epoch.
- ``{push:N}:lease`` the token of the worker that has the shard; while a task for it is on its way, that task's.
- ``{push:N}:calls`` zset user → end of the claim, of those whose calls the worker that has the shard is sending. Who takes the
  shard after it has them urgent again: a call does not wait for the end of a claim.

A user is due, not a message: what a device is told follows from durable state at the time of sending. So an entry that is lost or
written twice changes nothing but the moment, and all scripts may run twice.
"""

from __future__ import annotations

import uuid
from typing import Final

SHARDS: Final = 64
#: For a task on its way; then any worker takes the shard.
TASK_MS: Final = 500
LEASE_MS: Final = 2_000

# An earlier time counts. Whoever finds that nobody has the shard starts a task for it, if somebody is due at once.
# ARGV: token, its time to live, whether a task is wanted, then pairs of time and user.
ADD: Final = """
for i = 4, #ARGV, 2 do redis.call('ZADD', KEYS[1], 'LT', ARGV[i], ARGV[i + 1]) end
if ARGV[3] == '1' and redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""

# Who was done meanwhile is not due, and is not made so.
_CALLS_AGAIN: Final = """
local function calls_again(urgent)
  for _, user in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
    redis.call('ZADD', KEYS[1], 'XX', 'LT', urgent, user)
  end
  redis.call('DEL', KEYS[3])
end
"""

# ARGV: token that was left, own token, time to live, urgent.
TAKE: Final = (
    _CALLS_AGAIN
    + """
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
calls_again(ARGV[4])
return 1
"""
)

# Holds the shard and takes those who are due off until the claim ends: whoever dies meanwhile loses nobody, and a user of whom
# there is something new gets an earlier time, so that the claim is not the last word.
# ARGV: token, time to live, until when one is due, end of the claim, how many, from when back one is urgent. Answers users, each
# with its time; false if another has the shard.
CLAIM: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return false end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
local found = {}
if tonumber(ARGV[5]) > 0 then
  found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[3], 'WITHSCORES', 'LIMIT', 0, ARGV[5])
end
for i = 1, #found, 2 do
  redis.call('ZADD', KEYS[1], ARGV[4], found[i])
  if tonumber(found[i + 1]) <= tonumber(ARGV[6]) then redis.call('ZADD', KEYS[3], ARGV[4], found[i]) end
end
return found
"""

# ARGV: triples of user, end of the claim, when to look again (0: not). Whose time is another by now stays as that says.
FINISH: Final = """
for i = 1, #ARGV, 3 do
  local called = redis.call('ZSCORE', KEYS[3], ARGV[i])
  if called and tonumber(called) == tonumber(ARGV[i + 1]) then redis.call('ZREM', KEYS[3], ARGV[i]) end
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) == tonumber(ARGV[i + 1]) then
    if ARGV[i + 2] == '0' then redis.call('ZREM', KEYS[1], ARGV[i])
    else redis.call('ZADD', KEYS[1], ARGV[i + 2], ARGV[i]) end
  end
end
return 1
"""

# "Nobody is due soon" and "given back" are one step, or who is added in between would wait for the next look. Whose call is being
# sent is due soon, or another worker would send it too. ARGV: token, until.
END: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 1 end
if redis.call('ZCOUNT', KEYS[1], '-inf', ARGV[2]) > 0 then return 0 end
if redis.call('ZCOUNT', KEYS[3], '(' .. ARGV[2], '+inf') > 0 then return 0 end
redis.call('DEL', KEYS[2])
return 1
"""

GIVE_BACK: Final = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1
"""

# ARGV: token, time to live, now, urgent. Answers whether the shard was taken, how many are due and since when the first is.
ORPHAN: Final = (
    _CALLS_AGAIN
    + """
local waiting, age = redis.call('ZCOUNT', KEYS[1], '-inf', ARGV[3]), 0
if waiting == 0 and redis.call('EXISTS', KEYS[3]) == 0 then return {0, 0, 0} end
if waiting > 0 then
  local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
  age = math.floor(tonumber(ARGV[3]) - tonumber(first))
end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {0, waiting, age} end
calls_again(ARGV[4])
return {1, waiting, age}
"""
)


def shard_of(user: str) -> int:
    """The last bits of a user's id are random."""
    return int(user[-2:], 16) % SHARDS


def due_key(shard: int) -> str:
    return f"{{push:{shard}}}:due"


def lease_key(shard: int) -> str:
    return f"{{push:{shard}}}:lease"


def calls_key(shard: int) -> str:
    return f"{{push:{shard}}}:calls"


def keys(shard: int) -> list[str]:
    return [due_key(shard), lease_key(shard), calls_key(shard)]


def new_token() -> str:
    return str(uuid.uuid4())
