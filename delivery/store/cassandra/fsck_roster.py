"""Checks of who is in a conversation, and of what is kept for each of them or of their blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from delivery.store.cassandra import roster as rosters
from delivery.store.cassandra import rows
from delivery.store.cassandra.document import Document, Shown
from delivery.store.cassandra.documents import Keep
from delivery.store.cassandra.fsck_check import Check, Mending, Wrong
from delivery.store.cassandra.fsck_state import Interval, LogRow, Seen

_CELLS: Final = (
    ("delivered, delivered_at", "delivered"),
    ("read, read_at", "read"),
    ("sent", "sent"),
    ("renewed_at", "renewed_at"),
    ("delivered_renewed_at", "delivered_renewed_at"),
)


def roster_interval(seen: Seen) -> Iterator[Wrong]:
    """Memberships that overlap, or of events that never were."""
    if seen.document.people:
        return
    head, before = seen.top, None
    for (user, joined), one in sorted(seen.members.items()):
        if (user, joined) in seen.changing:
            continue
        values = {"member": user, "joined": joined, "left": one.left}
        if not 1 <= joined <= max(head, 1) or 0 < one.left < joined:
            yield Wrong("roster.interval", values, _forget(user, joined, one))
            continue
        if one.left > head:
            yield Wrong("roster.interval", values, _write(user, joined, head, one.speaker))
        if before is not None and before[0] == user:
            _, first, earlier = before
            if not earlier.left or earlier.left >= joined:
                # Two that overlap owe the same when the first ends where the second begins.
                values = {"member": user, "joined": first, "left": earlier.left, "next": joined}
                yield Wrong("roster.interval", values, _write(user, first, joined - 1, earlier.speaker))
        before = user, joined, one


def _write(user: str, joined: int, left: int, speaker: bool) -> Any:
    async def mend(at: Mending) -> None:
        stamp, c = await at.stamp(), at.seen.conversation
        await at.db.write(
            [
                rows.of("member", conversation=c, member=user, joined_seq=joined, left_seq=left, speaker=speaker, stamp=stamp),
                rows.of("roster", member=user, conversation=c, joined_seq=joined, left_seq=left, kind="group", stamp=stamp),
            ]
        )  # fmt: skip

    return mend


def _forget(user: str, joined: int, one: Interval) -> Any:
    async def mend(at: Mending) -> None:
        stamp, c = max(await at.stamp(), one.written), at.seen.conversation
        where = "WHERE conversation = ? AND member = ? AND joined_seq = ?"
        await at.db.write(
            [
                (f"DELETE FROM $.{table} USING TIMESTAMP ? {where}", (stamp, c, user, joined))
                for table in ("member", "roster")
            ]
        )

    return mend


def roster_row(seen: Seen) -> Iterator[Wrong]:
    """What a user's own list of conversations says: the later one of the two rows counts."""
    if seen.young:
        return
    wanted = set(seen.members)
    if seen.document.people:
        missing = [
            user
            for user in seen.document.people
            if (user, 1) not in seen.roster or (user, 1) not in seen.members
        ]
        if missing and seen.direct == seen.conversation:

            async def mend_direct(at: Mending) -> None:
                low, high = at.seen.document.people[0], at.seen.document.people[-1]
                await at.db.batch(rosters._rows(at.seen.conversation, low, high), logged=True)

            yield Wrong("roster.missing", {"member": missing[0]}, mend_direct)
        return
    for user, joined in sorted(wanted - seen.changing):
        own, listed = seen.members[user, joined], seen.roster.get((user, joined))
        if listed is None or listed.left != own.left:
            newer = listed if listed is not None and listed.written > own.written else own
            kind = "roster.missing" if listed is None else "roster.differs"
            yield Wrong(
                kind, {"member": user, "joined": joined}, _write(user, joined, newer.left, own.speaker)
            )


def roster_seq(seen: Seen) -> Iterator[Wrong]:
    """By it lists of members that were read before are known to be old."""
    document = seen.document
    if document.kind != "group":
        return
    last = max((max(one.joined, one.left) for one in seen.intervals), default=0)
    # A change that came behind the document has rows above its head.
    if document.roster_seq < last <= document.head or document.roster_seq > document.head:
        should = min(document.head, max(document.roster_seq, last))

        def decide(document: Document) -> None:
            document.roster_seq = min(document.head, max(document.roster_seq, should))

        yield Wrong(
            "head.roster_seq", {"is": document.roster_seq, "should": should}, lambda at: at.change(decide)
        )


def head_members(seen: Seen) -> Iterator[Wrong]:
    document = seen.document
    if document.kind != "group" or any(max(one.joined, one.left) > document.head for one in seen.intervals):
        return
    number = len({one.user for one in seen.intervals if not one.left})
    if document.members != number:

        def decide(document: Document) -> None:
            if document.roster_seq != seen.document.roster_seq:
                raise Keep  # it has changed since
            document.members = number

        yield Wrong("head.members", {"is": document.members, "should": number}, lambda at: at.change(decide))


def direct_unlisted(seen: Seen) -> Iterator[Wrong]:
    """Or the two would get a second conversation the next time one of them opens it."""
    people = seen.document.people
    if people and not seen.direct and not seen.young:

        async def mend(at: Mending) -> None:
            await at.db.swap(
                "INSERT INTO $.direct (low, high, conversation) VALUES (?, ?, ?) IF NOT EXISTS",
                people[0], people[-1], at.seen.conversation,
            )  # fmt: skip

        yield Wrong("direct.unlisted", {"low": people[0], "high": people[-1]}, mend)


def receipt_stranger(seen: Seen) -> Iterator[Wrong]:
    known = {*seen.document.people, *(one.user for one in seen.intervals)}
    for user in sorted(seen.receipts):
        if user not in known:

            async def mend(at: Mending, user: str = user) -> None:
                c = at.seen.conversation
                columns = ", ".join(f"WRITETIME({name})" for _, name in _CELLS)
                there = await at.db.rows(
                    f"SELECT {columns} FROM $.receipt WHERE conversation = ? AND member = ?", c, user
                )
                await at.db.write(
                    [
                        (f"DELETE {names} FROM $.receipt USING TIMESTAMP ? WHERE conversation = ? AND member = ?", (at_, c, user))
                        for row in there
                        for (names, _), at_ in zip(_CELLS, row, strict=True)
                        if at_ is not None
                    ]
                )  # fmt: skip

            yield Wrong("receipt.stranger", {"member": user}, mend)


def mention_beyond(seen: Seen) -> Iterator[Wrong]:
    for user, seq in seen.mentions:

        async def mend(at: Mending, user: str = user, seq: int = seq) -> None:
            where = "WHERE conversation = ? AND member = ? AND seq = ?"
            key = at.seen.conversation, user, seq
            for (written,) in await at.db.rows(f"SELECT seq FROM $.mention {where}", *key):
                del written
                await at.db.run(f"DELETE FROM $.mention USING TIMESTAMP ? {where}", await at.stamp(), *key)

        yield Wrong("mention.beyond", {"member": user, "seq": seq}, mend)


# -- blocks -------------------------------------------------------------------------------------------------------------------


def receipt_shown(seen: Seen) -> Iterator[Wrong]:
    """While a block is in force the two are shown of each other's receipts what was so when it began."""
    document = seen.document
    active = any(block.active for block in document.blocks.values())
    if active == bool(document.shown) and (not active or set(document.shown) == set(document.people)):
        return

    def decide(document: Document) -> None:
        if not any(block.active for block in document.blocks.values()):
            document.shown = {}
            return
        for user in document.people:
            mark = seen.receipts.get(user)
            if user not in document.shown:
                document.shown[user] = (
                    Shown(mark.delivered, mark.read, mark.changed_at, mark.delivered_at)
                    if mark is not None
                    else Shown()
                )

    yield Wrong("receipt.shown", {"blocked": int(active)}, lambda at: at.change(decide))


def silent_missing(seen: Seen) -> Iterator[Wrong]:
    """Nobody would look whether there is a block."""
    if seen.document.blocks and seen.silent != {*seen.document.people}:

        async def mend(at: Mending) -> None:
            await at.db.write(rosters.silent_rows(at.seen.conversation, at.seen.document.people))

        yield Wrong("silent.missing", {}, mend)


def withheld_run(seen: Seen) -> Iterator[Wrong]:
    """The latest run of events of the blocked: pages of who has blocked end before it."""
    for member, block in sorted(seen.document.blocks.items()):
        mine = [row.seq for row in seen.rows if _hides(row, block.sender)]
        others = [row.seq for row in seen.rows if not _hides(row, block.sender)]
        last = mine[-1] if mine else 0
        if not mine and not seen.whole:
            continue  # it began before what was looked at
        if (
            last > block.through
            or block.through > seen.document.head
            or any(block.owed < seq <= block.through for seq in others)
        ):
            owed = max((seq for seq in others if seq < last), default=seen.start if last else 0)
            yield Wrong(
                "withheld.run", {"member": member, "owed": owed, "through": last}, _run(member, owed, last)
            )


def _hides(row: LogRow, sender: str) -> bool:
    return bool(row.withheld) and row.sender == sender


def _run(member: str, owed: int, through: int) -> Any:
    async def mend(at: Mending) -> None:
        before = at.seen.document.blocks[member]

        def decide(document: Document) -> None:
            block = document.blocks.get(member)
            if block is None or (block.owed, block.through) != (before.owed, before.through):
                raise Keep  # it has gone on since
            block.owed, block.through = owed, through

        await at.change(decide)

    return mend


ROSTER: Final[tuple[Check, ...]] = (
    roster_interval,
    roster_row,
    roster_seq,
    head_members,
    direct_unlisted,
    receipt_stranger,
    mention_beyond,
    receipt_shown,
    silent_missing,
    withheld_run,
)
