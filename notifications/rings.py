"""Calls that ring: what a device that has no session is woken for at once.

A call is nothing durable: who does not hear it in time has missed it. So a ring stands on the hot node, beside those who are due,
until shortly after its end, and goes with it: the caller hears nobody and calls again. What a device was told of it is durable as
of a conversation (:class:`notifications.plans.Told` under the call's id): 1, it rings; 2, it was taken back. A ring is thus sent
once, and its end only where it rang.

``{push:N}:ring:<user>`` hash: call → since, until, 1 when it is over, caller, audio or video; separated by blanks. ``until`` of
what was ended is when it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from notifications.due import URGENT_MS, Due
from notifications.shards import shard_of
from whatsapp.infra import faults
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import HotUnavailable

#: Rings of one user at a time; the next callers are told that nobody can be reached.
MOST: Final = 4
#: How long an end is remembered, ms: a device that is told of it late still takes its notification away.
OVER_MS: Final = 60_000
#: So many ends of one user at a time, which take nobody's place; of more, the first is forgotten.
MOST_OVER: Final = 16

RINGS, OVER = 1, 2

# ARGV: call, value, ms until it is forgotten, most, now, ms for which an end is remembered, most ends.
_RING: Final = """
local every = redis.call('HGETALL', KEYS[1])
local now, others, over, first, first_at = tonumber(ARGV[5]), 0, 0, nil, nil
for i = 1, #every, 2 do
  local ends, is_over = string.match(every[i + 1], '^%d+ (%d+) (%d)')
  ends = tonumber(ends)
  if ends + tonumber(ARGV[6]) <= now then redis.call('HDEL', KEYS[1], every[i])
  elseif every[i] ~= ARGV[1] then
    if is_over == '0' and ends > now then others = others + 1
    else
      over = over + 1
      if not first or ends < first_at then first, first_at = every[i], ends end
    end
  end
end
if others >= tonumber(ARGV[4]) then return 0 end
if over > tonumber(ARGV[7]) then redis.call('HDEL', KEYS[1], first) end
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
"""

# ARGV: call, now.
_END: Final = """
local one = redis.call('HGET', KEYS[1], ARGV[1])
if not one then return 0 end
local since, ends, rest = string.match(one, '^(%d+) (%d+) %d (.*)$')
if tonumber(ARGV[2]) < tonumber(ends) then ends = ARGV[2] end
redis.call('HSET', KEYS[1], ARGV[1], since .. ' ' .. ends .. ' 1 ' .. rest)
return 1
"""


class Ring(NamedTuple):
    """A call of one user by another. Times are ms since the epoch."""

    call: str  # a UUID
    caller: str
    kind: str  # ``audio`` or ``video``
    since: int
    until: int  # nobody is rung for it from then on
    over: bool = False  # answered, declined, or given up

    def rings(self, now: int) -> bool:
        return not self.over and now < self.until


def ring_key(user: str) -> str:
    return f"{{push:{shard_of(user)}}}:ring:{user}"


class Rings:
    """For processes that know of calls. ``due``: theirs (:mod:`notifications.binding`)."""

    def __init__(self, hot: Hot, due: Due) -> None:
        self._hot, self._due = hot, due
        self._ring, self._end = hot.script(_RING), hot.script(_END)

    async def ring(self, user: str, ring: Ring, now: int) -> bool:
        """Wake the devices of ``user`` that have no session; whoever is connected is told over the socket. The same call may
        be rung again, which changes nothing. False: too many ring already. Raises ``HotUnavailable``."""
        value = f"{ring.since} {ring.until} 0 {ring.caller} {ring.kind}"
        lives = max(1, ring.until - now) + OVER_MS
        remembered = 0 if faults.off("ring_ends") else OVER_MS
        arguments = [ring.call, value, lives, MOST, now, remembered, MOST_OVER]
        (taken,) = await self._hot.run([self._ring.call([ring_key(user)], arguments)])
        if taken:
            self._due.users([user], URGENT_MS)
        return bool(taken)

    async def end(self, user: str, call: str, now: int) -> None:
        """It is answered on some device, declined, or the caller has hung up: what rings is taken back. Raises
        ``HotUnavailable``."""
        (known,) = await self._hot.run([self._end.call([ring_key(user)], [call, now])])
        if known:
            self._due.users([user], URGENT_MS)


async def rings(hot: Hot, users: Iterable[str]) -> dict[str, list[Ring]]:
    """What rings for each of these users, or did a moment ago; users without are absent. Whose node is away is, too: it is not
    known then whether they are connected, and they are looked at again. Raises ``HotUnavailable`` where there is no other."""
    asked = list(users)
    answers = await hot.run_each([("HGETALL", ring_key(user)) for user in asked])
    found: dict[str, list[Ring]] = {}
    for user, answer in zip(asked, answers, strict=True):
        if isinstance(answer, HotUnavailable) or not answer:
            continue
        if isinstance(answer, Exception):
            raise answer
        found[user] = [_parse(call, value) for call, value in _pairs(answer)]
    return found


def said(ring: Ring) -> bytes:
    """For the app, as JSON: ``{"type": "call", "callId", "callerId", "kind", "until"}``."""
    return msgspec.json.encode(
        {"type": "call", "callId": ring.call, "callerId": ring.caller, "kind": ring.kind, "until": ring.until}
    )


def _pairs(answer: Sequence[bytes] | dict[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
    if isinstance(answer, dict):
        return answer.items()
    return zip(answer[::2], answer[1::2], strict=True)


def _parse(call: bytes, value: bytes) -> Ring:
    since, until, over, caller, kind = value.decode().split(" ")
    return Ring(call.decode(), caller, kind, int(since), int(until), over == "1")
