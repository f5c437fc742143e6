"""Who is in a conversation, and up to where each is owed its log.

A direct conversation has its two users in its document, a group a row for each interval. While a change of members is being
carried out, its rows stand in the document too (:class:`Intent`) and count before those of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from delivery.store.cassandra.document import Document
from delivery.store.cassandra.session import Cassandra

_OF_CONVERSATION = "SELECT member, joined_seq, left_seq, speaker FROM $.member WHERE conversation = ?"
_OF_MEMBER = (
    "SELECT member, joined_seq, left_seq, speaker FROM $.member WHERE conversation = ? AND member = ?"
)


class Membership(NamedTuple):
    """One interval: owed is ``joined <= seq``, and ``seq <= left`` unless that is 0."""

    user: str
    joined: int
    left: int = 0
    speaker: bool = False


def overlaid(document: Document, rows: Iterable[Membership], user: str = "") -> list[Membership]:
    """Rows that were read after the document, with what its unfinished change makes of them; by user and seq. ``user``: only
    of this one."""
    found = {(row.user, row.joined): row for row in rows}
    if document.intent is not None:
        for one in document.intent.members:
            if not user or one[0] == user:
                found[one[0], one[1]] = Membership(*one)
    return sorted(found.values())


def _of_direct(document: Document) -> list[Membership]:
    return [Membership(user, 1) for user in sorted(document.people)]


def _membership(row: Sequence[object]) -> Membership:
    member, joined, left, speaker = row
    return Membership(member, joined, left or 0, bool(speaker))  # type: ignore[arg-type]


async def of_conversations(db: Cassandra, documents: Mapping[str, Document]) -> dict[str, list[Membership]]:
    """Every interval of every user, at the head of each document or later (R17)."""
    groups = [conversation for conversation, document in documents.items() if not document.people]
    rows = dict(zip(groups, await db.each(_OF_CONVERSATION, [(one,) for one in groups]), strict=True))
    return {
        conversation: overlaid(document, map(_membership, rows[conversation]))
        if conversation in rows
        else _of_direct(document)
        for conversation, document in documents.items()
    }


async def of_members(
    db: Cassandra, documents: Mapping[str, Document], asked: Sequence[tuple[str, str]]
) -> list[list[Membership]]:
    """For each (conversation, user) the user's intervals, ascending; none of a conversation without a document."""
    rows: dict[tuple[str, str], list[Membership]] = {}
    in_groups = [
        (conversation, user)
        for conversation, user in dict.fromkeys(asked)
        if conversation in documents and not documents[conversation].people
    ]
    for key, found in zip(in_groups, await db.each(_OF_MEMBER, in_groups), strict=True):
        rows[key] = overlaid(documents[key[0]], map(_membership, found), key[1])
    result = []
    for conversation, user in asked:
        document = documents.get(conversation)
        if document is not None and document.people:
            result.append([one for one in _of_direct(document) if one.user == user])
        else:
            result.append(rows.get((conversation, user), []))
    return result


def last(document: Document, one: Membership) -> int:
    """The end of an interval as of now; below its beginning when nothing of it is there yet."""
    head = document.head
    block = document.blocks.get(one.user)
    if block is not None and block.through >= head:
        head = block.owed
    return min(head, one.left) if one.left else head


def owed(document: Document, intervals: Sequence[Membership]) -> int:
    """The last seq owed to a user who has these intervals, 0: none."""
    return max((last(document, one) for one in intervals if one.joined <= document.head), default=0)


def is_owed(intervals: Iterable[Membership], seq: int) -> bool:
    return any(one.joined <= seq and (not one.left or seq <= one.left) for one in intervals)
