"""What ``fsck`` asks of the tables: questions whose right answer is nothing, each with the statements that mend what it found.

A :class:`Check` is asked of many keys at once, without locks; whoever wants to be sure asks it again of one key under that
key's lock (:data:`LOCKS`). Columns of an answer are ids and numbers, never contents. Statements of :attr:`Check.mend` get the
key and the columns, run in the transaction that holds the lock, and may be repeated.

``tail``: of a log only its last so many events are looked at, so that a look costs what it is allowed to cost; :data:`ALL` looks
at every event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from delivery.store.operation import Operation, Query, uuids
from delivery.store.outbox import _WRITERS

#: ``tail``: the whole log.
ALL: Final = (1 << 63) - 1
NIL: Final = "00000000-0000-0000-0000-000000000000"


class Check(NamedTuple):
    """``find`` yields rows (key, one value for each of ``names``); ``mend`` takes ``%(key)s`` and ``%(<name>)s``."""

    kind: str
    names: tuple[str, ...]
    find: str
    mend: tuple[str, ...] = ()


class Wrong(NamedTuple):
    """One row of an answer."""

    key: str
    values: Mapping[str, Any]


def find(check: Check, keys: Sequence[str], tail: int) -> Operation[list[Wrong]]:
    """Ask a check of these keys: ids of conversations, devices or users, or pairs ``low:high`` of users."""
    params: dict[str, Any] = {"tail": tail}
    if keys and ":" in keys[0]:
        low, high = zip(*(key.split(":") for key in keys), strict=True)
        params.update(low=uuids(low), high=uuids(high))
    else:
        params["keys"] = uuids(keys)
    rows = yield Query(check.find, params)
    return [Wrong(row[0], dict(zip(check.names, row[1:], strict=True))) for row in rows]


def mend(check: Check, wrong: Wrong) -> Operation[None]:
    """Run its statements, in order."""
    for statement in check.mend:
        yield Query(statement, {"key": wrong.key, **wrong.values})


#: How long fsck waits for a lock; then it leaves the key for another time.
_PATIENCE = "SELECT set_config('lock_timeout', '2s', true)"

#: The lock under which nothing of a key changes, by section.
LOCKS: Final[Mapping[str, str]] = {
    "conversations": "SELECT 1 FROM delivery_head WHERE conversation = %(key)s::uuid FOR NO KEY UPDATE",
    "directs": """SELECT pg_advisory_xact_lock(hashtextextended(
        split_part(%(key)s, ':', 1) || split_part(%(key)s, ':', 2), 0))::text""",
    "devices": "SELECT 1 FROM delivery_device WHERE device = %(key)s::uuid FOR UPDATE",
    "progress": "SELECT 1",
}


def lock(section: str, key: str) -> Operation[None]:
    """Hold a key until the end of the transaction. Raises what the executor makes of a lock that is not had in time."""
    yield Query(_PATIENCE)
    yield Query(LOCKS[section], {"key": key})


# -- which keys there are ---------------------------------------------------------------------------------------------------


def _loose(table: str, column: str) -> str:
    """SQL: the next distinct values of the first column of an index, a probe each."""
    return f"""(WITH RECURSIVE w AS (
        (SELECT {column} AS id FROM {table} WHERE {column} > %(after)s::uuid ORDER BY {column} LIMIT 1)
        UNION ALL
        SELECT (SELECT x.{column} FROM {table} x WHERE x.{column} > w.id ORDER BY x.{column} LIMIT 1)
        FROM w WHERE w.id IS NOT NULL)
        SELECT id FROM w WHERE id IS NOT NULL LIMIT %(limit)s::bigint)"""


_CONVERSATIONS = f"""
SELECT id::text FROM (
    (SELECT conversation AS id FROM delivery_head WHERE conversation > %(after)s::uuid ORDER BY 1 LIMIT %(limit)s::bigint)
    UNION {_loose("delivery_event", "conversation")} UNION {_loose("delivery_member", "conversation")}
) k ORDER BY id LIMIT %(limit)s::bigint"""

_DEVICES = f"""
SELECT id::text FROM (
    (SELECT device AS id FROM delivery_device WHERE device > %(after)s::uuid ORDER BY 1 LIMIT %(limit)s::bigint)
    UNION {_loose("delivery_position", "device")} UNION {_loose("delivery_seqnum", "device")}
) k ORDER BY id LIMIT %(limit)s::bigint"""

_USERS = f"SELECT id::text FROM {_loose('delivery_device', 'member')} k ORDER BY id"

_DIRECTS = """
SELECT low::text || ':' || high::text FROM delivery_direct
WHERE (low, high) > (%(after)s::uuid, %(high)s::uuid) ORDER BY low, high LIMIT %(limit)s::bigint"""

_PROGRESS = """
SELECT DISTINCT writer::text FROM delivery_progress WHERE writer > %(after)s::uuid ORDER BY 1 LIMIT %(limit)s::bigint"""


def keys(section: str, after: str, limit: int) -> Operation[list[str]]:
    """The next keys of a section, ascending, above ``after`` ("": from the first)."""
    low, _, high = (after or NIL).partition(":")
    params = {"after": low, "high": high or NIL, "limit": limit}
    sql = {
        "conversations": _CONVERSATIONS,
        "devices": _DEVICES,
        "directs": _DIRECTS,
        "progress": _PROGRESS,
        "users": _USERS,
    }[section]
    return [row[0] for row in (yield Query(sql, params))]


_RECENT = (
    _WRITERS
    + """SELECT DISTINCT c.id::text FROM writers w CROSS JOIN LATERAL (
    SELECT o.conversations FROM delivery_outbox o WHERE o.writer = w.writer AND o.at >= %(since)s::bigint
    ORDER BY o."row" DESC LIMIT 1000) o, unnest(o.conversations) c (id)
WHERE c.id > %(after)s::uuid ORDER BY 1 LIMIT %(limit)s::bigint"""
)


def recent(since: int, after: str, limit: int) -> Operation[list[str]]:
    """Conversations to which something was appended since then (ms; the outbox knows two hours), by id."""
    rows = yield Query(_RECENT, {"since": since, "after": after or NIL, "limit": limit})
    return [row[0] for row in rows]


# -- what the other apps compare with ----------------------------------------------------------------------------------------

_LINKED = "SELECT device::text, member::text FROM delivery_device WHERE device = ANY (%s::uuid[])"


def linked(devices: Sequence[str]) -> Operation[dict[str, str]]:
    """Device → user, of those that the engine knows."""
    return dict((yield Query(_LINKED, (uuids(devices),))))


_BLOCKED = """
SELECT w.member::text, w.sender::text FROM delivery_withheld w
WHERE w.active AND w.member = ANY (%s::uuid[])"""


def blocked(members: Sequence[str]) -> Operation[set[tuple[str, str]]]:
    """(who has blocked, whom): the blocks in force in direct conversations, as the engine knows them."""
    return {(row[0], row[1]) for row in (yield Query(_BLOCKED, (uuids(members),)))}


_HAVE_DIRECT = """
SELECT p.low::text, p.high::text FROM unnest(%s::uuid[], %s::uuid[]) p (low, high)
JOIN delivery_direct d ON d.low = p.low AND d.high = p.high"""


def have_direct(pairs: Sequence[tuple[str, str]]) -> Operation[set[tuple[str, str]]]:
    """Those of these pairs (lower id first) that have a direct conversation."""
    if not pairs:
        return set()
    low, high = zip(*pairs, strict=True)
    return {(row[0], row[1]) for row in (yield Query(_HAVE_DIRECT, (uuids(low), uuids(high))))}


_ROSTER = """
SELECT h.conversation::text, h.restricted, m.member::text, m.speaker
FROM delivery_head h LEFT JOIN delivery_member m ON m.conversation = h.conversation AND m.left_seq = 0
WHERE h.conversation = ANY (%s::uuid[])"""


class Roster(NamedTuple):
    restricted: bool
    members: dict[str, bool]  # now; whether they are speakers


def rosters(conversations: Sequence[str]) -> Operation[dict[str, Roster]]:
    """Who is a member now, in one snapshot; conversations without a head are absent."""
    found: dict[str, Roster] = {}
    for conversation, restricted, member, speaker in (yield Query(_ROSTER, (uuids(conversations),))):
        roster = found.setdefault(conversation, Roster(restricted, {}))
        if member is not None:
            roster.members[member] = speaker
    return found


# What a device has to have a mark for: the highest event above its position that is owed to its user and that it did not send
# itself. Superseded ones do not count: their marks stay as high as they were, or are as well without.
_OWED = """
SELECT d.device::text, m.conversation::text, max(o.seq)
FROM delivery_device d JOIN delivery_member m ON m.member = d.member
JOIN delivery_head h ON h.conversation = m.conversation
LEFT JOIN delivery_position p ON p.device = d.device AND p.conversation = m.conversation
CROSS JOIN LATERAL (
    SELECT v.seq FROM delivery_event v
    WHERE v.conversation = m.conversation AND v.seq > greatest(coalesce(p.acked, m.joined_seq - 1), h.floor)
      AND v.seq >= m.joined_seq AND (m.left_seq = 0 OR v.seq <= m.left_seq)
      AND v.device <> d.device AND v.superseded IS NULL AND (v.withheld IS NULL OR v.sender = d.member)
      AND v.at <= %s::bigint
    ORDER BY v.seq DESC LIMIT 1) o
WHERE d.device = ANY (%s::uuid[])
GROUP BY 1, 2"""


def owed(devices: Sequence[str], before: int) -> Operation[dict[tuple[str, str], int]]:
    """(device, conversation) → the seq up to which it has something to read that others sent by then (ms)."""
    return {(row[0], row[1]): row[2] for row in (yield Query(_OWED, (before, uuids(devices))))}


_MEMBER_HEADS = """
SELECT DISTINCT p.member::text, h.conversation::text, h.head
FROM unnest(%s::uuid[], %s::uuid[]) p (member, conversation)
JOIN delivery_member m ON m.conversation = p.conversation AND m.member = p.member
JOIN delivery_head h ON h.conversation = p.conversation"""


def member_heads(pairs: Sequence[tuple[str, str]]) -> Operation[dict[tuple[str, str], int]]:
    """(user, conversation) → head, of those where the user is or was a member."""
    if not pairs:
        return {}
    users, conversations = zip(*pairs, strict=True)
    rows = yield Query(_MEMBER_HEADS, (uuids(users), uuids(conversations)))
    return {(row[0], row[1]): row[2] for row in rows}
