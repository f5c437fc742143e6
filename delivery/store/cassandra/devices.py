"""Linked devices and what goes with them.

A *link* is one life of a device, named by a number that ascends. Everything of that life is keyed or timed by it, so what comes
late of an earlier one is never taken for the present: positions are in a partition of their own, and the row of the device is
written and deleted with the number as its timestamp. ``linked`` holds the life of now, changed by conditional writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from delivery.store.cassandra.claims import under_way
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.owed import owed
from delivery.store.cassandra.positions import acked
from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.errors import Busy
from delivery.store.values import DeviceRow

#: Conditional writes that lose against others in one call.
_ATTEMPTS: Final = 16
#: Users whose devices one read asks for.
_AT_ONCE: Final = 16
#: How long an ended life is remembered, seconds: longer than any write of it may be late.
_ENDED_S: Final = 10 * 86_400
#: Above every other timestamp: what it deletes stays deleted, whatever comes late.
_FOR_GOOD: Final = 2**62

_LINKED = "SELECT member, link, linked_at, ready, ended FROM $.linked WHERE device = ?"
_FIRST = """UPDATE $.linked SET member = ?, link = ?, linked_at = ?, ready = false, ended = false
WHERE device = ? IF link = null"""
_AGAIN = """UPDATE $.linked SET member = ?, link = ?, linked_at = ?, ready = false, ended = false
WHERE device = ? IF link = ? AND ended = true"""
_ANEW = """UPDATE $.linked SET member = ?, link = ?, linked_at = ?, ready = false WHERE device = ?
IF link = ? AND ended = false"""
_READY = "UPDATE $.linked SET ready = true WHERE device = ? IF link = ? AND ended = false"
_END = f"""UPDATE $.linked USING TTL {_ENDED_S} SET member = ?, link = ?, linked_at = ?, ready = false, ended = true
WHERE device = ? IF link = ? AND ended = false"""


class _Linked(NamedTuple):
    member: str
    link: int
    linked_at: int
    ready: bool  # its positions are written
    ended: bool


async def _linked(db: Cassandra, device: str) -> _Linked | None:
    rows = await db.rows(_LINKED, device, serial=True)
    return _Linked(*rows[0]) if rows and rows[0][1] is not None else None


async def link(db: Cassandra, documents: Documents, user: str, device: str, now: int, since: int) -> None:
    """See :meth:`Store.link_device`. What a caller that died has begun is brought to its end."""
    here = await _begin(db, user, device, now)
    if here is None:
        return
    await db.run(
        "INSERT INTO $.device (member, device, linked_at, link) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
        user, device, here.linked_at, here.link, here.link,
    )  # fmt: skip
    # From here on whoever appends finds the device; so what comes after the heads that are read now is marked for it.
    mine = await owed(db, documents, user)
    starts = {conversation: of.last for conversation, of in mine.items() if of.last}
    coming = await under_way(db, {conversation: mine[conversation].document for conversation in starts})
    starts |= {conversation: min(starts[conversation], seq - 1) for conversation, seq in coming.items()}
    if since:
        looks = [
            before(
                db, conversation, mine[conversation].document.floor, mine[conversation].document.head, since
            )
            for conversation in starts
        ]
        places = zip(starts.items(), await gather(looks), strict=True)
        starts = {conversation: min(last, place) for (conversation, last), place in places}
    await db.write(
        [acked(device, here.link, conversation, seq) for conversation, seq in starts.items() if seq]
    )
    await db.swap(_READY, device, here.link)


async def anew(
    db: Cassandra, documents: Documents, user: str, device: str, life: int, now: int, since: int
) -> bool:
    """Have a device that lives begin another life, with all since ``since`` (ms), unless it has ended or begun one meanwhile;
    whether it has. Its counts go on."""
    done, _ = await db.swap(_ANEW, user, max(now * 1000, life + 1), now, device, life)
    if done:
        await _forget_positions(db, device, life)
        await link(db, documents, user, device, now, since)
    return done


async def _begin(db: Cassandra, user: str, device: str, now: int) -> _Linked | None:
    """The life that is to be made ready; None when there is nothing to do."""
    for _ in range(_ATTEMPTS):
        here = await _linked(db, device)
        if here is None:
            number = now * 1000
            done, _ = await db.swap(_FIRST, user, number, now, device)
        elif here.ended:
            number = max(now * 1000, here.link + 1)
            done, _ = await db.swap(_AGAIN, user, number, now, device, here.link)
        elif here.member == user and not here.ready:
            return here
        else:
            return None
        if done:
            return _Linked(user, number, now, False, False)
    raise Busy("the device is linked and unlinked all the time")


_NEAREST = """SELECT seq, at FROM $.event WHERE conversation = ? AND bucket = ? AND seq <= ?
ORDER BY seq DESC LIMIT 1"""


async def before(db: Cassandra, conversation: str, floor: int, head: int, since: int) -> int:
    """The last seq that is older than ``since``: times ascend with the numbers, so the log is halved, not read. Where clocks
    disagree, a place within their step. Void numbers are passed over."""
    low, high, middle = floor, head, head  # most are quiet: the last event first
    while low < high:
        bucket = middle // BUCKET
        rows = await db.rows(_NEAREST, conversation, bucket, middle)
        if not rows:
            high = max(low, bucket * BUCKET - 1)
        elif rows[0][1] is not None and rows[0][1] < since:
            low = middle
        else:
            high = max(low, rows[0][0] - 1)
        middle = (low + high + 1) // 2
    return low


async def unlink(db: Cassandra, documents: Documents, user: str, device: str, now: int) -> None:
    """See :meth:`Store.unlink_device`."""
    for _ in range(_ATTEMPTS):
        here = await _linked(db, device)
        if here is None:  # never linked, or long ago; it may have counted all the same
            await _forget_counts(db, documents, user, device, now)
            return
        if here.member != user:
            return
        if here.ended:  # perhaps by somebody who did not come further
            break
        done, _ = await db.swap(_END, user, here.link, here.linked_at, device, here.link)
        if done:
            break
    else:
        raise Busy("the device is linked and unlinked all the time")
    await db.run(
        "DELETE FROM $.device USING TIMESTAMP ? WHERE member = ? AND device = ?", here.link, user, device
    )
    await _forget_positions(db, device, here.link)
    await _forget_counts(db, documents, user, device, now)


async def _forget_positions(db: Cassandra, device: str, life: int) -> None:
    await db.run(
        "DELETE FROM $.position USING TIMESTAMP ? WHERE device = ? AND link = ?", _FOR_GOOD, device, life
    )


async def _forget_counts(db: Cassandra, documents: Documents, user: str, device: str, now: int) -> None:
    """The device's own counts: linked again it begins with 1."""

    def forget(document: Document) -> None:
        if document.lasts.pop(device, None) is None:
            raise Keep

    counted = [
        conversation
        for conversation, of in (await owed(db, documents, user)).items()
        if device in of.document.lasts
    ]
    await gather(documents.change(conversation, forget, now) for conversation in counted)
    written = [
        row[0] for row in await db.rows("SELECT WRITETIME(last) FROM $.seqnum WHERE device = ?", device)
    ]
    if written:
        await db.run("DELETE FROM $.seqnum USING TIMESTAMP ? WHERE device = ?", max(written), device)


async def devices(db: Cassandra, users: Sequence[str]) -> dict[str, tuple[DeviceRow, ...]]:
    """See :meth:`Store.devices`."""
    found: dict[str, list[DeviceRow]] = {user: [] for user in users}
    asked = list(found)
    parts = [(asked[start : start + _AT_ONCE],) for start in range(0, len(asked), _AT_ONCE)]
    for rows in await db.each("SELECT member, device, linked_at FROM $.device WHERE member IN ?", parts):
        for user, *row in rows:
            found[user].append(DeviceRow(*row))
    return {
        user: tuple(sorted(there, key=lambda row: (row.linked_at, row.device)))
        for user, there in found.items()
    }
