"""What fsck asks of rows that no document holds: lives of devices, positions, pairs of users, rows by message id, outbox rows.

Nothing here can be locked. So each part is read in an order in which what is under way looks right, and what is found counts
only if it was so twice (:mod:`delivery.fsck.section`); facts are such as stay the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from delivery.ids import is_direct
from delivery.store.cassandra import devices, members, rows
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.fsck_check import GIVE_UP, raised
from delivery.store.cassandra.fsck_messages import forget_message, messages
from delivery.store.cassandra.fsck_state import ON_ITS_WAY_MS
from delivery.store.cassandra.fsck_walk import Row, Walk, logs, partitions
from delivery.store.cassandra.positions import acked
from delivery.store.cassandra.roster import _rows as direct_rows
from delivery.store.cassandra.session import Cassandra
from whatsapp.infra import clock

# -- documents that are gone --------------------------------------------------------------------------------------------------


async def _lost(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    conversations = {key: key.split(":")[1] for key in keys}
    there = await documents.read(conversations.values())
    return [
        Row("head.missing", key, {"conversation": c}) for key, c in conversations.items() if c not in there
    ]


async def _rebuild(db: Cassandra, documents: Documents, row: Row) -> None:
    """An empty one that knows its users; what its head has to be, its log says."""
    c = str(row.facts["conversation"])
    found = await db.rows(
        "SELECT member, joined_seq, left_seq, speaker FROM $.member WHERE conversation = ?", c
    )
    users = sorted({one[0] for one in found})
    listed = (
        await db.rows("SELECT kind FROM $.roster WHERE member = ? AND conversation = ?", users[0], c)
        if users
        else []
    )
    direct = listed[0][0] == "direct" if listed else is_direct(c)
    now = clock.now_ms()
    document = Document("direct" if direct else "group", now - ON_ITS_WAY_MS, people=users if direct else [])
    if not direct:
        document.members = len({one[0] for one in found if not one[2]})
        document.head = max((max(one[1], one[2] or 0) for one in found), default=0)
    await documents.create(c, document)


# -- pairs of users -----------------------------------------------------------------------------------------------------------


async def _directs(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    pairs = [tuple(key.split(":")) for key in keys]
    found = await db.each("SELECT conversation FROM $.direct WHERE low = ? AND high = ?", pairs)
    ids = {key: one[0][0] for key, one in zip(keys, found, strict=True) if one}
    there = await documents.read(ids.values())
    wrong = []
    for key, c in ids.items():
        document = there.get(c)
        if document is None or document.kind != "direct":
            wrong.append(Row("direct.head", key, {"conversation": c}))
        elif document.people != sorted(set(key.split(":"))):
            wrong.append(Row("direct.member", key, {"conversation": c}))
    return wrong


async def _mend_direct(db: Cassandra, documents: Documents, row: Row) -> None:
    low, high = row.key.split(":")
    c, now = str(row.facts["conversation"]), clock.now_ms()
    await documents.create(c, Document("direct", now - ON_ITS_WAY_MS, people=sorted({low, high})))

    def decide(document: Document) -> None:
        if document.kind == "direct" and document.people == sorted({low, high}):
            raise Keep
        document.kind, document.people = "direct", sorted({low, high})

    await documents.change(c, decide, now)
    await db.batch(direct_rows(c, low, high), logged=True)


async def _rosters(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    """The list of a user's conversations against who is in them."""
    cql = "SELECT conversation, joined_seq, WRITETIME(left_seq) FROM $.roster WHERE member = ?"
    listed = [
        (user, *row)
        for user, found in zip(keys, await db.each(cql, [(user,) for user in keys]), strict=True)
        for row in found
    ]
    there = await documents.read(one[1] for one in listed)
    asked = list(dict.fromkeys((c, user) for user, c, _, _ in listed))
    own = dict(zip(asked, await members.of_members(db, there, asked), strict=True))
    return [
        Row("roster.stranger", user, {"conversation": c, "joined": joined, "written": written or 0})
        for user, c, joined, written in listed
        if joined not in {one.joined for one in own[c, user]}
    ]


async def _forget_listed(db: Cassandra, documents: Documents, row: Row) -> None:
    await db.run(
        "DELETE FROM $.roster USING TIMESTAMP ? WHERE member = ? AND conversation = ? AND joined_seq = ?",
        row.facts["written"], row.key, row.facts["conversation"], row.facts["joined"],
    )  # fmt: skip


# -- devices ------------------------------------------------------------------------------------------------------------------

_LIFE = "SELECT member, link, linked_at, ready, ended FROM $.linked WHERE device = ?"
_DEVICE = "SELECT link FROM $.device WHERE member = ? AND device = ?"


async def _lives_of(db: Cassandra, ids: Sequence[str]) -> dict[str, tuple[str, int, int, bool]]:
    """Device → user, link, linked_at, ready: those that live."""
    found = await db.each(_LIFE, [(one,) for one in ids])
    return {
        one: (life[0][0], life[0][1], life[0][2] or 0, bool(life[0][3]))
        for one, life in zip(ids, found, strict=True)
        if life and life[0][1] is not None and not life[0][4]
    }


async def _lives(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    lives = await _lives_of(db, keys)
    listed = await db.each(_DEVICE, [(user, device) for device, (user, _, _, _) in lives.items()])
    late = clock.now_ms() - ON_ITS_WAY_MS
    wrong = []
    for (device, (user, link, linked_at, ready)), row in zip(lives.items(), listed, strict=True):
        if not ready and link < late * 1000:
            wrong.append(Row("device.unready", device, {"user": user, "linked": linked_at}))
        elif ready and (not row or row[0][0] != link):
            wrong.append(Row("device.unlisted", device, {"user": user, "linked": linked_at, "link": link}))
    return wrong


async def _mend_life(db: Cassandra, documents: Documents, row: Row) -> None:
    user, linked_at, now = str(row.facts["user"]), int(row.facts["linked"]), clock.now_ms()
    if row.kind == "device.unlisted":
        link = row.facts["link"]
        await db.write(
            [rows.of("device", member=user, device=row.key, linked_at=linked_at, link=link, stamp=link)]
        )
        if await db.rows(_DEVICE, user, row.key):
            return
        # Something has deleted it for good: it begins another life, with all since it was linked, unless it ends just now.
        await devices.anew(db, documents, user, row.key, int(link), now, max(1, linked_at))
        return
    await devices.link(db, documents, user, row.key, linked_at or now, 0)


async def _listed_devices(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    cql = "SELECT device, link FROM $.device WHERE member = ?"
    listed = [
        (user, *row)
        for user, found in zip(keys, await db.each(cql, [(user,) for user in keys]), strict=True)
        for row in found
    ]
    lives = await _lives_of(db, list(dict.fromkeys(device for _, device, _ in listed)))
    return [
        Row("device.stale", user, {"device": device, "link": link or 0})
        for user, device, link in listed
        if device not in lives or lives[device][:2] != (user, link)
    ]


async def _forget_device(db: Cassandra, documents: Documents, row: Row) -> None:
    cql = "SELECT WRITETIME(linked_at) FROM $.device WHERE member = ? AND device = ?"
    written = [one[0] or 0 for one in await db.rows(cql, row.key, row.facts["device"])]
    await db.run(
        "DELETE FROM $.device USING TIMESTAMP ? WHERE member = ? AND device = ?",
        max([int(row.facts["link"]), *written]), row.key, row.facts["device"],
    )  # fmt: skip


async def _positions(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    """Positions are read before what they must not be above."""
    parts = [(device, int(link)) for device, link in (key.split(":") for key in keys)]
    cql = "SELECT conversation, acked, expired FROM $.position WHERE device = ? AND link = ?"
    stored = dict(zip(parts, await db.each(cql, parts), strict=True))
    lives = await _lives_of(db, list(dict.fromkeys(device for device, _ in parts)))
    wrong, living = [], []
    for (device, link), found in stored.items():
        key = f"{device}:{link}"
        if device in lives and lives[device][1] == link:
            living += [(key, lives[device][0], c, at or 0, gone or 0) for c, at, gone in found]
        elif found:
            wrong.append(Row("position.unlinked", key, {}))
    there = await documents.read(one[2] for one in living)
    asked = list(dict.fromkeys((c, user) for _, user, c, _, _ in living if c in there))
    own = dict(zip(asked, await members.of_members(db, there, asked), strict=True))
    for key, user, c, at, gone in living:
        document = there.get(c)
        if document is None:
            continue
        if not own[c, user]:
            wrong.append(Row("position.stranger", key, {"conversation": c, "acked": at, "expired": gone}))
        elif at > document.head:
            wrong.append(Row("position.beyond", key, {"conversation": c, "acked": at}))
        elif gone > at:
            wrong.append(Row("position.expired", key, {"conversation": c, "acked": at, "expired": gone}))
    return wrong


async def _mend_position(db: Cassandra, documents: Documents, row: Row) -> None:
    device, link = row.key.split(":")
    place = (device, int(link))
    if row.kind == "position.unlinked":
        cql = "DELETE FROM $.position USING TIMESTAMP ? WHERE device = ? AND link = ?"
        await db.run(cql, devices._FOR_GOOD, *place)
        return
    c, at = str(row.facts["conversation"]), int(row.facts["acked"])
    if row.kind == "position.beyond":
        # It has what is not there: its numbers are given to nothing else, for it would never ask for that.
        there = await documents.read([c])
        if at <= there[c].head + GIVE_UP:
            await documents.change(c, raised(at), clock.now_ms())
        return
    gone = int(row.facts["expired"])
    where = "WHERE device = ? AND link = ? AND conversation = ?"
    if row.kind == "position.stranger":
        cql = f"DELETE FROM $.position USING TIMESTAMP ? {where}"
        await db.run(cql, max(at, gone, 1), *place, c)
    elif gone <= (await documents.read([c]))[c].floor:
        await db.write([acked(device, int(link), c, gone)])
    else:
        await db.run(f"DELETE expired FROM $.position USING TIMESTAMP ? {where}", gone, *place, c)


async def _counts(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    lives = await _lives_of(db, keys)
    dead = [key for key in keys if key not in lives]
    there = await db.each("SELECT WRITETIME(last) FROM $.seqnum WHERE device = ?", [(key,) for key in dead])
    return [
        Row("seqnum.unlinked", key, {"written": max(row[0] or 0 for row in found)})
        for key, found in zip(dead, there, strict=True)
        if found
    ]


async def _forget_counts(db: Cassandra, documents: Documents, row: Row) -> None:
    await db.run("DELETE FROM $.seqnum USING TIMESTAMP ? WHERE device = ?", row.facts["written"], row.key)


# -- the outbox ---------------------------------------------------------------------------------------------------------------


async def _writers(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    """The sweep looks for rows of writers that it knows of."""
    newest = await db.each(
        "SELECT row, at FROM $.outbox WHERE writer = ? ORDER BY row DESC LIMIT 1", [(key,) for key in keys]
    )
    known = await db.each(
        "SELECT row FROM $.writer WHERE part = ? AND writer = ?", [(int(key[0], 16), key) for key in keys]
    )
    return [
        Row("writer.behind", key, {"row": last[0][0], "at": last[0][1]})
        for key, last, there in zip(keys, newest, known, strict=True)
        if last and last[0][1] is not None and (not there or (there[0][0] or 0) < last[0][0])
    ]


async def _mend_writer(db: Cassandra, documents: Documents, row: Row) -> None:
    number = int(row.facts["row"])
    stamp = max(number, clock.now_ms() * 1000)
    await db.write(
        [
            rows.of(
                "writer",
                part=int(row.key[0], 16),
                writer=row.key,
                row=number,
                at=row.facts["at"],
                stamp=stamp,
            )
        ]
    )


async def _progress(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    """A row's number is a time; a watermark of a time to come would pass rows that are still to come."""
    marks = await db.each("SELECT epoch, row FROM $.progress WHERE writer = ?", [(key,) for key in keys])
    latest = (clock.now_ms() + ON_ITS_WAY_MS) * 1000
    return [
        Row("progress.ahead", key, {"epoch": epoch, "row": number})
        for key, found in zip(keys, marks, strict=True)
        for epoch, number in found
        if number is not None and number > latest
    ]


async def _forget_progress(db: Cassandra, documents: Documents, row: Row) -> None:
    await db.run(
        "DELETE FROM $.progress USING TIMESTAMP ? WHERE writer = ? AND epoch = ?",
        row.facts["row"], row.key, row.facts["epoch"],
    )  # fmt: skip


class Part(NamedTuple):
    walk: Walk
    examine: Callable[..., Awaitable[list[Row]]]
    mend: Callable[..., Awaitable[None]]


#: By name, in an order in which each may rely on what those before have mended; logs come before conversations.
PARTS: Final[dict[str, Part]] = {
    "logs": Part(logs, _lost, _rebuild),
    "directs": Part(partitions("direct", "low", "high"), _directs, _mend_direct),
    "lists": Part(partitions("roster", "member", distinct=True), _rosters, _forget_listed),
    "lives": Part(partitions("linked", "device"), _lives, _mend_life),
    "devices": Part(partitions("device", "member", distinct=True), _listed_devices, _forget_device),
    "positions": Part(partitions("position", "device", "link", distinct=True), _positions, _mend_position),
    "counts": Part(partitions("seqnum", "device", distinct=True), _counts, _forget_counts),
    "messages": Part(partitions("message", "message_id", distinct=True), messages, forget_message),
    "writers": Part(partitions("outbox", "writer", distinct=True), _writers, _mend_writer),
    "progress": Part(partitions("progress", "writer", distinct=True), _progress, _forget_progress),
}


async def walk(
    db: Cassandra, documents: Documents, part: str, after: str, limit: int
) -> tuple[list[str], str]:
    return await PARTS[part].walk(db, after, limit)


async def examine(db: Cassandra, documents: Documents, part: str, keys: Sequence[str]) -> list[Row]:
    return await PARTS[part].examine(db, documents, list(dict.fromkeys(keys)))


async def mend(db: Cassandra, documents: Documents, part: str, row: Row) -> None:
    await PARTS[part].mend(db, documents, row)
