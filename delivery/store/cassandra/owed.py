"""What a user is owed, over all conversations."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from delivery.store.cassandra import members
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.members import Membership
from delivery.store.cassandra.session import Cassandra

_ROSTER = "SELECT conversation, joined_seq, left_seq FROM $.roster WHERE member = ?"
_ROSTER_SOME = _ROSTER + " AND conversation IN ?"


class Owed(NamedTuple):
    document: Document
    intervals: list[Membership]  # all of the user's, read at the document's head or later

    @property
    def start(self) -> int:
        """Nothing at or below it was ever owed."""
        return min(one.joined for one in self.intervals) - 1

    @property
    def last(self) -> int:
        """The last seq owed as of now, 0: none."""
        return members.owed(self.document, self.intervals)

    @property
    def current(self) -> bool:
        return any(not one.left for one in self.intervals)


async def _rows(db: Cassandra, user: str, only: Collection[str] | None) -> dict[str, list[Membership]]:
    if only is None:
        rows = await db.rows(_ROSTER, user)
    else:
        rows = await db.rows(_ROSTER_SOME, user, list(only)) if only else []
    found: dict[str, list[Membership]] = {}
    for conversation, joined, left in rows:
        found.setdefault(conversation, []).append(Membership(user, joined, left or 0))
    return found


async def owed(
    db: Cassandra, documents: Documents, user: str, only: Collection[str] | None = None
) -> dict[str, Owed]:
    """The conversations that the user is or was a member of; ``only`` these, if given."""
    asked = await _rows(db, user, None) if only is None else dict.fromkeys(only)
    found = await documents.read(asked)
    rows = await _rows(
        db, user, found if only is not None else None
    )  # now it knows every change up to those heads
    result: dict[str, Owed] = {}
    for conversation, document in found.items():
        if document.people:
            intervals = [Membership(user, 1)] if user in document.people else []
        else:
            intervals = members.overlaid(document, rows.get(conversation, ()), user)
        if intervals:
            result[conversation] = Owed(document, intervals)
    return result
