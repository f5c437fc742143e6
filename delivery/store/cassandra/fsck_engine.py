"""What other apps and the hot node are compared with: the questions of :mod:`delivery.store.fsck`, asked here."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.cassandra import events, members
from delivery.store.cassandra.claims import known
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.fsck_rows import _lives_of
from delivery.store.cassandra.fsck_state import under_way
from delivery.store.cassandra.fsck_walk import partitions
from delivery.store.cassandra.owed import Owed, owed
from delivery.store.cassandra.positions import stored
from delivery.store.cassandra.roster import directs
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.fsck import Roster

users_after = partitions("device", "member", distinct=True)
lives_after = partitions("linked", "device")
_PAGE = 200


async def users(db: Cassandra, documents: Documents, after: str, limit: int) -> tuple[list[str], str]:
    """Users with devices, in the order of the cluster; and where to go on."""
    return await users_after(db, after, limit)


async def devices(db: Cassandra, documents: Documents, after: str, limit: int) -> tuple[list[str], str]:
    return await lives_after(db, after, limit)


async def linked(db: Cassandra, documents: Documents, ids: Sequence[str]) -> dict[str, str]:
    """Device → user, of those that live."""
    return {device: life[0] for device, life in (await _lives_of(db, ids)).items()}


async def blocked(db: Cassandra, documents: Documents, owners: Sequence[str]) -> set[tuple[str, str]]:
    """(who has blocked, whom): the blocks in force in direct conversations."""
    rows = await db.each("SELECT conversation FROM $.silent WHERE member = ?", [(owner,) for owner in owners])
    found = await documents.read(c for some in rows for (c,) in some)
    wanted = set(owners)
    return {
        (member, block.sender)
        for document in found.values()
        for member, block in document.blocks.items()
        if block.active and member in wanted
    }


async def have_direct(
    db: Cassandra, documents: Documents, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Those of these pairs that have a direct conversation, with it."""
    return {pair: found for pair, found in zip(pairs, await directs(db, pairs), strict=True) if found}


async def rosters(db: Cassandra, documents: Documents, ids: Sequence[str]) -> dict[str, Roster]:
    """Who is a member now; conversations without a document are absent."""
    found = await documents.read(ids)
    people = await members.of_conversations(db, found)
    return {
        c: Roster(document.restricted, {one.user: one.speaker for one in people[c] if not one.left})
        for c, document in found.items()
    }


async def owing(
    db: Cassandra, documents: Documents, pairs: Sequence[tuple[str, str]], before: int
) -> dict[tuple[str, str], int]:
    """(device, conversation) → the seq up to which a (user, device) has something to read that others sent by then (ms)."""
    lives = await _lives_of(db, [device for _, device in pairs])
    result: dict[tuple[str, str], int] = {}
    for user in dict.fromkeys(user for user, _ in pairs):
        own = [device for of, device in pairs if of == user and device in lives]
        places = dict(
            zip(own, await gather(stored(db, device, lives[device][1]) for device in own), strict=True)
        )
        mine = await owed(db, documents, user)
        for device in own:
            looks = [
                (c, of, max(places[device].get(c, (0, 0))[0], of.start, of.document.floor))
                for c, of in mine.items()
                if of.last > max(places[device].get(c, (0, 0))[0], of.start, of.document.floor)
            ]
            seqs = await gather(_last(db, c, of, low, user, device, before) for c, of, low in looks)
            result |= {(device, c): seq for (c, _, _), seq in zip(looks, seqs, strict=True) if seq}
    return result


async def _last(db: Cassandra, c: str, of: Owed, low: int, user: str, device: str, before: int) -> int:
    """The highest above ``low`` that the device has to have a mark for."""
    found = await known(db, [claim.message_id for claim in of.document.claims])
    busy = under_way(c, of.document, found)
    high = of.last
    while high > low:
        rows = await events.downwards(db, c, low + 1, high, _PAGE)
        for row in rows:
            if (
                not row.is_rest
                and row.at <= before
                and row.seq not in busy
                and row.device != device
                and not row.superseded
                and (not row.withheld or row.sender == user)
                and members.is_owed(of.intervals, row.seq)
            ):
                return row.seq
        if len(rows) < _PAGE:
            return 0
        high = rows[-1].seq - 1
    return 0


async def member_heads(
    db: Cassandra, documents: Documents, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """(user, conversation) → head, of those where the user is or was a member."""
    asked = list(dict.fromkeys((c, user) for user, c in pairs))
    found = await documents.read(c for c, _ in asked)
    own = await members.of_members(db, found, asked)
    return {
        (user, c): found[c].head for (c, user), some in zip(asked, own, strict=True) if some and c in found
    }
