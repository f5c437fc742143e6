"""A user who is gone for good leaves no trace in the engine (:meth:`Store.forget_user`).

What names the user's conversations (``roster``) goes last, so whoever died on the way is followed by somebody who finds the same.
Ids of a conversation that goes wholly, and of the user, never come back: so all of it is deleted above every timestamp, but for
what conditional writes have made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from delivery.store.cassandra import members
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra, Statement, gather
from delivery.store.values import Forgotten

#: Above every other timestamp.
_FOR_GOOD: Final = 2**62

_ROSTER = "SELECT conversation, joined_seq, left_seq, kind, peer FROM $.roster WHERE member = ?"


async def forget_user(
    db: Cassandra,
    documents: Documents,
    user: str,
    devices: Sequence[str],
    ended_at: int,
    now: int,
    limit: int,
) -> Forgotten:
    """See :meth:`Store.forget_user`."""
    kinds: dict[str, tuple[str, str]] = {}
    for conversation, _, _, kind, peer in await db.rows(_ROSTER, user):
        kinds[conversation] = (kind, peer or "")
    found = await documents.read(kinds)
    done = 0
    for conversation in sorted(kinds):
        if done == limit:
            break
        kind, peer = kinds[conversation]
        if kind == "direct":
            forgotten = await _direct(db, documents, found, conversation, user, peer, ended_at)
        else:
            forgotten = await _group(db, documents, found, conversation, user, devices, now)
        if forgotten:
            await _run(
                db,
                (
                    "DELETE FROM $.roster USING TIMESTAMP ? WHERE member = ? AND conversation = ?",
                    (_FOR_GOOD, user, conversation),
                ),
            )
            done += 1
    if done == len(kinds):
        await _alone(db, user, devices)
    return Forgotten(done, len(kinds) - done)


async def _direct(
    db: Cassandra,
    documents: Documents,
    found: Mapping[str, Document],
    conversation: str,
    user: str,
    peer: str,
    ended_at: int,
) -> bool:
    """Delete a direct conversation, unless something of the time before the end is still in it."""
    document = found.get(conversation)
    if document is not None:
        if document.intent is not None or 0 < document.oldest_at <= ended_at:
            return False
        await documents.recall(conversation)
        await _events(db, conversation, document)
    people = sorted({user, peer} - {""})
    linked = [row for rows in await db.each(_LINKS, [(person,) for person in people]) for row in rows]
    await db.write(
        [
            ("DELETE FROM $.receipt USING TIMESTAMP ? WHERE conversation = ?", (_FOR_GOOD, conversation)),
            ("DELETE FROM $.member USING TIMESTAMP ? WHERE conversation = ?", (_FOR_GOOD, conversation)),
            *(_of_user(table, person, conversation) for table in ("flags", "silent") for person in people),
            *(_mentions(conversation, person) for person in people),
            *(_position(device, link, conversation) for device, link in linked),
            *(_seqnum(device, conversation) for device, _ in linked),
        ]
    )
    if peer:
        await db.write([_of_user("roster", peer, conversation)])
    low, high = min(user, peer or user), max(user, peer or user)
    await db.swap("DELETE FROM $.direct WHERE low = ? AND high = ? IF EXISTS", low, high)
    await db.swap("DELETE FROM $.conversation WHERE conversation = ? IF EXISTS", conversation)
    return True


async def _events(db: Cassandra, conversation: str, document: Document) -> None:
    """What the other one has said into the void since, and where it is found."""
    for bucket in range(document.floor // BUCKET, document.given // BUCKET + 1):
        rows = await db.rows(
            "SELECT message_id, sender FROM $.event WHERE conversation = ? AND bucket = ?",
            conversation,
            bucket,
        )
        named = [(message_id, sender) for message_id, sender in rows if sender is not None]
        await db.write(
            [
                (
                    "DELETE FROM $.message USING TIMESTAMP ? WHERE message_id = ? AND sender = ?",
                    (_FOR_GOOD, *row),
                )
                for row in named
            ]
        )
        await db.run(
            "DELETE FROM $.event USING TIMESTAMP ? WHERE conversation = ? AND bucket = ?",
            _FOR_GOOD, conversation, bucket,
        )  # fmt: skip


async def _group(
    db: Cassandra,
    documents: Documents,
    found: Mapping[str, Document],
    conversation: str,
    user: str,
    devices: Sequence[str],
    now: int,
) -> bool:
    """Forget a former member of a group, and the group with its last one."""
    document = found.get(conversation)
    if document is not None:
        (intervals,) = await members.of_members(db, {conversation: document}, [(conversation, user)])
        if document.intent is not None or not all(0 < one.left <= document.floor for one in intervals):
            return False

        def forget(here: Document) -> None:
            """Counts of the devices, and claims that are settled but that nobody has taken out since."""
            claims = [one for one in here.claims if one.sender != user or one.seq > here.floor]
            lasts = {device: last for device, last in here.lasts.items() if device not in devices}
            if (len(claims), len(lasts)) == (len(here.claims), len(here.lasts)):
                raise Keep
            here.claims, here.lasts = claims, lasts

        await documents.change(conversation, forget, now)
        await documents.recall(conversation)
    await db.write(
        [
            _mentions(conversation, user),
            *(
                (
                    f"DELETE FROM $.{table} USING TIMESTAMP ? WHERE conversation = ? AND member = ?",
                    (_FOR_GOOD, conversation, user),
                )
                for table in ("receipt", "member")
            ),
            *(_seqnum(device, conversation) for device in devices),
        ]
    )
    left = await db.rows("SELECT member FROM $.member WHERE conversation = ? LIMIT 1", conversation)
    if not left and document is not None and document.floor == document.head:
        await db.swap("DELETE FROM $.conversation WHERE conversation = ? IF EXISTS", conversation)
    return True


async def _alone(db: Cassandra, user: str, devices: Sequence[str]) -> None:
    await db.write(
        [
            (f"DELETE FROM $.{table} USING TIMESTAMP ? WHERE member = ?", (_FOR_GOOD, user))
            for table in ("flags", "silent", "device")
        ]
        + [("DELETE FROM $.seqnum USING TIMESTAMP ? WHERE device = ?", (_FOR_GOOD, one)) for one in devices]
    )
    await gather(db.swap("DELETE FROM $.linked WHERE device = ? IF ended = true", one) for one in devices)


_LINKS = "SELECT device, link FROM $.device WHERE member = ?"


def _of_user(table: str, user: str, conversation: str) -> Statement:
    return (
        f"DELETE FROM $.{table} USING TIMESTAMP ? WHERE member = ? AND conversation = ?",
        (_FOR_GOOD, user, conversation),
    )


def _mentions(conversation: str, user: str) -> Statement:
    return (
        "DELETE FROM $.mention USING TIMESTAMP ? WHERE conversation = ? AND member = ?",
        (_FOR_GOOD, conversation, user),
    )


def _position(device: str, link: int, conversation: str) -> Statement:
    return (
        "DELETE FROM $.position USING TIMESTAMP ? WHERE device = ? AND link = ? AND conversation = ?",
        (_FOR_GOOD, device, link, conversation),
    )


def _seqnum(device: str, conversation: str) -> Statement:
    return (
        "DELETE FROM $.seqnum USING TIMESTAMP ? WHERE device = ? AND conversation = ?",
        (_FOR_GOOD, device, conversation),
    )


async def _run(db: Cassandra, statement: Statement) -> None:
    cql, params = statement
    await db.run(cql, *params)
