"""The hot node against the tables. Whatever is found here is a hint that went wrong: it costs time or a read, never a message,
for the sessions' own checks read the tables (R8). What is mended is what those would do later.

Nothing here can be locked (:class:`delivery.fsck.section.Twice`); the scripts that mend compare once more.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from redis.backoff import NoBackoff
from redis.retry import Retry

from delivery.fsck.engine import Engine
from delivery.fsck.section import Finding, Keys, Twice, facts
from delivery.inbox import DIRTY_TTL_S, MARKER_TTL_S, dirty_key, mark_commands, marker_key
from delivery.lanes import LANES, LEASE_MS, new_token
from delivery.lanes import keys as lane_keys
from delivery.store.sync import SyncStore
from whatsapp.infra import hot_sync
from whatsapp.infra.bus import alive_key
from whatsapp.infra.clock import now_ms
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key

#: What is younger may be on its way: a lane may lag.
ON_ITS_WAY_MS: Final = 60_000

_REMOVE_MARK = """
local seq = redis.call('ZSCORE', KEYS[1], ARGV[1])
if seq and tonumber(seq) == tonumber(ARGV[2]) then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1
"""

_REMOVE_SESSION = """
local raw = redis.call('GET', KEYS[1])
if not raw then return 1 end
local all = cjson.decode(raw)
local old = all[ARGV[1]]
if not old or old[1] ~= ARGV[2] or tonumber(old[2]) ~= tonumber(ARGV[3]) then return 0 end
all[ARGV[1]] = nil
if next(all) == nil then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], cjson.encode(all), 'KEEPTTL') end
return 1
"""

_REMOVE_TEXT = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

# What a lane's entries hold, and what it is said to hold, in one step; with an argument it is set right.
_BYTES = """
local held = 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  for i = 2, #entry[2], 2 do held = held + #entry[2][i] end
end
local said = tonumber(redis.call('GET', KEYS[3]) or 0)
if held > 0 and said ~= held and ARGV[1] == '1' then redis.call('SET', KEYS[3], held) end
return {held, said}
"""


def connect(url: str) -> Any:
    """To the hot node. Commands raise ``redis.RedisError``."""
    return hot_sync.client(url, socket_timeout=5, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1))


class Users(Twice):
    """Marks, markers and sessions of each user's linked devices."""

    name = "inboxes"

    def __init__(self, store: SyncStore, engine: Engine, hot: Any) -> None:
        self._store, self._engine, self._hot = store, engine, hot

    def keys(self, after: str, limit: int) -> Keys:
        return self._engine.users(after, limit)

    def _examine(self, keys: Sequence[str]) -> list[Finding]:
        devices = {user: [row.device for row in rows] for user, rows in self._store.devices(keys).items()}
        epochs = hot_sync.epochs_of(self._hot, keys)
        pairs = [(user, device) for user, own in devices.items() for device in own]
        # First what is owed, then what is marked, then the heads: a mark is younger than its event and older than its head.
        owed = self._engine.owed(pairs, now_ms() - ON_ITS_WAY_MS)
        states = [self._state(user, device) for user, device in pairs]
        sessions = hot_sync.mget(self._hot, [sessions_key(user) for user in keys])
        heads = self._engine.member_heads(
            [(user, c) for (user, _), (marks, _, _) in zip(pairs, states, strict=True) for c in marks]
        )
        found: list[Finding] = []
        for (user, device), (marks, marker, endless) in zip(pairs, states, strict=True):
            found += self._of_marks(user, device, marks, heads)
            for kind in endless:
                found.append(Finding(f"{kind}.endless", user, facts(device=device)))
            if marker == epochs[user]:
                found += [
                    Finding("mark.missing", user, facts(device=device, conversation=conversation, seq=seq))
                    for (whose, conversation), seq in owed.items()
                    if whose == device and marks.get(conversation, 0) < seq
                ]
        for user, raw in zip(keys, sessions, strict=True):
            found += self._of_sessions(user, raw, devices[user])
        return found

    def _state(self, user: str, device: str) -> tuple[dict[str, int], str, list[str]]:
        """Marks, marker, and which of the two has no end."""
        dirty, marker = dirty_key(user, device), marker_key(user, device)
        pipe = self._hot.pipeline(transaction=False)
        pipe.zrange(dirty, 0, -1, withscores=True).get(marker).ttl(dirty).ttl(marker)
        marks, epoch, dirty_ttl, marker_ttl = pipe.execute()
        endless = [name for name, ttl in (("dirty", dirty_ttl), ("marker", marker_ttl)) if ttl == -1]
        return {c.decode(): int(seq) for c, seq in marks}, (epoch or b"").decode(), endless

    @staticmethod
    def _of_marks(
        user: str, device: str, marks: dict[str, int], heads: dict[tuple[str, str], int]
    ) -> Iterable[Finding]:
        for conversation, seq in marks.items():
            head = heads.get((user, conversation))
            about = facts(device=device, conversation=conversation, seq=seq)
            if head is None:
                yield Finding("mark.stranger", user, about)
            elif seq > head:
                yield Finding("mark.beyond", user, about)

    def _of_sessions(self, user: str, raw: bytes | None, devices: Sequence[str]) -> Iterable[Finding]:
        if raw is None:
            return
        entries: dict[str, SessionEntry] = parse_sessions(raw)
        if not entries:
            yield Finding("session.unreadable", user, facts(length=len(raw)))
        alive = {entry.process: self._hot.exists(alive_key(entry.process)) for entry in entries.values()}
        for device, entry in entries.items():
            about = facts(device=device, process=entry.process, generation=entry.generation)
            if device not in devices:
                yield Finding("session.unlinked", user, about)
            elif not alive[entry.process]:
                yield Finding("session.dead", user, about)

    def _mend(self, finding: Finding) -> bool:
        user, about = finding.key, dict(finding.facts)
        device = str(about.get("device", ""))
        if finding.kind == "mark.missing":
            for command in mark_commands({(user, device): {str(about["conversation"]): int(about["seq"])}}):
                self._hot.execute_command(*command)
        elif finding.kind in ("mark.stranger", "mark.beyond"):
            self._hot.eval(_REMOVE_MARK, 1, dirty_key(user, device), about["conversation"], about["seq"])
        elif finding.kind == "dirty.endless":
            self._hot.expire(dirty_key(user, device), DIRTY_TTL_S)
        elif finding.kind == "marker.endless":
            self._hot.expire(marker_key(user, device), MARKER_TTL_S)
        elif finding.kind == "session.unreadable":
            key = sessions_key(user)
            raw = self._hot.get(key)
            if raw is not None and not parse_sessions(raw):
                self._hot.eval(_REMOVE_TEXT, 1, key, raw)
        else:
            self._hot.eval(
                _REMOVE_SESSION, 1, sessions_key(user), device, about["process"], about["generation"]
            )
        return finding not in self._examine([user])


_KEY = re.compile(
    r"\{([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}:(dirty|marker|sessions)(?::([0-9a-f-]{36}))?"
)


class Leftovers(Twice):
    """Keys of devices that are linked no more, or of users without a device: found by walking along all keys."""

    name = "leftovers"

    def __init__(self, store: SyncStore, hot: Any) -> None:
        self._store, self._hot = store, hot

    def keys(self, after: str, limit: int) -> Keys:
        cursor, found = hot_sync.scan(self._hot, after, "{*}:*", max(limit, 100))
        names = [name.decode("ascii", "replace") for name in found]
        return Keys([name for name in names if _KEY.fullmatch(name)], cursor)

    def _examine(self, keys: Sequence[str]) -> list[Finding]:
        there = self._hot.pipeline(transaction=False)
        for key in keys:
            there.exists(key)
        parsed = [
            (key, found.group(1), found.group(2), found.group(3) or "")
            for key, exists in zip(keys, there.execute(), strict=True)
            if exists and (found := _KEY.fullmatch(key))
        ]
        users = list({user for _, user, _, _ in parsed})
        linked = {user: {row.device for row in rows} for user, rows in self._store.devices(users).items()}
        return [
            Finding(
                f"{what}.unlinked" if what != "sessions" else "sessions.deviceless", key, facts(user=user)
            )
            for key, user, what, device in parsed
            if (device not in linked[user] if what != "sessions" else not linked[user])
        ]

    def _mend(self, finding: Finding) -> bool:
        self._hot.delete(finding.key)
        return not self._hot.exists(finding.key)


class Lanes(Twice):
    """The lanes of groups. ``submit(lane, token)`` starts a task for a lane."""

    name = "lanes"

    def __init__(self, hot: Any, submit: Callable[[int, str], None]) -> None:
        self._hot, self._submit = hot, submit

    def keys(self, after: str, limit: int) -> Keys:
        return Keys([str(lane) for lane in range(LANES)], "")

    def _examine(self, keys: Sequence[str]) -> list[Finding]:
        found: list[Finding] = []
        for key in keys:
            queue, lease, _ = names = lane_keys(int(key))
            held, said = self._hot.eval(_BYTES, 3, *names, "")
            if held and held != said:
                found.append(Finding("lane.bytes", key, facts(held=held, said=said)))
            first = self._hot.xrange(queue, count=1)
            ttl = self._hot.pttl(lease)
            if ttl == -1:
                found.append(Finding("lane.endless_lease", key))
            elif ttl == -2 and first:
                found.append(Finding("lane.stuck", key, facts(entry=first[0][0].decode())))
        return found

    def _mend(self, finding: Finding) -> bool:
        names = lane_keys(int(finding.key))
        if finding.kind == "lane.bytes":
            self._hot.eval(_BYTES, 3, *names, "1")
        elif finding.kind == "lane.endless_lease":
            self._hot.pexpire(names[1], LEASE_MS)
        else:
            token = new_token()
            if self._hot.set(names[1], token, px=LEASE_MS, nx=True):
                self._submit(int(finding.key), token)
            time.sleep(self.apart_s)
        return finding not in self._examine([finding.key])
