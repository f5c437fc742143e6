"""What a user has set for a conversation.

Changes of one user come one after the other (:meth:`Store.set_flags`), so each is written with a timestamp above that of the row
it was made from, whatever the clocks of the processes say.
"""

from __future__ import annotations

from typing import Final

from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.values import Flags, OwnFlags

_MEMBER = "SELECT joined_seq FROM $.roster WHERE member = ? AND conversation = ? LIMIT 1"
_ALL = """SELECT conversation, muted_until, pinned, archived, draft, version, changed_at, WRITETIME(version) FROM $.flags
WHERE member = ?"""
_ONE = """SELECT conversation, muted_until, pinned, archived, draft, version, changed_at, WRITETIME(version) FROM $.flags
WHERE member = ? AND conversation = ?"""
_SET = """INSERT INTO $.flags (member, conversation, muted_until, pinned, archived, draft, version, changed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"""
_FORGET = "DELETE FROM $.flags USING TIMESTAMP ? WHERE member = ?"

NONE: Final = Flags()


def _read(row: tuple[object, ...]) -> Flags:
    return Flags(*row[1:7])  # type: ignore[arg-type]


async def all_of(db: Cassandra, user: str) -> dict[str, Flags]:
    """By conversation, where something was ever set."""
    return {row[0]: _read(row) for row in await db.rows(_ALL, user)}


async def flags(db: Cassandra, user: str, conversation: str) -> OwnFlags | None:
    """See :meth:`Store.flags`."""
    member, found = await gather((db.rows(_MEMBER, user, conversation), db.rows(_ALL, user)))
    if not member:
        return None
    own = {row[0]: _read(row) for row in found}
    mine = own.pop(conversation, NONE)
    return OwnFlags(
        mine, sum(one.pinned for one in own.values()), sum(len(one.draft or b"") for one in own.values())
    )


async def set_flags(db: Cassandra, user: str, conversation: str, new: Flags, now: int) -> Flags:
    """See :meth:`Store.set_flags`."""
    rows = await db.rows(_ONE, user, conversation)
    before, stamp = (_read(rows[0]), rows[0][7]) if rows else (NONE, 0)
    now_set = new._replace(version=before.version + 1, changed_at=max(before.changed_at, now))
    await db.run(
        _SET, user, conversation, new.muted_until, new.pinned, new.archived, new.draft, now_set.version,
        now_set.changed_at, max(now * 1000, stamp + 1),
    )  # fmt: skip
    return now_set


async def forget_flags(db: Cassandra, user: str) -> None:
    """See :meth:`Store.forget_flags`."""
    rows = await db.rows(_ALL, user)
    if rows:
        await db.run(_FORGET, max(row[7] for row in rows), user)
