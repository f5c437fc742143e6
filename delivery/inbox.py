"""The inbox on the hot node: a dirty set per device, a marker beside it, and the sessions of a user.

- ``{user}:dirty:<device>`` zset conversation → seq: "this conversation has something up to seq". ``ZADD GT`` makes marks
  idempotent and free of order; the set is bounded by the number of conversations.
- ``{user}:marker:<device>``: the epoch under which the set is complete (R5). Only :data:`_COMPLETE` writes it.
- ``{user}:sessions``: where the user's sessions are (``whatsapp.infra.directory``), changed only by the scripts here.

All of it is a hint (C6): it can be flushed, restored from an old copy or fail over at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from delivery.store.values import Behind
from whatsapp.infra import faults
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import Command, HotUnavailable

#: A session record that nobody has touched for a day belongs to a process that died long ago.
SESSION_TTL_S = 86_400
#: A device away for longer compares heads and positions; its set outlives its marker by a day.
MARKER_TTL_S = 30 * 86_400
DIRTY_TTL_S = MARKER_TTL_S + 86_400

# Its number is when a session was opened. The node may carry a registration out long after it was asked to, also for a session
# that has ended: whichever session it is for, it takes the place of an earlier one alone, and says whose record is later.
_REGISTER = """
local raw = redis.call('GET', KEYS[1])
local all = raw and cjson.decode(raw) or {}
local old, number = all[ARGV[1]], tonumber(ARGV[3])
if old and (tonumber(old[2]) > number or tonumber(old[2]) == number and old[1] ~= ARGV[2]) then
  return {0, old[1], string.format('%d', old[2]), false, 0}
end
all[ARGV[1]] = {ARGV[2], number, ARGV[4]}
redis.call('SET', KEYS[1], cjson.encode(all), 'EX', ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[6])
redis.call('EXPIRE', KEYS[3], ARGV[6] + 86400)
return {number, old and old[1] or '', old and string.format('%d', old[2]) or '0',
        redis.call('GET', KEYS[2]), redis.call('ZCARD', KEYS[3])}
"""

# An earlier record of the process goes, too: of a session whose place this one took there, before it had its own.
_UNREGISTER = """
local raw = redis.call('GET', KEYS[1])
if not raw then return 0 end
local all = cjson.decode(raw)
local old = all[ARGV[1]]
if not old or old[1] ~= ARGV[2] or tonumber(old[2]) > tonumber(ARGV[3]) then return -1 end
all[ARGV[1]] = nil
if next(all) == nil then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], cjson.encode(all), 'EX', ARGV[4])
return 1
"""

# Marks and marker in one script, or a crash between them would leave a marker over an empty set (R5).
_COMPLETE = """
for i = 3, #ARGV, 2 do redis.call('ZADD', KEYS[1], 'GT', ARGV[i + 1], ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[2] + 86400)
if ARGV[1] ~= '' then redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2]) end
return redis.call('ZCARD', KEYS[1])
"""

# Comparison and removal are one script, or a newer mark would go with the old one (R11).
_CLEAN = """
local a = 1
for k = 1, #KEYS do
  local n = tonumber(ARGV[a])
  a = a + 1
  for i = 1, n do
    local seq = redis.call('ZSCORE', KEYS[k], ARGV[a])
    if seq and tonumber(seq) <= tonumber(ARGV[a + 1]) then redis.call('ZREM', KEYS[k], ARGV[a]) end
    a = a + 2
  end
end
return 1
"""

_ANY_MARK = 1 << 53  # no seq is as high


class Registration(NamedTuple):
    """A session that wants its record."""

    user: str
    device: str
    process: str
    number: int  # when it was opened, ms
    status: str  # online | away


class Registered(NamedTuple):
    generation: int  # its number; 0: it has no record, there is one with a higher number
    replaced: str  # process of the session whose place it takes, or would have taken; "" if none
    replaced_generation: int
    marker: str
    pending: int


class Complete(NamedTuple):
    """What a dirty set is to have at least. ``epoch`` "": it is not complete by that, there is no marker."""

    user: str
    device: str
    epoch: str
    behind: Sequence[Behind]


def dirty_key(user: str, device: str) -> str:
    return f"{{{user}}}:dirty:{device}"


def marker_key(user: str, device: str) -> str:
    return f"{{{user}}}:marker:{device}"


class Inbox:
    """Commands on the three keys. Raises ``HotUnavailable`` like the connection itself."""

    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._register = hot.script(_REGISTER)
        self._unregister = hot.script(_UNREGISTER)
        self._complete = hot.script(_COMPLETE)
        self._clean = hot.script(_CLEAN)

    async def register(self, requests: Sequence[Registration]) -> list[Registered | None]:
        """Write the records of many sessions in one pipeline. None: that one's node of several is away."""
        commands = [
            self._register.call(
                [sessions_key(r.user), marker_key(r.user, r.device), dirty_key(r.user, r.device)],
                [r.device, r.process, r.number, r.status, SESSION_TTL_S, MARKER_TTL_S],
            )
            for r in requests
        ]
        answers: list[Registered | None] = []
        for answer in await self._hot.run_each(commands):
            if isinstance(answer, Exception):
                if not isinstance(answer, HotUnavailable):
                    raise answer
                answers.append(None)
                continue
            generation, replaced, old_generation, marker, pending = answer
            answers.append(
                Registered(
                    generation,
                    replaced.decode(),
                    int(old_generation),
                    marker.decode() if marker else "",
                    pending,
                )
            )
        return answers

    def unregister_command(self, user: str, device: str, process: str, number: int) -> Command:
        """Removes the record of that process up to this number. Answers how many sessions are left (0 or 1 for some), -1 if it
        was another's."""
        return self._unregister.call([sessions_key(user)], [device, process, number, SESSION_TTL_S])

    async def complete(self, sets: Sequence[Complete]) -> list[int | None]:
        """Write marks and marker of each in one script, all in one pipeline. The size of each set; None: its node of several is
        away."""
        commands = []
        for user, device, epoch, behind in sets:
            args: list[Any] = [epoch, MARKER_TTL_S]
            for entry in behind:
                args += [entry.conversation, entry.head]
            commands.append(self._complete.call([dirty_key(user, device), marker_key(user, device)], args))
        sizes: list[int | None] = []
        for answer in await self._hot.run_each(commands):
            if isinstance(answer, Exception):
                if not isinstance(answer, HotUnavailable):
                    raise answer
                sizes.append(None)
            else:
                sizes.append(answer)
        return sizes

    async def dirty(self, user: str, device: str) -> dict[str, int]:
        """The marks: conversation → seq, lowest seq first."""
        (flat,) = await self._hot.run([("ZRANGE", dirty_key(user, device), 0, -1, "WITHSCORES")])
        return {flat[i].decode(): int(float(flat[i + 1])) for i in range(0, len(flat), 2)}

    async def clean(self, acked: Mapping[tuple[str, str], Mapping[str, int]]) -> None:
        """Remove the marks that the acknowledged positions of ``(user, device)`` cover."""
        keys: list[str] = []
        all_args: list[list[Any]] = []
        for (user, device), positions in acked.items():
            keys.append(dirty_key(user, device))
            args: list[Any] = [len(positions)]
            for conversation, seq in positions.items():
                args += [conversation, _ANY_MARK if faults.off("clean") else seq]
            all_args.append(args)
        if keys and self._hot.one_node:
            await self._hot.run([self._clean.call(keys, [arg for args in all_args for arg in args])])
        elif keys:
            await self._hot.run(
                [self._clean.call([key], args) for key, args in zip(keys, all_args, strict=True)]
            )

    async def forget(self, user: str, device: str) -> None:
        """The device is unlinked."""
        await self._hot.run([("DEL", dirty_key(user, device), marker_key(user, device))])

    async def sessions(self, users: Sequence[str]) -> list[dict[str, SessionEntry] | None]:
        """Where each user is. None: that one's node of several is away."""
        if not users:
            return []
        answers = await self._hot.run_each(self._hot.mget([sessions_key(user) for user in users]))
        return [
            parse_sessions(raw) if not isinstance(raw, Exception) else None
            for raw in self._hot.values(answers)
        ]


def mark_commands(marks: Mapping[tuple[str, str], Mapping[str, int]]) -> Iterable[Command]:
    """``ZADD GT`` per device, its conversations coalesced, and an expiry if the set has none."""
    for (user, device), conversations in marks.items():
        command: list[Any] = ["ZADD", dirty_key(user, device), "GT"]
        for conversation, seq in conversations.items():
            command += [seq, conversation]
        yield tuple(command)
        # An ack that empties the set takes its expiry with it.
        yield ("EXPIRE", dirty_key(user, device), DIRTY_TTL_S, "NX")
