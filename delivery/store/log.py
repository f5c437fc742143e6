"""The conversations' logs: append, read by range, find a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import msgspec

from delivery.store import door
from delivery.store.batch import Run, runs
from delivery.store.errors import Blocked, Clash, Locked
from delivery.store.interface import Unavailable
from delivery.store.operation import Operation, Query, numbers, uuids
from delivery.store.unread import LAST
from delivery.store.values import Appended, AppendResult, First, Logged, Outcome, Page, PageRequest, Send
from whatsapp.infra import faults

_ATTEMPTS = 4  # of a statement that clashes: each one loses against a transaction that then is visible
_LOCKED = 5  # outcome of a send whose head another transaction holds, see migration 0003_append
_STORED = Outcome.STORED
_OUTCOMES = {int(outcome): outcome for outcome in Outcome}


def append(
    writer: str, sends: Sequence[Send], now: int, lock_ms: int, alone: bool
) -> Operation[AppendResult]:
    """See :meth:`Store.append`. ``lock_ms``: longest wait for heads that others hold, 0 for ever.

    ``alone``: each statement is its own transaction. When the wait is over, what can be locked at once is stored, the rest is
    tried once more, and what then is left raises :class:`Blocked`: one stuck conversation costs the others of its batch two
    waits, not their answer. Within a transaction of the caller the wait ends in :class:`Locked` and nothing is stored.
    """
    if not sends:
        return AppendResult([], 0)
    door.check_sends(sends)
    if faults.off("dedupe") or faults.off("seqnum"):
        sends = _unprotected(sends)
    results: list[Appended | None] = []
    stuck: set[str] = set()
    row = 0
    for run in runs(sends):
        part, part_row = yield from _append_run(writer, run, now, lock_ms, stuck, alone)
        results += part
        row = max(row, part_row)
    if stuck:
        raise Blocked(results, row)
    return AppendResult(results, row)  # type: ignore[arg-type]  # None only stands for what is stuck


def _append_run(
    writer: str, run: Run, now: int, lock_ms: int, stuck: set[str], alone: bool
) -> Operation[tuple[list[Appended | None], int]]:
    if not stuck:
        try:
            return (yield from _statement(writer, run, now, lock_ms, False))
        except Locked:
            if not alone:
                raise
    sends = run.sends
    results: list[Appended | None] = [None] * len(sends)
    row = 0
    waiting = [i for i, send in enumerate(sends) if send.conversation not in stuck]
    for skip in (True, False, True):
        if not waiting:
            break
        try:
            part, part_row = yield from _statement(
                writer, type(run)([sends[i] for i in waiting]), now, lock_ms, skip
            )
        except Locked:
            continue
        row = max(row, part_row)
        for i, result in zip(waiting, part, strict=True):
            results[i] = result
        waiting = [i for i in waiting if results[i] is None]
    stuck.update(sends[i].conversation for i in waiting)
    return results, row


def _statement(
    writer: str, run: Run, now: int, lock_ms: int, skip: bool
) -> Operation[tuple[list[Appended | None], int]]:
    query = run.query(writer, now, lock_ms, skip)
    for _ in range(_ATTEMPTS):
        try:
            rows = yield query
        except Clash:
            continue
        row, heads, seqs, outcomes, times, expected, withheld, untils = rows[0]
        results: list[Appended | None]
        if heads is not None:
            results = [Appended(_STORED, seq, now) for seq in run.seqs(heads)]
        else:
            results = [
                None if outcome == _LOCKED else Appended(_OUTCOMES[outcome], seq, at, last)
                for outcome, seq, at, last in zip(outcomes, seqs, times, expected, strict=True)
            ]
        for i in withheld or ():
            results[i - 1] = results[i - 1]._replace(withheld=True)  # type: ignore[union-attr]  # it was stored
        if untils is not None or run.ends:
            _set_until(run, results, untils, now)
        return results, row
    raise Unavailable("the batch lost against concurrent ones again and again")


def _set_until(run: Run, results: list[Appended | None], untils: Sequence[int] | None, now: int) -> None:
    """When each message ends that was stored: ``untils`` is what the statement has decided, by the timers."""
    for i, (send, result) in enumerate(zip(run.sends, results, strict=True)):
        if result is not None and result.outcome is _STORED:
            ends = [untils[i] if untils else 0, now + send.lasts if send.lasts else 0]
            if any(ends):
                results[i] = result._replace(until=min(filter(None, ends)))


def _unprotected(sends: Sequence[Send]) -> list[Send]:
    """Test builds only: the sends with a protection taken away, for the twins of its tests."""
    if faults.off("dedupe"):
        sends = [msgspec.structs.replace(send, message_id=str(uuid4())) for send in sends]
    if faults.off("seqnum"):
        sends = [msgspec.structs.replace(send, seq_num=0) for send in sends]
    return list(sends)


# What a message says since an edit that its reader is not owed, having left before, is not shown; what it said before is gone.
# Since an edit that is withheld it says something else to its sender alone.
_OWN_FORM = "e.replaced > 0 AND e.target IS NULL AND e.content IS NOT NULL AND e.sender = {reader}"
_COLUMNS = """e.seq, e.ordinal, e.sender::text, e.device::text, e.message_id::text, e.kind,
    CASE WHEN e.edited > o.owed THEN NULL
         WHEN {own} THEN (
             SELECT n.content FROM delivery_event n WHERE n.conversation = e.conversation AND n.seq = e.replaced)
         ELSE e.content END, e.sent_at, e.at,
    e.seq_num, e.extra, e.envelopes,
    coalesce(e.edited <= o.owed OR {own}, false), coalesce(e.until, 0),
    coalesce(o.unaccepted AND e.sender <> {reader}, false),
    CASE WHEN {own} OR e.edited <= o.owed AND e.content IS NOT NULL THEN (
        SELECT n.extra FROM delivery_event n
        WHERE n.conversation = e.conversation AND n.seq = CASE WHEN {own} THEN e.replaced ELSE e.edited END) END"""


def _event(reader: str) -> str:
    """SQL: the columns of a :class:`Logged` but its conversation, as ``reader`` (SQL too) sees it."""
    return _COLUMNS.format(own=_OWN_FORM.format(reader=reader), reader=reader)


# Of an event about a message: whether a later one took its place, for this reader.
_SUPERSEDED = "coalesce({event}.superseded, {event}.replaced > 0 AND {event}.target > 0 AND {event}.sender = {reader}, false)"

# Owed is what lies in an interval, up to the head, and is not withheld; "last" is the end of an interval as of now.
_LAST = LAST
_MINE = "(v.withheld IS NULL OR v.sender = m.member)"

# Each interval is a range of the primary key, so a page costs its own rows however long the log is.
_PAGES = f"""
SELECT r.i, h.floor, o.owed, {_SUPERSEDED.format(event="e", reader="r.member")}, {_event("r.member")}
FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[]) WITH ORDINALITY
     AS r (conversation, member, after, size, bytes, i)
JOIN delivery_head h ON h.conversation = r.conversation
JOIN LATERAL (
    SELECT max({_LAST}) FILTER (WHERE m.joined_seq <= h.head) AS owed, count(*) AS intervals,
           bool_or(m.unaccepted) AS unaccepted
    FROM delivery_member m WHERE m.conversation = r.conversation AND m.member = r.member
) o ON o.intervals > 0
LEFT JOIN LATERAL (
    SELECT f.*, row_number() OVER w AS place,
           sum(coalesce(octet_length(f.content), 0) + coalesce(octet_length(f.extra), 0)
               + coalesce(octet_length(f.envelopes), 0)) OVER w AS total
    FROM (
        SELECT x.* FROM delivery_member m CROSS JOIN LATERAL (
            SELECT * FROM delivery_event v
            WHERE v.conversation = r.conversation AND v.seq >= greatest(m.joined_seq, r.after + 1, h.floor + 1)
              AND v.seq <= {_LAST} AND {_MINE}
            ORDER BY v.seq LIMIT r.size) x
        WHERE m.conversation = r.conversation AND m.member = r.member AND {_LAST} > greatest(r.after, h.floor)
        ORDER BY x.seq LIMIT r.size) f
    WINDOW w AS (ORDER BY f.seq ROWS UNBOUNDED PRECEDING)
) e ON e.total <= r.bytes OR e.place = 1
ORDER BY r.i, e.seq"""


def pages(requests: Sequence[PageRequest]) -> Operation[list[Page]]:
    """See :meth:`Store.pages`."""
    if not requests:
        return []
    conversations, users, afters, limits, sizes = zip(*requests, strict=True)
    rows = yield Query(
        _PAGES, (uuids(conversations), uuids(users), numbers(afters), numbers(limits), numbers(sizes))
    )
    found: dict[int, tuple[list[Logged], int, int]] = {}
    last: dict[int, int] = {}  # seq of a page's last row, superseded or not
    for i, floor, owed, superseded, *event in rows:
        if i not in found:
            found[i] = ([], floor, owed or 0)
        if event[0] is not None:
            last[i] = event[0]
            if not superseded:
                found[i][0].append(logged(conversations[i - 1], event))
    result = []
    for i, after in enumerate(afters, 1):
        if i not in found:
            result.append(Page([], after, 0, 0))
            continue
        events, floor, owed = found[i]
        # The last owed row exists unless it has expired, so a page that ends below it was cut by a limit. Who has left is told
        # nothing of how far the conversation has come since.
        result.append(Page(events, last.get(i, owed), owed, floor))
    return result


def logged(conversation: str, row: Sequence[Any]) -> Logged:
    """An event from the columns of :func:`_event`."""
    return Logged(conversation, *row)


_HISTORY = f"""
SELECT h.floor, o.owed, {_event("%(user)s::uuid")}
FROM delivery_head h
JOIN LATERAL (
    SELECT max({_LAST}) FILTER (WHERE m.joined_seq <= h.head) AS owed, count(*) AS intervals,
           bool_or(m.unaccepted) AS unaccepted
    FROM delivery_member m WHERE m.conversation = h.conversation AND m.member = %(user)s::uuid
) o ON o.intervals > 0
LEFT JOIN LATERAL (
    SELECT x.* FROM delivery_member m CROSS JOIN LATERAL (
        SELECT * FROM delivery_event v
        WHERE v.conversation = h.conversation AND v.seq >= greatest(m.joined_seq, h.floor + 1)
          AND v.seq <= least({_LAST}, %(before)s::bigint - 1) AND {_MINE}
          AND NOT {_SUPERSEDED.format(event="v", reader="m.member")}
        ORDER BY v.seq DESC LIMIT %(limit)s::bigint) x
    WHERE m.conversation = h.conversation AND m.member = %(user)s::uuid
    ORDER BY x.seq DESC LIMIT %(limit)s::bigint
) e ON true
WHERE h.conversation = %(conversation)s::uuid
ORDER BY e.seq"""

_NO_BYTE_LIMIT = 1 << 62


def history(conversation: str, user: str, after: int, before: int, limit: int) -> Operation[Page]:
    """See :meth:`Store.history`. With ``before``, ``through`` is the highest seq looked at."""
    if before <= 0:
        return (yield from pages([PageRequest(conversation, user, after, limit, _NO_BYTE_LIMIT)]))[0]
    rows = yield Query(
        _HISTORY, {"conversation": conversation, "user": user, "before": before, "limit": limit}
    )
    if not rows:
        return Page([], before - 1, 0, 0)
    events = [logged(conversation, event) for _, _, *event in rows if event[0] is not None]
    floor, owed = rows[0][:2]
    return Page(events, min(before - 1, owed or 0), owed or 0, floor)


_FIND = """SELECT min(seq) FROM delivery_event WHERE message_id = %s::uuid AND conversation = %s::uuid"""


def find(conversation: str, message_id: str) -> Operation[int]:
    """See :meth:`Store.find`."""
    rows = yield Query(_FIND, (message_id, conversation))
    return rows[0][0] or 0


# OFFSET 0: by the message id, never by a walk along the log.
_KNOWS = """
SELECT coalesce(t.seq, h.floor) > 0 AND EXISTS (
    SELECT FROM delivery_member m WHERE m.conversation = r.conversation AND m.member = r.member
    AND m.joined_seq <= coalesce(t.seq, h.floor) AND (m.left_seq = 0 OR m.left_seq >= coalesce(t.seq, 1)))
FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) WITH ORDINALITY r (conversation, member, message_id, i)
LEFT JOIN delivery_head h ON h.conversation = r.conversation
LEFT JOIN LATERAL (
    SELECT min(e.seq) AS seq
    FROM (SELECT v.conversation, v.seq, v.withheld, v.sender FROM delivery_event v
          WHERE v.message_id = r.message_id OFFSET 0) e
    WHERE e.conversation = r.conversation AND (e.withheld IS NULL OR e.sender = r.member)
) t ON true
ORDER BY r.i"""


def knows(asked: Sequence[tuple[str, str, str]]) -> Operation[list[bool]]:
    """See :meth:`Store.knows`."""
    if not asked:
        return []
    conversations, users, messages = zip(*asked, strict=True)
    rows = yield Query(_KNOWS, (uuids(conversations), uuids(users), uuids(messages)))
    return [bool(row[0]) for row in rows]


_STORED_BY = """
SELECT e.conversation::text, e.seq, e.at, encode(e.body_hash, 'hex')
FROM unnest(%s::uuid[], %s::uuid[]) WITH ORDINALITY r (sender, message_id, i)
LEFT JOIN delivery_event e ON e.sender = r.sender AND e.message_id = r.message_id
ORDER BY r.i"""


def stored(asked: Sequence[tuple[str, str]]) -> Operation[list[First | None]]:
    """See :meth:`Store.stored`."""
    if not asked:
        return []
    senders, messages = zip(*asked, strict=True)
    rows = yield Query(_STORED_BY, (uuids(senders), uuids(messages)))
    return [
        First(conversation, seq, at, bytes.fromhex(body_hash)) if conversation else None
        for conversation, seq, at, body_hash in rows
    ]
