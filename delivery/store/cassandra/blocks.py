"""Blocks in direct conversations stand in their documents, which every append is numbered by: so a block is exact by ``seq``.

So does what each user is shown of the other's receipt while one is in force. The table ``silent`` only says which documents are
worth a look.
"""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.cassandra.document import Block, Document, Shown
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.receipts import Mark, marks, renewed
from delivery.store.cassandra.roster import directs, silent_rows
from delivery.store.cassandra.session import Cassandra, Statement

_SILENT = "SELECT conversation FROM $.silent WHERE member = ?"


async def withhold(db: Cassandra, documents: Documents, member: str, sender: str, on: bool, now: int) -> str:
    """See :meth:`Store.withhold`."""
    (conversation,) = await directs(db, [(member, sender)])
    if conversation:
        await (_begin if on else _end)(db, documents, conversation, member, sender, now)
    return conversation


async def _begin(
    db: Cassandra, documents: Documents, conversation: str, member: str, sender: str, now: int
) -> None:
    found: dict[str, Mark] = {}

    async def look(document: Document) -> None:
        nonlocal found
        found = (await marks(db, [conversation]))[conversation]

    def decide(document: Document) -> None:
        block = document.blocks.setdefault(member, Block(sender))
        if block.active:
            raise Keep
        block.active = True
        if not document.shown:
            # What each is shown of the other's receipts stays as it is.
            for user in document.people:
                one = found.get(user, Mark(user))
                document.shown[user] = Shown(one.delivered, one.read, one.changed_at, one.delivered_at)

    await db.write(silent_rows(conversation, (member, sender)))
    await documents.change(conversation, decide, now, before=look)


async def _end(
    db: Cassandra, documents: Documents, conversation: str, member: str, sender: str, now: int
) -> None:
    def decide(document: Document) -> dict[str, Shown]:
        block = document.blocks.get(member)
        if block is None or not block.active:
            raise Keep
        block.active = False
        shown = {}
        if not any(one.active for one in document.blocks.values()):
            shown, document.shown = document.shown, {}
        return shown

    found = await documents.read([conversation])
    # Before, in case this process ends in between; and after, for what was acknowledged since.
    if conversation in found:
        await _tell(db, conversation, found[conversation].shown, now)
    shown = await documents.change(conversation, decide, now)
    if shown:
        await _tell(db, conversation, shown, now)


async def _tell(db: Cassandra, conversation: str, shown: dict[str, Shown], now: int) -> None:
    """What was acknowledged while it was not shown is new now."""
    stored = (await marks(db, [conversation]))[conversation] if shown else {}
    statements: list[Statement] = []
    for user, mark in stored.items():
        before = shown.get(user, Shown())
        if mark.delivered > before.delivered or mark.read > before.read:
            statements += renewed(conversation, user, now, mark.delivered > before.delivered)
    await db.write(statements)


async def silent(db: Cassandra, documents: Documents, users: Sequence[str]) -> dict[str, frozenset[str]]:
    """See :meth:`Store.silent`."""
    asked = list(dict.fromkeys(users))
    rows = dict(zip(asked, await db.each(_SILENT, [(user,) for user in asked]), strict=True))
    found = await documents.read(conversation for those in rows.values() for (conversation,) in those)
    active = {
        conversation
        for conversation, document in found.items()
        if any(block.active for block in document.blocks.values())
    }
    return {
        user: frozenset(conversation for (conversation,) in those if conversation in active)
        for user, those in rows.items()
    }


async def withheld_after(
    documents: Documents, conversations: Sequence[str]
) -> dict[tuple[str, str], tuple[int, int]]:
    """See :meth:`Store.withheld_after`."""
    found = await documents.read(conversations)
    return {
        (conversation, member): (block.owed, block.through)
        for conversation, document in found.items()
        for member, block in document.blocks.items()
    }
